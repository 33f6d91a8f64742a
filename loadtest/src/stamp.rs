//! Command ids that carry when their command should have been sent.
//!
//! The hub brings a command's id back in its ack and in its event, so that every latency can be counted from the
//! intended time, at every member, without a table that all connections share.

use rooms::id::CommandId;
use uuid::Uuid;

/// Makes the ids of one run, and knows them again.
#[derive(Clone, Copy, Debug)]
pub struct Stamps {
    run: u32,
}

/// What an id says: the phase of the run, and the intended time in microseconds since the run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub phase: u8,
    pub intended: u64,
}

/// 39 bits of microseconds: six days.
const LATEST: u64 = (1 << 39) - 1;

/// The bits of a count that an id has room for: the two above them are UUID's own.
const COUNTS: u64 = (1 << 30) - 1;

impl Stamps {
    pub fn new(run: u32) -> Self {
        Self { run }
    }

    /// An id of version 8: microseconds and phase in the first 48 bits, then a count of 30 bits, then the run.
    pub fn make(self, stamp: Stamp, count: u32) -> CommandId {
        let time = (u128::from(stamp.intended.min(LATEST)) << 8) | u128::from(stamp.phase);
        let bits = (time << 80) | (u128::from(count) << 32) | u128::from(self.run);
        let mut bytes = bits.to_be_bytes();
        bytes[6] = 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        CommandId(Uuid::from_bytes(bytes))
    }

    /// The count that the id of a command of this run was made with.
    pub fn count(self, id: CommandId) -> Option<u64> {
        self.read(id).map(|_| (id.0.as_u128() >> 32) as u64 & COUNTS)
    }

    /// What the id of a command of this run says; nothing for another's.
    pub fn read(self, id: CommandId) -> Option<Stamp> {
        let bits = id.0.as_u128();
        let ours = bits as u32 == self.run && id.0.get_version_num() == 8;
        ours.then_some(Stamp { phase: (bits >> 80) as u8, intended: (bits >> 88) as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_when_it_should_have_been_sent_and_another_runs_id_nothing() {
        let stamps = Stamps::new(7);
        for (intended, count) in [(0, 0), (1, u32::MAX), (123_456_789, 5), (LATEST, 1)] {
            let stamp = Stamp { phase: 200, intended };
            assert_eq!(stamps.read(stamps.make(stamp, count)), Some(stamp));
            assert_eq!(stamps.count(stamps.make(stamp, count)), Some(u64::from(count) & COUNTS));
        }
        let stamp = Stamp { phase: 1, intended: 2 };
        assert_ne!(stamps.make(stamp, 1), stamps.make(stamp, 2));
        assert_eq!(Stamps::new(8).read(stamps.make(stamp, 1)), None);
        assert_eq!(stamps.read(CommandId(Uuid::now_v7())), None);
    }
}
