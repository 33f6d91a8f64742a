//! Records: events as the log stores them, in canonical form and chained by hash.
//!
//! A record's canonical form is its JSON by RFC 8785 (JSON Canonicalization Scheme). Its hash is
//! `SHA-256(hash of the previous record ‖ canonical form)`; the first record hashes over 32 zero bytes instead. The store,
//! the wire and the export all carry exactly these bytes. So an event has one form, and anybody can verify the chain with
//! a JSON library and SHA-256.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::event::Event;
use crate::id::{CommandId, RoomId};
use crate::role::By;
use crate::time::Timestamp;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The hash that precedes the first record.
pub const GENESIS: Hash = [0; 32];

/// The largest integer that the canonical form can carry: RFC 8785 uses JavaScript's numbers, so 2^53 - 1.
pub const MAX_AMOUNT: u64 = (1 << 53) - 1;

/// An event with its number, time and author: one line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    pub room: RoomId,
    /// 1, 2, 3 … within a room, without gaps.
    pub seq: u64,
    /// When the hub decided it.
    pub at: Timestamp,
    pub actor: By,
    /// The command that caused it; absent for the hub's own events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandId>,
    #[serde(flatten)]
    pub event: Event,
}

impl Record {
    /// Returns the canonical form: the bytes that are stored, sent and hashed.
    pub fn canonical(&self) -> String {
        serde_json_canonicalizer::to_string(self).expect("a record has string keys and whole numbers only")
    }
}

/// Converts a record's JSON to the canonical form, whatever its white space and key order. Returns `None` if it is not
/// JSON.
pub fn canonical_form(json: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(json).ok()?;
    serde_json_canonicalizer::to_string(&value).ok()
}

/// Returns the hash of the record with this canonical form that follows the record with the hash `previous`.
pub fn chain(previous: &Hash, canonical: &str) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(canonical.as_bytes());
    hasher.finalize().into()
}
