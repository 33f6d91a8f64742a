//! Server frames as the load test reads them: only what it needs, without building the rest.
//!
//! At tens of thousands of frames a second a full parse of every event would make the generator the bottleneck, and
//! then the hub would look slow.

use std::borrow::Cow;

use rooms::id::{CommandId, RoomId};
use rooms::wire::code::Code;
use rooms::wire::server::{ErrorFrame, Head, ServerFrame, Welcome};
use serde::Deserialize;

/// A frame of the hub, in short.
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
    /// Signals, presence, marks, feeds and whatever a later version adds.
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

/// Why a text is not a frame of the hub.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("not a frame: {0}")]
    Form(#[from] serde_json::Error),
    #[error("a frame of type {0} lacks a field")]
    Lacking(&'static str),
}

impl FrameSummary {
    /// Reads a frame. Unknown types and fields are no error, as the protocol demands of clients.
    pub fn read(text: &str) -> Result<Self, FrameError> {
        let flat: FlatFrame = serde_json::from_str(text)?;
        let known = |kind, summary: Option<Self>| summary.ok_or(FrameError::Lacking(kind));
        match flat.kind.as_ref() {
            "event" => known(
                "event",
                (|| {
                    let event = flat.event?;
                    Some(Self::Event { room: flat.room?, prev: flat.prev?, seq: event.seq, command: event.command })
                })(),
            ),
            "ack" => known(
                "ack",
                (|| Some(Self::Ack { id: flat.id?, room: flat.room?, first: flat.first?, last: flat.last? }))(),
            ),
            "joined" => known("joined", (|| Some(Self::Joined { room: flat.room?, head: flat.head? }))()),
            "live" => known("live", (|| Some(Self::Live { room: flat.room?, head: flat.head? }))()),
            "beat" => known("beat", flat.heads.map(|heads| Self::Beat { heads })),
            "reconnect" => known("reconnect", flat.after_ms.map(|after_ms| Self::Reconnect { after_ms })),
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
    fn the_short_reading_agrees_with_the_wire_types() {
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
    fn unknown_types_and_fields_are_ignored_and_broken_frames_are_not() {
        assert!(matches!(FrameSummary::read(r#"{"type":"news","n":1}"#).unwrap(), FrameSummary::Other));
        assert!(matches!(
            FrameSummary::read(r#"{"type":"expiring","at":"x","more":[{}]}"#).unwrap(),
            FrameSummary::Expiring
        ));
        assert!(matches!(FrameSummary::read(r#"{"type":"live"}"#), Err(FrameError::Lacking("live"))));
        assert!(matches!(FrameSummary::read("[]"), Err(FrameError::Form(_))));
    }
}
