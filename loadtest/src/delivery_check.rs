//! Checks what one member receives of one room: every event once, in order, without a gap.
//!
//! The reader follows the engine's own rule ([`Cursor`]). A second record trusts no claim of the hub: the set of every
//! `seq` received. It exposes a hub that sends a wrong `prev`.

use rooms::cursor::{Cursor, Verdict};

/// How a reader classifies an event frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventOrder {
    /// New and next in order.
    Next,
    /// Received before.
    Repeated,
    /// New, but received after a later event.
    Late,
    /// An earlier event is missing. The reader did not apply this one; join again at the cursor.
    Gap,
}

/// The delivery check of one reader in one room.
#[derive(Clone, Debug, Default)]
pub struct DeliveryCheck {
    reader: Cursor,
    seen: SeqSet,
    /// The reader's position when the check began.
    base: u64,
    /// A requested replay may repeat events up to here.
    replay_expected_to: u64,
    delivered: u64,
    repeated: u64,
    out_of_order: u64,
    gaps: u64,
}

impl DeliveryCheck {
    /// Creates the check of a reader that has everything up to `cursor`.
    pub fn after(cursor: u64) -> Self {
        Self { reader: Cursor::new(cursor), base: cursor, ..Self::default() }
    }

    /// Returns the `seq` to join with.
    pub fn cursor(&self) -> u64 {
        self.reader.position()
    }

    /// Records an event frame.
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

    /// Compares the cursor with the hub's `head`, the last visible event. Returns `false` if an event is missing.
    pub fn is_complete(&mut self, head: u64) -> bool {
        let complete = !self.reader.is_behind(head);
        self.gaps += u64::from(!complete);
        complete
    }

    /// Allows repeats of events up to the cursor: the reader requested a replay on a live connection.
    pub fn expect_replay(&mut self) {
        self.replay_expected_to = self.reader.position();
    }

    /// Resets the allowance for repeats: a new connection must not repeat anything.
    pub fn reconnected(&mut self) {
        self.replay_expected_to = 0;
    }

    /// Returns whether the event `seq` was ever received.
    pub fn has(&self, seq: u64) -> bool {
        seq <= self.base || self.seen.has(seq)
    }

    /// Returns the number of distinct events received.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Returns the number of repeats that no replay request explains.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Returns the number of events received after a later one.
    pub fn out_of_order(&self) -> u64 {
        self.out_of_order
    }

    /// Returns the number of gaps found. A replay heals a gap, but on a single node none should occur.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }
}

/// A set of small sequence numbers.
#[derive(Clone, Debug, Default)]
struct SeqSet(Vec<u64>);

/// No room has more events than this. A larger `seq` is not stored in the set but is still counted.
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
    fn filtered_log_is_complete_despite_omitted_numbers() {
        let mut check = DeliveryCheck::default();
        assert_eq!(check.record(0, 3), EventOrder::Next);
        assert_eq!(check.record(3, 7), EventOrder::Next);
        assert!(check.is_complete(7));
        assert_eq!((check.delivered(), check.repeated(), check.out_of_order(), check.gaps()), (2, 0, 0, 0));
    }

    #[test]
    fn lost_repeated_and_swapped_events_are_distinguished() {
        let mut check = DeliveryCheck::after(1);
        assert_eq!(check.record(1, 2), EventOrder::Next);
        assert_eq!(check.record(1, 2), EventOrder::Repeated);
        assert_eq!(check.record(3, 4), EventOrder::Gap);
        assert_eq!(check.cursor(), 2);
        // The hub claims that nothing lies between 2 and 4, then sends 3 anyway.
        assert_eq!(check.record(2, 4), EventOrder::Next);
        assert_eq!(check.record(2, 3), EventOrder::Late);
        assert!(!check.is_complete(5));
        assert_eq!((check.delivered(), check.repeated(), check.out_of_order(), check.gaps()), (2, 1, 1, 2));
        assert!(check.has(3) && !check.has(5));
    }

    #[test]
    fn requested_replay_does_not_count_as_repeat() {
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
    fn huge_sequence_number_does_not_exhaust_memory() {
        let mut check = DeliveryCheck::default();
        assert_eq!(check.record(0, u64::MAX), EventOrder::Next);
        assert!(!check.has(u64::MAX));
    }
}
