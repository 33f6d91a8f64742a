//! Checking one event after the other.

use rooms::id::RoomId;
use rooms::record::{GENESIS, Hash, Record, canonical_form, chain};

use super::names;

/// Why something does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("this is not the first line of a Wardroom record of version 1")]
    NoManifest,
    #[error("this is not an event with its hash, or the line is longer than 1 MiB")]
    NotAnEntry,
    #[error("the file cannot be read on: {0}")]
    Unreadable(std::io::ErrorKind),
    #[error("a name stands twice in one object, so that two readers may see two contents")]
    NamedTwice,
    #[error("this is event {found}, so one is missing, repeated or out of place")]
    Place { found: u64 },
    #[error("this event belongs to another room")]
    OtherRoom,
    #[error("its hash does not follow from its content and the hash before it: one of them was changed")]
    Hash,
    #[error("it is not stored in its canonical form")]
    NotCanonical,
    #[error("the manifest promises {promised} events, but there are {found}")]
    Count { promised: u64, found: u64 },
    #[error("the last event's hash is not the one in the manifest")]
    Head,
    #[error("somebody is noted to have got event {reached}, which is not there")]
    Reached { reached: u64 },
    #[error("the table {0} does not hold what follows from the record")]
    Table(&'static str),
}

/// A record as far as it was checked.
pub struct Chain {
    room: RoomId,
    next: u64,
    head: Hash,
}

impl Chain {
    pub fn new(room: RoomId) -> Self {
        Self { room, next: 1, head: GENESIS }
    }

    /// The number that the next event must have.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The hash of the last event.
    pub fn head(&self) -> &Hash {
        &self.head
    }

    /// Takes the next event of an export. White space and the order of keys do not matter: its canonical form is made.
    pub fn exported(&mut self, json: &str, hash: &Hash) -> Result<(), Why> {
        let canonical = canonical_form(json).ok_or(Why::NotAnEntry)?;
        if !names::differ(json) {
            return Err(Why::NamedTwice);
        }
        let record: Record = serde_json::from_str(json).map_err(|_| Why::NotAnEntry)?;
        self.take(record.seq, &record, &canonical, hash)
    }

    /// Takes the next event of a database, whose bytes must be the canonical form itself.
    pub fn stored(&mut self, seq: u64, canonical: &str, hash: &Hash) -> Result<Record, Why> {
        let record: Record = serde_json::from_str(canonical).map_err(|_| Why::NotAnEntry)?;
        self.take(seq, &record, canonical, hash)?;
        if canonical_form(canonical).as_deref() == Some(canonical) { Ok(record) } else { Err(Why::NotCanonical) }
    }

    fn take(&mut self, seq: u64, record: &Record, canonical: &str, hash: &Hash) -> Result<(), Why> {
        if record.seq != self.next || seq != self.next {
            return Err(Why::Place { found: record.seq });
        }
        if record.room != self.room {
            return Err(Why::OtherRoom);
        }
        if chain(&self.head, canonical) != *hash {
            return Err(Why::Hash);
        }
        self.next += 1;
        self.head = *hash;
        Ok(())
    }
}
