//! What a client sends.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::id::{CallId, CommandId, RoomId, UserId};
use crate::signal::Signal;
use crate::text::Text;
use crate::wire::call::CallSignal;

/// A frame from a client. Unknown types and unknown fields are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientFrame {
    /// The first frame. `token` is needed unless the upgrade request carried an `Authorization` header.
    Hello {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<Token>,
        /// The connection of this client that this one replaces, from its `welcome`: the old one is closed at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<Text<64>>,
    },
    /// A fresh access token of the same person and sign-in, before the old one expires.
    Auth {
        token: Token,
    },
    /// Enters a room, or asks anew for its state. `after` is the last `seq` the client has; 0 for none.
    Join {
        room: RoomId,
        after: u64,
    },
    Leave {
        room: RoomId,
    },
    /// A command to a room. The same `id` with the same content takes effect once, however often it is sent.
    Command {
        id: CommandId,
        room: RoomId,
        /// The version of the part that the command is about, as the sender saw it. Another present version refuses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expect: Option<u64>,
        command: Command,
    },
    /// Relayed to the others in the room, never stored.
    Signal {
        room: RoomId,
        signal: Signal,
    },
    /// Something for the other sessions in a call of this room, or for the hub about them. Never stored.
    Call {
        room: RoomId,
        call: CallId,
        signal: CallSignal,
    },
    /// How far this client got: both only ever grow, and neither beyond the room's last event.
    Mark {
        room: RoomId,
        #[serde(default)]
        delivered: u64,
        #[serde(default)]
        seen: u64,
    },
    Subscribe {
        feed: FeedName,
    },
    Unsubscribe {
        feed: FeedName,
    },
    /// Answers a `beat`, or asks for one.
    Beat {},
}

/// An access token. Never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A live read model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum FeedName {
    /// Everything of mine: consultations, prescriptions, dispensing and deliveries, by room.
    Me {},
    /// A doctor's waiting room. The doctor sees everybody in it; a patient who waits there sees the own place.
    Lobby { doctor: UserId },
    /// The own pharmacy's work.
    Queue {},
}
