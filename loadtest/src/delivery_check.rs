//! What one member got of one room: every event once, in order, without a gap.
//!
//! The rule of a reader is the engine's own ([`Cursor`]). Beside it stands a second account that trusts no claim of the
//! hub: which `seq` came at all. A hub that lies about `prev` is found by it.

use rooms::cursor::{Cursor, Verdict};

/// What a frame was to this reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventOrder {
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
pub struct DeliveryCheck {
    reader: Cursor,
    seen: SeqSet,
    /// What this reader had before the account began.
    base: u64,
    /// Up to here a repeat was asked for.
    replay_expected_to: u64,
    delivered: u64,
    repeated: u64,
    out_of_order: u64,
    gaps: u64,
}

impl DeliveryCheck {
    /// A reader that has everything up to `cursor`.
    pub fn after(cursor: u64) -> Self {
        Self { reader: Cursor::new(cursor), base: cursor, ..Self::default() }
    }

    /// The `seq` to join with.
    pub fn cursor(&self) -> u64 {
        self.reader.position()
    }

    /// An event frame.
    pub fn record(&mut self, prev: u64, seq: u64) -> EventOrder {
        match self.reader.judge(prev, seq) {
            Verdict::Deliver => {
                self.seen.set(seq);
                self.delivered += 1;
                EventOrder::Next
            }
            Verdict::Repeat if self.has(seq) => {
                self.repeated += u64::from(seq > self.replay_expected_to);
                EventOrder::Repeated
            }
            Verdict::Repeat => {
                self.seen.set(seq);
                self.out_of_order += 1;
                EventOrder::Late
            }
            Verdict::Gap => {
                self.gaps += 1;
                EventOrder::Gap
            }
        }
    }

    /// The hub says that `head` is the last visible event. False when this reader lacks something.
    pub fn is_complete(&mut self, head: u64) -> bool {
        let complete = !self.reader.is_behind(head);
        self.gaps += u64::from(!complete);
        complete
    }

    /// This reader asked for a replay on a connection that was live: what it has by now may come a second time, and
    /// that is not the hub's fault.
    pub fn expect_replay(&mut self) {
        self.replay_expected_to = self.reader.position();
    }

    /// A new connection begins: nothing may come a second time on it.
    pub fn reconnected(&mut self) {
        self.replay_expected_to = 0;
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
struct SeqSet(Vec<u64>);

/// No room has more events than this; a greater `seq` is kept out of the set, not out of the account.
const MAX_TRACKED_SEQ: u64 = 1 << 20;

impl SeqSet {
    fn set(&mut self, at: u64) {
        if at >= MAX_TRACKED_SEQ {
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
        let mut check = DeliveryCheck::default();
        assert_eq!(check.record(0, 3), EventOrder::Next);
        assert_eq!(check.record(3, 7), EventOrder::Next);
        assert!(check.is_complete(7));
        assert_eq!((check.delivered(), check.repeated(), check.out_of_order(), check.gaps()), (2, 0, 0, 0));
    }

    #[test]
    fn lost_repeated_and_swapped_events_are_told_apart() {
        let mut check = DeliveryCheck::after(1);
        assert_eq!(check.record(1, 2), EventOrder::Next);
        assert_eq!(check.record(1, 2), EventOrder::Repeated);
        assert_eq!(check.record(3, 4), EventOrder::Gap);
        assert_eq!(check.cursor(), 2);
        // The hub claims that nothing lies between 2 and 4, then brings 3 all the same.
        assert_eq!(check.record(2, 4), EventOrder::Next);
        assert_eq!(check.record(2, 3), EventOrder::Late);
        assert!(!check.is_complete(5));
        assert_eq!((check.delivered(), check.repeated(), check.out_of_order(), check.gaps()), (2, 1, 1, 2));
        assert!(check.has(3) && !check.has(5));
    }

    #[test]
    fn a_replay_that_was_asked_for_is_no_repeat() {
        let mut check = DeliveryCheck::default();
        check.record(0, 1);
        check.record(1, 2);
        check.expect_replay();
        assert_eq!(check.record(1, 2), EventOrder::Repeated);
        assert_eq!(check.record(2, 3), EventOrder::Next);
        assert_eq!(check.record(2, 3), EventOrder::Repeated);
        assert_eq!(check.repeated(), 1);
    }

    #[test]
    fn a_number_beyond_all_bounds_is_survived() {
        let mut check = DeliveryCheck::default();
        assert_eq!(check.record(0, u64::MAX), EventOrder::Next);
        assert!(!check.has(u64::MAX));
    }
}
