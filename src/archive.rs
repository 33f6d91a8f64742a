//! The record outside the database: export, and checking what was exported or stored.
//!
//! An export is JSON Lines: a [`Manifest`], then one [`Entry`] for each event, in order. `docs/record.md` says how anybody
//! can check it with a JSON library and SHA-256; [`verify`] is how Wardroom does.

mod chain;
pub mod command;

use std::io::BufRead;

use rooms::id::RoomId;
use rooms::record::{GENESIS, Hash};
use rooms::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use self::chain::Chain;
pub use self::chain::Why;
use crate::store::{Store, StoreError};

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

/// A whole record as the lines of an export, for as many events as it has now.
pub async fn export(store: &Store, room: RoomId, at: Timestamp) -> Result<Vec<String>, StoreError> {
    let mut lines = vec![String::new()];
    let (mut seq, mut head) = (0, GENESIS);
    loop {
        let page = store.events_after(room, seq, PAGE).await?;
        for stored in &page {
            (seq, head) = (stored.seq, stored.hash);
            lines.push(format!(r#"{{"hash":"{}","record":{}}}"#, hex(&head), stored.canonical));
        }
        if page.len() < PAGE as usize {
            break;
        }
    }
    let manifest =
        Manifest { format: FORMAT.into(), version: VERSION, room, events: seq, head: hex(&head), exported_at: at };
    lines[0] = serde_json::to_string(&manifest).expect("a manifest has string keys");
    Ok(lines)
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

/// Checks one stored record.
pub async fn verify_room(store: &Store, room: RoomId) -> Result<Result<Report, Mismatch>, StoreError> {
    let mut chain = Chain::new(room);
    loop {
        let page = store.events_after(room, chain.next() - 1, PAGE).await?;
        for stored in &page {
            let seq = chain.next();
            if let Err(why) = chain.stored(stored.seq, &stored.canonical, &stored.hash) {
                // As in its export, where the manifest is line 1.
                return Ok(Err(Mismatch { line: seq + 1, seq: Some(seq), why }));
            }
        }
        if page.len() < PAGE as usize {
            return Ok(Ok(Report { room, events: chain.next() - 1, head: hex(chain.head()) }));
        }
    }
}

/// Reads a line, bounded; false at the end.
fn next_line(reader: &mut impl BufRead, text: &mut String) -> Result<bool, Why> {
    use std::io::Read;
    text.clear();
    let read = reader.by_ref().take(MAX_LINE).read_line(text).map_err(|_| Why::NotAnEntry)?;
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
