//! What the hub sends.

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

/// A frame from the hub. A client ignores types and fields it does not know.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame {
    /// The answer to `hello`.
    Welcome(Welcome),
    /// The answer to `join`: who and what state. Then come `event`s after the client's cursor, then `live`.
    Joined {
        room: RoomId,
        /// The last event visible to this client when the snapshot was taken.
        head: u64,
        snapshot: Box<Snapshot>,
    },
    /// Everything visible up to `head` has been sent; what follows is live.
    Live {
        room: RoomId,
        head: u64,
    },
    /// One event. Nothing that this client may see lies strictly between `prev` and the event's `seq`.
    ///
    /// [`event_frame`] writes these; this variant is what a client reads.
    Event {
        room: RoomId,
        prev: u64,
        event: Box<Record>,
    },
    /// The client is no longer in the room: it left, or it lost the right to be there.
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
    /// Something from another session in a call of this room, or from the hub about them.
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
    /// A feed's whole content, on subscription and whenever the hub finds that simpler than a change.
    Feed {
        feed: FeedName,
        version: u64,
        items: Vec<FeedItem>,
    },
    /// What changed from version `version - 1` to `version`. After any other version, subscribe again.
    FeedChange {
        feed: FeedName,
        version: u64,
        set: Vec<FeedItem>,
        removed: Vec<String>,
    },
    /// The access token ends at `at`: send `auth` before.
    Expiring {
        at: Timestamp,
    },
    /// The hub is alive. `heads` are the last events visible to this client in its rooms: a client that is behind
    /// joins again with its cursor.
    Beat {
        at: Timestamp,
        heads: Vec<Head>,
    },
    /// The hub is about to close this connection: come back after `after_ms`.
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
    /// The hub sends a `beat` this often; a client that heard nothing for twice that long should reconnect.
    pub beat_ms: u64,
    pub max_frame: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Head {
    pub room: RoomId,
    pub head: u64,
}

/// What went wrong, with what the client asked, if it can be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorFrame {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<CommandId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomId>,
    pub code: Code,
    /// A sentence for people, in English. Never contains what was sent.
    pub message: String,
    /// Whether the same frame may succeed later.
    pub retryable: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub detail: Detail,
}

fn is_default(detail: &Detail) -> bool {
    *detail == Detail::default()
}

/// Writes an `event` frame around a record's canonical form, which is not parsed again.
pub fn event_frame(room: RoomId, prev: u64, canonical: &str) -> String {
    format!(r#"{{"type":"event","room":"{room}","prev":{prev},"event":{canonical}}}"#)
}

impl ServerFrame {
    /// The frame as text.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("a frame has string keys and no map of its own")
    }
}
