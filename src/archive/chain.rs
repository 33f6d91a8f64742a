//! Verification of a record event by event, against the hash chain.

use rooms::id::RoomId;
use rooms::record::{GENESIS, Hash, Record, canonical_form, chain};

use super::unique_names;

/// A reason for which a record fails verification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("this is not the first line of a Wardroom record of version 1")]
    InvalidManifest,
    #[error("this is not an event with its hash, or the line is longer than 1 MiB")]
    InvalidEntry,
    #[error("reading the file failed: {0}")]
    Unreadable(std::io::ErrorKind),
    #[error("an object contains a name twice, so two readers may see different contents")]
    DuplicateName,
    #[error("this is event {found}, so an event is missing, repeated or out of order")]
    WrongSeq { found: u64 },
    #[error("this event belongs to another room")]
    WrongRoom,
    #[error("the hash does not follow from the content and the previous hash: one of them was changed")]
    WrongHash,
    #[error("the event is not stored in its canonical form")]
    NotCanonical,
    #[error("the manifest promises {promised} events, but there are {found}")]
    EventCount { promised: u64, found: u64 },
    #[error("the last event's hash is not the one in the manifest")]
    HeadHash,
    #[error("a read receipt refers to event {seq}, which does not exist")]
    ReceiptBeyondHead { seq: u64 },
    #[error("the table {0} disagrees with the record")]
    Projection(&'static str),
}

/// Verifies one record in order, and holds the state after the last verified event.
pub struct ChainVerifier {
    room: RoomId,
    next_seq: u64,
    head_hash: Hash,
}

impl ChainVerifier {
    pub fn new(room: RoomId) -> Self {
        Self { room, next_seq: 1, head_hash: GENESIS }
    }

    /// The number that the next event must have.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The hash of the last verified event.
    pub fn head_hash(&self) -> &Hash {
        &self.head_hash
    }

    /// Verifies the next event of an export. White space and the order of keys do not matter: the hash covers the
    /// canonical form, which is derived here.
    pub fn verify_exported(&mut self, json: &str, hash: &Hash) -> Result<(), Violation> {
        let canonical = canonical_form(json).ok_or(Violation::InvalidEntry)?;
        if !unique_names::has_unique_names(json) {
            return Err(Violation::DuplicateName);
        }
        let record: Record = serde_json::from_str(json).map_err(|_| Violation::InvalidEntry)?;
        self.advance(record.seq, &record, &canonical, hash)
    }

    /// Verifies the next event of a database, whose bytes must be the canonical form itself.
    pub fn verify_stored(&mut self, seq: u64, canonical: &str, hash: &Hash) -> Result<Record, Violation> {
        let record: Record = serde_json::from_str(canonical).map_err(|_| Violation::InvalidEntry)?;
        self.advance(seq, &record, canonical, hash)?;
        if canonical_form(canonical).as_deref() == Some(canonical) { Ok(record) } else { Err(Violation::NotCanonical) }
    }

    fn advance(&mut self, seq: u64, record: &Record, canonical: &str, hash: &Hash) -> Result<(), Violation> {
        if record.seq != self.next_seq || seq != self.next_seq {
            return Err(Violation::WrongSeq { found: record.seq });
        }
        if record.room != self.room {
            return Err(Violation::WrongRoom);
        }
        if chain(&self.head_hash, canonical) != *hash {
            return Err(Violation::WrongHash);
        }
        self.next_seq += 1;
        self.head_hash = *hash;
        Ok(())
    }
}
