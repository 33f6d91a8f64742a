//! The log: what is appended to it, and reading it back. How it is appended is [`super::append`].

use std::sync::Arc;

use rooms::id::{CommandId, RoomId, UserId};
use rooms::record::{Hash, Record};
use rooms::room::snapshot::Snapshot;
use rooms::time::Timestamp;
use uuid::Uuid;

use super::{Store, StoreError, read};

/// An event that is ready to be stored.
#[derive(Clone, Debug)]
pub struct Sealed {
    pub seq: u64,
    pub canonical: Arc<str>,
    pub hash: Hash,
    pub record: Arc<Record>,
}

/// The events of one command, to be appended behind `records[0].seq - 1` or not at all.
#[derive(Clone, Debug)]
pub struct Append {
    pub room: RoomId,
    /// At least one, numbered without gaps.
    pub records: Vec<Sealed>,
    /// The hash that the first of them is chained to.
    pub before: Hash,
    /// The person who sent the command and its id; absent for the hub's own commands, which are not repeated.
    pub sender: Option<UserId>,
    pub command: Option<CommandId>,
    pub command_hash: Hash,
    /// The room after the events, if they changed more than the chat: the projections are written from it.
    pub after: Option<Box<Snapshot>>,
    /// When the room's timer is due then.
    pub wake_at: Option<Timestamp>,
    /// The patient and the doctor.
    pub parties: Option<(UserId, UserId)>,
}

impl Append {
    /// The number of its first event; 0 if it has none.
    pub fn first(&self) -> u64 {
        self.records.first().map_or(0, |sealed| sealed.seq)
    }

    /// How much it adds to the log, in bytes.
    pub fn bytes(&self) -> usize {
        self.records.iter().map(|sealed| sealed.canonical.len()).sum()
    }
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    Committed,
    /// Another append was there first: take in what is missing and decide again.
    Conflict {
        /// The first events from its place on; empty if they must be read.
        since: Vec<Stored>,
    },
    /// The command took effect before.
    Duplicate {
        first: u64,
        last: u64,
        same_body: bool,
    },
    /// The slot that the events take belongs to another room, or was withdrawn.
    SlotTaken,
    /// The database refuses these rows whatever is done: a mistake of the program, which harms this append alone.
    Rejected,
}

/// An event as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub seq: u64,
    pub canonical: String,
    pub hash: Hash,
}

/// A command that took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub first: u64,
    pub last: u64,
    pub hash: Hash,
}

impl Store {
    /// Up to `limit` events behind `after`, in order.
    pub async fn events_after(&self, room: RoomId, after: u64, limit: u32) -> Result<Vec<Stored>, StoreError> {
        let sql = "select seq, body, hash from events where room = $1 and seq > $2 order by seq limit $3";
        let rows: Vec<(i64, String, Vec<u8>)> = read!(self, db => {
            sqlx::query_as(sql).bind(room.0).bind(signed(after)).bind(i64::from(limit)).fetch_all(db).await
        })?;
        rows.into_iter().map(stored).collect()
    }

    /// Up to `limit` events before `before`, in order: the last ones of them.
    pub async fn events_before(&self, room: RoomId, before: u64, limit: u32) -> Result<Vec<Stored>, StoreError> {
        let sql = "select seq, body, hash from events where room = $1 and seq < $2 order by seq desc limit $3";
        let rows: Vec<(i64, String, Vec<u8>)> = read!(self, db => {
            sqlx::query_as(sql).bind(room.0).bind(signed(before)).bind(i64::from(limit)).fetch_all(db).await
        })?;
        rows.into_iter().rev().map(stored).collect()
    }

    /// The command that `sender` sent to `room` under this id, if it took effect.
    pub async fn find_command(
        &self,
        room: RoomId,
        sender: UserId,
        command: CommandId,
    ) -> Result<Option<Found>, StoreError> {
        let sql =
            "select seq, command_events, command_hash from events where room = $1 and sender = $2 and command = $3";
        let row: Option<(i64, i64, Vec<u8>)> = read!(self, db => {
            sqlx::query_as(sql).bind(room.0).bind(sender.0).bind(command.0).fetch_optional(db).await
        })?;
        row.map(found).transpose()
    }

    /// The first room behind `after`, in order of their ids, that has events.
    ///
    /// One room at a time, because that is one step in the index: a list of all rooms would read every event.
    pub async fn room_after(&self, after: Option<RoomId>) -> Result<Option<RoomId>, StoreError> {
        let sql = "select room from events where room > $1 order by room limit 1";
        let after = after.map_or(Uuid::nil(), |room| room.0);
        let row: Option<(Uuid,)> = read!(self, db => sqlx::query_as(sql).bind(after).fetch_optional(db).await)?;
        Ok(row.map(|(room,)| RoomId(room)))
    }
}

pub(super) fn stored((seq, canonical, hash): (i64, String, Vec<u8>)) -> Result<Stored, StoreError> {
    Ok(Stored { seq: unsigned(seq)?, canonical, hash: hash_of(hash)? })
}

pub(super) fn found((first, events, hash): (i64, i64, Vec<u8>)) -> Result<Found, StoreError> {
    let first = unsigned(first)?;
    Ok(Found { first, last: first + unsigned(events)?.saturating_sub(1), hash: hash_of(hash)? })
}

pub(super) fn hash_of(bytes: Vec<u8>) -> Result<Hash, StoreError> {
    bytes.try_into().map_err(|_| StoreError::Unexpected("a hash that is not 32 bytes long".into()))
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Unexpected("a negative number".into()))
}
