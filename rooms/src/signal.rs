//! Signals, presence and read receipts: relayed but never logged. They may be lost; no record depends on them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::UserId;
use crate::party::Thread;

/// A signal from a client to the others in the room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "data", deny_unknown_fields)]
pub enum Signal {
    /// The sender is typing in a thread; valid for 5 seconds.
    #[serde(rename = "typing")]
    Typing(Typing),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Typing {
    #[serde(default)]
    pub thread: Thread,
}

/// Whether a person is connected to the room. A lost connection counts only after a grace period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Presence {
    pub user: UserId,
    pub here: bool,
}

/// A person's read receipt: the last event `delivered` to one of their devices and the last event `seen` on a screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mark {
    pub delivered: u64,
    pub seen: u64,
}
