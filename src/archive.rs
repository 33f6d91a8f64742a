//! Exports of a room's record, and verification of exports and of stored records.
//!
//! An export is JSON Lines: a [`Manifest`], then one [`ExportEntry`] per event, in order. `docs/record.md` explains how
//! to verify one with a JSON library and SHA-256; [`verify`] is Wardroom's own implementation. Access control is left to
//! the callers.

mod chain;
pub mod command;
mod database;
mod unique_names;

use std::io::{BufRead, ErrorKind, Read};

use rooms::id::RoomId;
use rooms::record::{GENESIS, Hash};
use rooms::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use self::chain::ChainVerifier;
pub use self::chain::Violation;
pub use self::database::{InvalidRoom, VerificationProgress, verify_database, verify_room};
use crate::store::StoreError;
use crate::store::history::History;
use crate::store::record::StoredRecord;

/// The format's name, as each manifest states it.
pub const FORMAT: &str = "wardroom-record";
/// The format's version.
pub const VERSION: u32 = 1;
/// The number of events that one query reads.
const PAGE_EVENTS: u32 = 500;
/// The longest line of an export, in bytes: far more than the largest event.
const MAX_LINE_BYTES: u64 = 1024 * 1024;

/// The first line of an export. It states what follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    pub room: RoomId,
    /// The number of events that follow.
    pub events: u64,
    /// The hash of the last event, in hexadecimal.
    pub head: String,
    pub exported_at: Timestamp,
}

/// One event of an export, with its hash.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExportEntry<'a> {
    /// The hash in hexadecimal.
    pub hash: String,
    #[serde(borrow)]
    pub record: &'a RawValue,
}

/// A record that passed verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRecord {
    pub room: RoomId,
    pub events: u64,
    /// The hash of the last event, to be compared with a copy kept elsewhere.
    pub head: String,
}

/// The first violation in a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}{}: {violation}", seq.map(|seq| format!(", event {seq}")).unwrap_or_default())]
pub struct IntegrityError {
    /// The line, counted from 1, the manifest.
    pub line: u64,
    /// The number of the event that belongs there.
    pub seq: Option<u64>,
    pub violation: Violation,
}

/// A running export. It reads one page at a time, so that a long record needs little memory, and ends with the event
/// that was the last one when the export began.
pub struct Export {
    history: History,
    manifest: Manifest,
    /// The number of events exported so far; `None` before the manifest.
    exported: Option<u64>,
}

impl Export {
    /// Begins an export of `room` up to its present head in the primary database.
    pub async fn begin(history: &History, room: RoomId, at: Timestamp) -> Result<Self, StoreError> {
        let last = history.primary().events_before(room, u64::MAX, 1).await?.pop();
        let (events, head) = last.map_or((0, GENESIS), |last| (last.seq, last.hash));
        let manifest =
            Manifest { format: FORMAT.into(), version: VERSION, room, events, head: hex(&head), exported_at: at };
        Ok(Self { history: history.clone(), manifest, exported: None })
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the next lines, each with its line feed; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<String>, StoreError> {
        let Some(exported) = self.exported else {
            self.exported = Some(0);
            let manifest = serde_json::to_string(&self.manifest).expect("a manifest has string keys");
            return Ok(Some(manifest + "\n"));
        };
        let left = self.manifest.events - exported;
        let limit = u32::try_from(left).unwrap_or(PAGE_EVENTS).min(PAGE_EVENTS);
        let Manifest { room, events, .. } = self.manifest;
        let page =
            if limit == 0 { Vec::new() } else { self.history.events_after(room, exported, limit, events).await? };
        let Some(last) = page.last() else { return Ok(None) };
        self.exported = Some(last.seq.min(self.manifest.events));
        let line = |it: &StoredRecord| format!("{{\"hash\":\"{}\",\"record\":{}}}\n", hex(&it.hash), it.canonical);
        Ok(Some(page.iter().map(line).collect()))
    }
}

/// Verifies an exported record without a hub or a database.
pub fn verify(mut reader: impl BufRead) -> Result<VerifiedRecord, IntegrityError> {
    let mut text = String::new();
    let mut line = 1;
    let error = |line, seq, violation| IntegrityError { line, seq, violation };
    next_line(&mut reader, &mut text).map_err(|violation| error(line, None, violation))?;
    let manifest: Manifest = serde_json::from_str(&text).map_err(|_| error(line, None, Violation::InvalidManifest))?;
    if manifest.format != FORMAT || manifest.version != VERSION {
        return Err(error(line, None, Violation::InvalidManifest));
    }
    let mut chain = ChainVerifier::new(manifest.room);
    loop {
        line += 1;
        let seq = Some(chain.next_seq());
        if !next_line(&mut reader, &mut text).map_err(|violation| error(line, seq, violation))? {
            break;
        }
        let entry: ExportEntry<'_> =
            serde_json::from_str(&text).map_err(|_| error(line, seq, Violation::InvalidEntry))?;
        let hash = unhex(&entry.hash).ok_or_else(|| error(line, seq, Violation::InvalidEntry))?;
        chain.verify_exported(entry.record.get(), &hash).map_err(|violation| error(line, seq, violation))?;
    }
    let (events, head) = (chain.next_seq() - 1, hex(chain.head_hash()));
    if events != manifest.events {
        let violation = Violation::EventCount { promised: manifest.events, found: events };
        return Err(error(line, Some(chain.next_seq()), violation));
    }
    if head != manifest.head {
        return Err(error(1, None, Violation::HeadHash));
    }
    Ok(VerifiedRecord { room: manifest.room, events, head })
}

/// Reads a line of bounded length; returns `false` at the end.
fn next_line(reader: &mut impl BufRead, text: &mut String) -> Result<bool, Violation> {
    text.clear();
    let read = reader.by_ref().take(MAX_LINE_BYTES).read_line(text).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => Violation::InvalidEntry,
        kind => Violation::Unreadable(kind),
    })?;
    if read as u64 == MAX_LINE_BYTES { Err(Violation::InvalidEntry) } else { Ok(read > 0) }
}

fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Hash> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut hash = GENESIS;
    for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(0)? * 16 + digit(1)?;
    }
    Some(hash)
}
