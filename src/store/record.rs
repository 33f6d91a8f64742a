//! Appends, their results, and stored records: the vocabulary of the log, the projections and the outbox.

use std::sync::Arc;

use rooms::id::{CommandId, RoomId, UserId};
use rooms::limits::Limits;
use rooms::record::{Hash, Record};
use rooms::refusal::Refusal;
use rooms::room::snapshot::Snapshot;
use rooms::time::Timestamp;

/// A record with its canonical form and its hash, ready to be stored.
#[derive(Clone, Debug)]
pub struct HashedRecord {
    pub seq: u64,
    pub canonical: Arc<str>,
    pub hash: Hash,
    pub record: Arc<Record>,
}

/// The events of one command, to be appended after event `records[0].seq - 1`, or not at all.
#[derive(Clone, Debug)]
pub struct Append {
    pub room: RoomId,
    /// At least one record; numbers have no gaps.
    pub records: Vec<HashedRecord>,
    /// The hash that the first record chains to.
    pub before: Hash,
    /// The sender and the id of the command; absent for the hub's own commands, which nobody repeats.
    pub sender: Option<UserId>,
    pub command: Option<CommandId>,
    pub command_hash: Hash,
    /// The room after the events, unless they are chat only. The projections are written from it.
    pub after: Option<Box<Snapshot>>,
    /// When the room's timer is due after the events.
    pub wake_at: Option<Timestamp>,
    /// The patient and the doctor.
    pub parties: Option<(UserId, UserId)>,
    /// The limits on the patient's bookings, if they apply.
    pub booking_limits: Option<Limits>,
}

impl Append {
    /// The number of its first event; 0 if it has none.
    pub fn first(&self) -> u64 {
        self.records.first().map_or(0, |record| record.seq)
    }

    /// The size of its records in the log, in bytes.
    pub fn bytes(&self) -> usize {
        self.records.iter().map(|record| record.canonical.len()).sum()
    }
}

/// The result of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    Committed,
    /// Another append took its place. Apply the missing events and decide the command again.
    Conflict {
        /// The first events from that place on; empty if they must be read.
        since: Vec<StoredRecord>,
    },
    /// The command took effect before.
    Duplicate {
        first: u64,
        last: u64,
        same_body: bool,
    },
    /// The slot belongs to another room, or was withdrawn.
    SlotTaken,
    /// The patient holds, has booked or waits for as much as one may, or has another booking at that time.
    LimitReached(Refusal),
    /// The database refuses these rows in any case: a fault of the program that affects this append alone.
    Rejected,
}

/// A record as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    pub seq: u64,
    pub canonical: String,
    pub hash: Hash,
}

/// A command that took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredCommand {
    pub first: u64,
    pub last: u64,
    pub hash: Hash,
}
