//! Command ids that encode when the command should have been sent.
//!
//! The hub returns a command's id in its ack and in its event. So every member can measure every latency from the
//! intended time, without a table shared by all connections.

use rooms::id::CommandId;
use uuid::Uuid;

/// Encodes and decodes the ids of one run.
#[derive(Clone, Copy, Debug)]
pub struct SendTimeIds {
    run: u32,
}

/// The content of an id: the phase, and the intended time in microseconds since the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendTime {
    pub phase: u8,
    pub intended: u64,
}

/// 39 bits of microseconds: six days.
const MAX_INTENDED_MICROS: u64 = (1 << 39) - 1;

/// The 30 bits that an id has for a count; the two bits above them are UUID's own.
const COUNT_MASK: u64 = (1 << 30) - 1;

impl SendTimeIds {
    pub fn new(run: u32) -> Self {
        Self { run }
    }

    /// Encodes an id of version 8: microseconds and phase in the first 48 bits, then a count of 30 bits, then the run.
    pub fn encode(self, send_time: SendTime, count: u32) -> CommandId {
        let time = (u128::from(send_time.intended.min(MAX_INTENDED_MICROS)) << 8) | u128::from(send_time.phase);
        let bits = (time << 80) | (u128::from(count) << 32) | u128::from(self.run);
        let mut bytes = bits.to_be_bytes();
        bytes[6] = 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        CommandId(Uuid::from_bytes(bytes))
    }

    /// Returns the count in the id of a command of this run.
    pub fn count(self, id: CommandId) -> Option<u64> {
        self.decode(id).map(|_| (id.0.as_u128() >> 32) as u64 & COUNT_MASK)
    }

    /// Decodes the id of a command of this run; `None` for any other id.
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
    fn ids_round_trip_and_ids_of_other_runs_decode_to_none() {
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
