//! Command ids that carry when their command should have been sent.
//!
//! The hub brings a command's id back in its ack and in its event, so that every latency can be counted from the
//! intended time, at every member, without a table that all connections share.

use rooms::id::CommandId;
use uuid::Uuid;

/// Makes the ids of one run, and knows them again.
#[derive(Clone, Copy, Debug)]
pub struct SendTimeIds {
    run: u32,
}

/// What an id says: the phase of the run, and the intended time in microseconds since the run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendTime {
    pub phase: u8,
    pub intended: u64,
}

/// 39 bits of microseconds: six days.
const MAX_INTENDED_MICROS: u64 = (1 << 39) - 1;

/// The bits of a count that an id has room for: the two above them are UUID's own.
const COUNT_MASK: u64 = (1 << 30) - 1;

impl SendTimeIds {
    pub fn new(run: u32) -> Self {
        Self { run }
    }

    /// An id of version 8: microseconds and phase in the first 48 bits, then a count of 30 bits, then the run.
    pub fn encode(self, send_time: SendTime, count: u32) -> CommandId {
        let time = (u128::from(send_time.intended.min(MAX_INTENDED_MICROS)) << 8) | u128::from(send_time.phase);
        let bits = (time << 80) | (u128::from(count) << 32) | u128::from(self.run);
        let mut bytes = bits.to_be_bytes();
        bytes[6] = 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        CommandId(Uuid::from_bytes(bytes))
    }

    /// The count that the id of a command of this run was made with.
    pub fn count(self, id: CommandId) -> Option<u64> {
        self.decode(id).map(|_| (id.0.as_u128() >> 32) as u64 & COUNT_MASK)
    }

    /// What the id of a command of this run says; nothing for another's.
    pub fn decode(self, id: CommandId) -> Option<SendTime> {
        let bits = id.0.as_u128();
        let ours = bits as u32 == self.run && id.0.get_version_num() == 8;
        ours.then_some(SendTime { phase: (bits >> 80) as u8, intended: (bits >> 88) as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_when_it_should_have_been_sent_and_another_runs_id_nothing() {
        let ids = SendTimeIds::new(7);
        for (intended, count) in [(0, 0), (1, u32::MAX), (123_456_789, 5), (MAX_INTENDED_MICROS, 1)] {
            let send_time = SendTime { phase: 200, intended };
            assert_eq!(ids.decode(ids.encode(send_time, count)), Some(send_time));
            assert_eq!(ids.count(ids.encode(send_time, count)), Some(u64::from(count) & COUNT_MASK));
        }
        let send_time = SendTime { phase: 1, intended: 2 };
        assert_ne!(ids.encode(send_time, 1), ids.encode(send_time, 2));
        assert_eq!(SendTimeIds::new(8).decode(ids.encode(send_time, 1)), None);
        assert_eq!(ids.decode(CommandId(Uuid::now_v7())), None);
    }
}
