//! What one member got of one room: every event once, in order, without a gap.
//!
//! The rule of a reader is the engine's own ([`Cursor`]). Beside it stands a second account that trusts no claim of the
//! hub: which `seq` came at all. A hub that lies about `prev` is found by it.

use rooms::cursor::{Cursor, Verdict};

/// What a frame was to this reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// New and next.
    Next,
    /// It had come before.
    Repeated,
    /// It had not come before, but a later one had.
    Late,
    /// Something before it is missing. It was not taken: join again with the cursor.
    Gap,
}

/// One reader of one room.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    feed: Cursor,
    seen: Bits,
    /// What this reader had before the account began.
    base: u64,
    /// Up to here a repeat was asked for.
    forgiven: u64,
    delivered: u64,
    repeated: u64,
    out_of_order: u64,
    gaps: u64,
}

impl Tally {
    /// A reader that has everything up to `cursor`.
    pub fn after(cursor: u64) -> Self {
        Self { feed: Cursor::new(cursor), base: cursor, ..Self::default() }
    }

    /// The `seq` to join with.
    pub fn cursor(&self) -> u64 {
        self.feed.position()
    }

    /// An event frame.
    pub fn offer(&mut self, prev: u64, seq: u64) -> Order {
        match self.feed.judge(prev, seq) {
            Verdict::Deliver => {
                self.seen.set(seq);
                self.delivered += 1;
                Order::Next
            }
            Verdict::Repeat if self.has(seq) => {
                self.repeated += u64::from(seq > self.forgiven);
                Order::Repeated
            }
            Verdict::Repeat => {
                self.seen.set(seq);
                self.out_of_order += 1;
                Order::Late
            }
            Verdict::Gap => {
                self.gaps += 1;
                Order::Gap
            }
        }
    }

    /// The hub says that `head` is the last visible event. False when this reader lacks something.
    pub fn is_complete(&mut self, head: u64) -> bool {
        let complete = !self.feed.is_behind(head);
        self.gaps += u64::from(!complete);
        complete
    }

    /// This reader asked for a replay on a connection that was live: what it has by now may come a second time, and
    /// that is not the hub's fault.
    pub fn forgive(&mut self) {
        self.forgiven = self.feed.position();
    }

    /// A new connection begins: nothing may come a second time on it.
    pub fn reconnected(&mut self) {
        self.forgiven = 0;
    }

    /// Whether the event `seq` ever came.
    pub fn has(&self, seq: u64) -> bool {
        seq <= self.base || self.seen.has(seq)
    }

    /// Events that came, each counted once.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Events that came again without having been asked for.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Events that came after a later one.
    pub fn out_of_order(&self) -> u64 {
        self.out_of_order
    }

    /// How often something was found missing. A replay heals it, but on one node it should not happen at all.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }
}

/// A set of small numbers.
#[derive(Clone, Debug, Default)]
struct Bits(Vec<u64>);

/// No room has more events than this; a greater `seq` is kept out of the set, not out of the account.
const MOST: u64 = 1 << 20;

impl Bits {
    fn set(&mut self, at: u64) {
        if at >= MOST {
            return;
        }
        let word = (at / 64) as usize;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (at % 64);
    }

    fn has(&self, at: u64) -> bool {
        self.0.get((at / 64) as usize).is_some_and(|word| word & (1 << (at % 64)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filtered_log_is_complete_although_numbers_are_left_out() {
        let mut tally = Tally::default();
        assert_eq!(tally.offer(0, 3), Order::Next);
        assert_eq!(tally.offer(3, 7), Order::Next);
        assert!(tally.is_complete(7));
        assert_eq!((tally.delivered(), tally.repeated(), tally.out_of_order(), tally.gaps()), (2, 0, 0, 0));
    }

    #[test]
    fn lost_repeated_and_swapped_events_are_told_apart() {
        let mut tally = Tally::after(1);
        assert_eq!(tally.offer(1, 2), Order::Next);
        assert_eq!(tally.offer(1, 2), Order::Repeated);
        assert_eq!(tally.offer(3, 4), Order::Gap);
        assert_eq!(tally.cursor(), 2);
        // The hub claims that nothing lies between 2 and 4, then brings 3 all the same.
        assert_eq!(tally.offer(2, 4), Order::Next);
        assert_eq!(tally.offer(2, 3), Order::Late);
        assert!(!tally.is_complete(5));
        assert_eq!((tally.delivered(), tally.repeated(), tally.out_of_order(), tally.gaps()), (2, 1, 1, 2));
        assert!(tally.has(3) && !tally.has(5));
    }

    #[test]
    fn a_replay_that_was_asked_for_is_no_repeat() {
        let mut tally = Tally::default();
        tally.offer(0, 1);
        tally.offer(1, 2);
        tally.forgive();
        assert_eq!(tally.offer(1, 2), Order::Repeated);
        assert_eq!(tally.offer(2, 3), Order::Next);
        assert_eq!(tally.offer(2, 3), Order::Repeated);
        assert_eq!(tally.repeated(), 1);
    }

    #[test]
    fn a_number_beyond_all_bounds_is_survived() {
        let mut tally = Tally::default();
        assert_eq!(tally.offer(0, u64::MAX), Order::Next);
        assert!(!tally.has(u64::MAX));
    }
}
