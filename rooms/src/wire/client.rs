//! Frames that a client sends.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::id::{CallId, CommandId, RoomId, UserId};
use crate::signal::Signal;
use crate::text::Text;
use crate::wire::call::CallSignal;

/// A frame from a client. Unknown types and fields are rejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientFrame {
    /// The first frame. Requires `token` unless the upgrade request carried an `Authorization` header.
    Hello {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<Token>,
        /// The `connection` of an earlier `welcome` that this one replaces. The hub closes the old connection at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<Text<64>>,
    },
    /// A fresh access token of the same person and sign-in; due before the old one expires.
    Auth {
        token: Token,
    },
    /// Joins a room, or requests its state again. `after` is the last `seq` that the client has; 0 for none.
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
        /// The version of the command's subject, as the sender saw it. The hub refuses the command if it has changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expect: Option<u64>,
        command: Command,
    },
    /// Relayed to the others in the room; never stored.
    Signal {
        room: RoomId,
        signal: Signal,
    },
    /// A call signal for another session in this room's call, or for the hub. Never stored.
    Call {
        room: RoomId,
        call: CallId,
        signal: CallSignal,
    },
    /// A read receipt. Both values only grow, up to the room's last event.
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
    /// Answers a `beat`, or requests one.
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

/// A live feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum FeedName {
    /// The person's own consultations, prescriptions, dispensings and deliveries, by room.
    Me {},
    /// A doctor's waiting room. The doctor sees every waiting patient; a patient sees their own position.
    Lobby { doctor: UserId },
    /// The work of the person's pharmacy.
    Queue {},
}
