//! Server frames, parsed only as far as the load test needs.
//!
//! At tens of thousands of frames a second, fully parsing every event would make the generator the bottleneck, and the
//! hub would look slow.

use std::borrow::Cow;

use rooms::id::{CommandId, RoomId};
use rooms::wire::code::Code;
use rooms::wire::server::{ErrorFrame, Head, ServerFrame, Welcome};
use serde::Deserialize;

/// The part of a server frame that the load test needs.
#[derive(Clone, Debug)]
pub enum FrameSummary {
    Welcome(Box<Welcome>),
    Joined {
        room: RoomId,
        head: u64,
    },
    Live {
        room: RoomId,
        head: u64,
    },
    Event {
        room: RoomId,
        prev: u64,
        seq: u64,
        command: Option<CommandId>,
    },
    Ack {
        id: CommandId,
        room: RoomId,
        first: u64,
        last: u64,
    },
    Error(Box<ErrorFrame>),
    Left {
        room: RoomId,
        code: Code,
    },
    Beat {
        heads: Vec<Head>,
    },
    Expiring,
    Reconnect {
        after_ms: u64,
    },
    /// Signals, presence, read receipts, feeds, and whatever a later version adds.
    Other,
}

#[derive(Deserialize)]
struct FlatFrame<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    room: Option<RoomId>,
    head: Option<u64>,
    prev: Option<u64>,
    event: Option<FlatEvent>,
    id: Option<CommandId>,
    first: Option<u64>,
    last: Option<u64>,
    heads: Option<Vec<Head>>,
    after_ms: Option<u64>,
}

#[derive(Deserialize)]
struct FlatEvent {
    seq: u64,
    command: Option<CommandId>,
}

/// A text that is not a frame of the hub.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("not a frame: {0}")]
    Form(#[from] serde_json::Error),
    #[error("a frame of type {0} is missing a field")]
    MissingField(&'static str),
}

impl FrameSummary {
    /// Parses a frame. Ignores unknown types and fields, as the protocol requires of clients.
    pub fn read(text: &str) -> Result<Self, FrameError> {
        let flat: FlatFrame = serde_json::from_str(text)?;
        let require = |kind, summary: Option<Self>| summary.ok_or(FrameError::MissingField(kind));
        match flat.kind.as_ref() {
            "event" => require(
                "event",
                (|| {
                    let event = flat.event?;
                    Some(Self::Event { room: flat.room?, prev: flat.prev?, seq: event.seq, command: event.command })
                })(),
            ),
            "ack" => require(
                "ack",
                (|| Some(Self::Ack { id: flat.id?, room: flat.room?, first: flat.first?, last: flat.last? }))(),
            ),
            "joined" => require("joined", (|| Some(Self::Joined { room: flat.room?, head: flat.head? }))()),
            "live" => require("live", (|| Some(Self::Live { room: flat.room?, head: flat.head? }))()),
            "beat" => require("beat", flat.heads.map(|heads| Self::Beat { heads })),
            "reconnect" => require("reconnect", flat.after_ms.map(|after_ms| Self::Reconnect { after_ms })),
            "expiring" => Ok(Self::Expiring),
            "welcome" | "error" | "left" => Ok(match serde_json::from_str(text)? {
                ServerFrame::Welcome(welcome) => Self::Welcome(Box::new(welcome)),
                ServerFrame::Error(error) => Self::Error(Box::new(error)),
                ServerFrame::Left { room, code } => Self::Left { room, code },
                _ => Self::Other,
            }),
            _ => Ok(Self::Other),
        }
    }
}

#[cfg(test)]
mod tests {
    use rooms::refusal::Detail;
    use rooms::time::Timestamp;
    use rooms::wire::server::event_frame;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn partial_parse_agrees_with_the_wire_types() {
        let room = RoomId(Uuid::now_v7());
        let id = CommandId(Uuid::now_v7());
        let record = format!(
            r#"{{"actor":{{"role":"doctor"}},"command":"{id}","data":{{"prev":9,"seq":8}},"kind":"x","seq":7}}"#
        );
        let text = event_frame(room, 5, &record);
        assert!(
            matches!(FrameSummary::read(&text).unwrap(), FrameSummary::Event { room: r, prev: 5, seq: 7, command: Some(c) } if r == room && c == id)
        );

        let text = ServerFrame::Ack { id, room, first: 3, last: 4 }.encode();
        assert!(matches!(FrameSummary::read(&text).unwrap(), FrameSummary::Ack { first: 3, last: 4, .. }));
        let text = ServerFrame::Live { room, head: 4 }.encode();
        assert!(matches!(FrameSummary::read(&text).unwrap(), FrameSummary::Live { head: 4, .. }));
        let heads = vec![Head { room, head: 2 }];
        let text = ServerFrame::Beat { at: Timestamp::from_micros(0), heads: heads.clone() }.encode();
        assert!(matches!(FrameSummary::read(&text).unwrap(), FrameSummary::Beat { heads: h } if h == heads));
        let error = ErrorFrame {
            id: Some(id),
            room: Some(room),
            code: Code::RateLimited,
            message: "slower".into(),
            retryable: true,
            detail: Detail { retry_after_ms: Some(5), ..Detail::default() },
        };
        let text = ServerFrame::Error(error.clone()).encode();
        assert!(matches!(FrameSummary::read(&text).unwrap(), FrameSummary::Error(e) if *e == error));
    }

    #[test]
    fn unknown_types_and_fields_are_ignored_and_malformed_frames_are_errors() {
        assert!(matches!(FrameSummary::read(r#"{"type":"news","n":1}"#).unwrap(), FrameSummary::Other));
        assert!(matches!(
            FrameSummary::read(r#"{"type":"expiring","at":"x","more":[{}]}"#).unwrap(),
            FrameSummary::Expiring
        ));
        assert!(matches!(FrameSummary::read(r#"{"type":"live"}"#), Err(FrameError::MissingField("live"))));
        assert!(matches!(FrameSummary::read("[]"), Err(FrameError::Form(_))));
    }
}
