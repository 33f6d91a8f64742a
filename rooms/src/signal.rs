//! What is relayed and never stored: it may be lost, and nobody's record depends on it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Thread;
use crate::id::UserId;

/// What a client may send to the others in the room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "data", deny_unknown_fields)]
pub enum Signal {
    /// Somebody is writing in a thread; good for 5 seconds.
    #[serde(rename = "typing")]
    Typing(Typing),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Typing {
    #[serde(default)]
    pub thread: Thread,
}

/// Whether a person has a connection to the room. A lost connection counts only after a grace time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Presence {
    pub user: UserId,
    pub here: bool,
}

/// How far a person's devices have got: `delivered` reached one of them, `seen` was on a screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mark {
    pub delivered: u64,
    pub seen: u64,
}
