//! An event as the log keeps it, its canonical form and its place in the chain.
//!
//! The canonical form of a record is its JSON by RFC 8785 (JSON Canonicalization Scheme). Each record's hash is
//! `SHA-256(hash of the record before ‖ canonical form)`, the first one's over 32 zero bytes in place of a hash before
//! it. The store keeps exactly these bytes, the wire carries them, and the export writes them, so that one form of an
//! event exists and anybody can check the chain with a JSON library and SHA-256.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::event::Event;
use crate::id::{CommandId, RoomId};
use crate::role::By;
use crate::time::Timestamp;

/// SHA-256.
pub type Hash = [u8; 32];

/// What stands before the first record.
pub const GENESIS: Hash = [0; 32];

/// The largest whole number of the canonical form: RFC 8785 writes numbers as JavaScript knows them, so 2^53 - 1.
pub const MAX_AMOUNT: u64 = (1 << 53) - 1;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    pub room: RoomId,
    /// 1, 2, 3 … without gaps within a room.
    pub seq: u64,
    /// When the hub decided it.
    pub at: Timestamp,
    pub actor: By,
    /// The command it follows from; absent for the hub's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandId>,
    #[serde(flatten)]
    pub event: Event,
}

impl Record {
    /// The bytes that are stored, sent and hashed.
    pub fn canonical(&self) -> String {
        serde_json_canonicalizer::to_string(self).expect("a record has string keys and whole numbers only")
    }
}

/// The canonical form of a record in any spelling: white space and the order of keys do not matter. `None` if it is not
/// JSON.
pub fn canonical_form(json: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(json).ok()?;
    serde_json_canonicalizer::to_string(&value).ok()
}

/// The hash of the record whose canonical form is `canonical` and whose predecessor's hash is `before`.
pub fn chain(before: &Hash, canonical: &str) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(before);
    hasher.update(canonical.as_bytes());
    hasher.finalize().into()
}
