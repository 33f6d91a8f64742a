//! Frames that the hub sends.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{CallId, CommandId, RoomId, SessionId, UserId};
use crate::record::Record;
use crate::refusal::Detail;
use crate::role::Role;
use crate::room::snapshot::Snapshot;
use crate::signal::{Mark, Presence, Signal};
use crate::time::Timestamp;
use crate::wire::call::CallNotice;
use crate::wire::client::FeedName;
use crate::wire::code::Code;
use crate::wire::feed::FeedItem;

/// A frame from the hub. A client ignores unknown types and fields.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame {
    /// The answer to `hello`.
    Welcome(Welcome),
    /// The answer to `join`, with a snapshot. The `event`s after the client's cursor follow, then `live`.
    Joined {
        room: RoomId,
        /// The last event visible to this client when the snapshot was taken.
        head: u64,
        snapshot: Box<Snapshot>,
    },
    /// Every visible event up to `head` has been sent; later ones follow live.
    Live {
        room: RoomId,
        head: u64,
    },
    /// One event. No event visible to this client lies strictly between `prev` and the event's `seq`.
    ///
    /// [`event_frame`] writes these frames; this variant is for reading them.
    Event {
        room: RoomId,
        prev: u64,
        event: Box<Record>,
    },
    /// The client is no longer in the room: it left, or it lost access.
    Left {
        room: RoomId,
        code: Code,
    },
    /// The command is committed; its events are `first` to `last`.
    Ack {
        id: CommandId,
        room: RoomId,
        first: u64,
        last: u64,
    },
    Error(ErrorFrame),
    Signal {
        room: RoomId,
        from: UserId,
        signal: Signal,
    },
    /// A call signal from another session in this room's call, or from the hub.
    Call {
        room: RoomId,
        call: CallId,
        signal: CallNotice,
    },
    Presence {
        room: RoomId,
        presence: Presence,
    },
    Mark {
        room: RoomId,
        user: UserId,
        mark: Mark,
    },
    /// A feed's whole content: on subscription, and whenever the hub prefers it to a change.
    Feed {
        feed: FeedName,
        version: u64,
        items: Vec<FeedItem>,
        /// The number of open rows that the feed leaves out, because it holds a limited number; 0 if absent.
        #[serde(default, skip_serializing_if = "is_zero")]
        missing: u32,
    },
    /// The change from version `version - 1` to `version`. A client with any other version subscribes again.
    FeedChange {
        feed: FeedName,
        version: u64,
        set: Vec<FeedItem>,
        removed: Vec<String>,
        /// As in `feed`, after the change.
        #[serde(default, skip_serializing_if = "is_zero")]
        missing: u32,
    },
    /// The access token expires at `at`; the client sends `auth` before.
    Expiring {
        at: Timestamp,
    },
    /// The hub is alive. `heads` are the last events visible to this client in its rooms. A client that is behind joins
    /// again with its cursor.
    Beat {
        at: Timestamp,
        heads: Vec<Head>,
    },
    /// The hub is about to close this connection; the client reconnects after `after_ms`.
    Reconnect {
        after_ms: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Welcome {
    /// This connection's name, for `hello.replaces` of its successor.
    pub connection: String,
    pub session: SessionId,
    pub user: UserId,
    pub name: String,
    pub role: Role,
    pub now: Timestamp,
    pub token_expires_at: Timestamp,
    /// The interval between `beat`s. A client that receives nothing for twice as long reconnects.
    pub beat_ms: u64,
    pub max_frame: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Head {
    pub room: RoomId,
    pub head: u64,
}

/// An error, with the client's request if known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorFrame {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<CommandId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomId>,
    pub code: Code,
    /// A sentence for people, in English. Never quotes the client's input.
    pub message: String,
    /// Whether the same frame may succeed later.
    pub retryable: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub detail: Detail,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

fn is_default(detail: &Detail) -> bool {
    *detail == Detail::default()
}

/// Writes an `event` frame around a record's canonical form without parsing it.
pub fn event_frame(room: RoomId, prev: u64, canonical: &str) -> String {
    format!(r#"{{"type":"event","room":"{room}","prev":{prev},"event":{canonical}}}"#)
}

impl ServerFrame {
    /// Encodes the frame as text.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("a frame has string keys and no map of its own")
    }
}
