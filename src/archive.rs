//! The record outside the database: export, and checking what was exported or stored.
//!
//! An export is JSON Lines: a [`Manifest`], then one [`Entry`] for each event, in order. `docs/record.md` says how anybody
//! can check it with a JSON library and SHA-256; [`verify`] is how Wardroom does.

mod chain;
pub mod command;
mod database;
mod names;

use std::io::{BufRead, ErrorKind, Read};

use rooms::id::RoomId;
use rooms::record::{GENESIS, Hash};
use rooms::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use self::chain::Chain;
pub use self::chain::Why;
pub use self::database::{Fault, Tally, verify_database, verify_room};
use crate::store::StoreError;
use crate::store::events::Stored;
use crate::store::history::History;

/// The name of the form, in every manifest.
pub const FORMAT: &str = "wardroom-record";
/// The version of the form.
pub const VERSION: u32 = 1;
/// Events read from the store at a time.
const PAGE: u32 = 500;
/// The longest line of an export, in bytes: far more than the largest event.
const MAX_LINE: u64 = 1024 * 1024;

/// The first line of an export: what must follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    pub room: RoomId,
    /// How many events follow.
    pub events: u64,
    /// The hash of the last of them, in hexadecimal.
    pub head: String,
    pub exported_at: Timestamp,
}

/// One event of an export.
#[derive(Debug, Serialize, Deserialize)]
pub struct Entry<'a> {
    /// In hexadecimal.
    pub hash: String,
    #[serde(borrow)]
    pub record: &'a RawValue,
}

/// A record that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub room: RoomId,
    pub events: u64,
    /// The hash of the last event; compare it with one you noted elsewhere.
    pub head: String,
}

/// The first thing that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}{}: {why}", seq.map(|seq| format!(", event {seq}")).unwrap_or_default())]
pub struct Mismatch {
    /// Counted from 1, which is the manifest.
    pub line: u64,
    /// The event that should stand there.
    pub seq: Option<u64>,
    pub why: Why,
}

/// A record on its way out, a page at a time, so that a long one needs little memory. It ends with the event that was
/// the last one when the export began.
pub struct Export {
    history: History,
    manifest: Manifest,
    /// How many events are out; `None`: not even the manifest.
    out: Option<u64>,
}

impl Export {
    /// Begins an export of `room`, as far as it goes now in the database itself.
    pub async fn begin(history: &History, room: RoomId, at: Timestamp) -> Result<Self, StoreError> {
        let last = history.primary().events_before(room, u64::MAX, 1).await?.pop();
        let (events, head) = last.map_or((0, GENESIS), |last| (last.seq, last.hash));
        let manifest =
            Manifest { format: FORMAT.into(), version: VERSION, room, events, head: hex(&head), exported_at: at };
        Ok(Self { history: history.clone(), manifest, out: None })
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The next lines, each with its line feed; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<String>, StoreError> {
        let Some(out) = self.out else {
            self.out = Some(0);
            let manifest = serde_json::to_string(&self.manifest).expect("a manifest has string keys");
            return Ok(Some(manifest + "\n"));
        };
        let left = self.manifest.events - out;
        let limit = u32::try_from(left).unwrap_or(PAGE).min(PAGE);
        let Manifest { room, events, .. } = self.manifest;
        let page = if limit == 0 { Vec::new() } else { self.history.events_after(room, out, limit, events).await? };
        let Some(last) = page.last() else { return Ok(None) };
        self.out = Some(last.seq.min(self.manifest.events));
        let line = |it: &Stored| format!("{{\"hash\":\"{}\",\"record\":{}}}\n", hex(&it.hash), it.canonical);
        Ok(Some(page.iter().map(line).collect()))
    }
}

/// Checks an exported record, without a hub or a database.
pub fn verify(mut reader: impl BufRead) -> Result<Report, Mismatch> {
    let mut text = String::new();
    let mut line = 1;
    let broken = |line, seq, why| Mismatch { line, seq, why };
    next_line(&mut reader, &mut text).map_err(|why| broken(line, None, why))?;
    let manifest: Manifest = serde_json::from_str(&text).map_err(|_| broken(line, None, Why::NoManifest))?;
    if manifest.format != FORMAT || manifest.version != VERSION {
        return Err(broken(line, None, Why::NoManifest));
    }
    let mut chain = Chain::new(manifest.room);
    loop {
        line += 1;
        let seq = Some(chain.next());
        if !next_line(&mut reader, &mut text).map_err(|why| broken(line, seq, why))? {
            break;
        }
        let entry: Entry<'_> = serde_json::from_str(&text).map_err(|_| broken(line, seq, Why::NotAnEntry))?;
        let hash = unhex(&entry.hash).ok_or_else(|| broken(line, seq, Why::NotAnEntry))?;
        chain.exported(entry.record.get(), &hash).map_err(|why| broken(line, seq, why))?;
    }
    let (events, head) = (chain.next() - 1, hex(chain.head()));
    if events != manifest.events {
        let why = Why::Count { promised: manifest.events, found: events };
        return Err(broken(line, Some(chain.next()), why));
    }
    if head != manifest.head {
        return Err(broken(1, None, Why::Head));
    }
    Ok(Report { room: manifest.room, events, head })
}

/// Reads a line, bounded; false at the end.
fn next_line(reader: &mut impl BufRead, text: &mut String) -> Result<bool, Why> {
    text.clear();
    let read = reader.by_ref().take(MAX_LINE).read_line(text).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => Why::NotAnEntry,
        kind => Why::Unreadable(kind),
    })?;
    if read as u64 == MAX_LINE { Err(Why::NotAnEntry) } else { Ok(read > 0) }
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
