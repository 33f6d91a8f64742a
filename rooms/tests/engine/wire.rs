//! Frames and their closed lists.

use std::collections::BTreeSet;

use rooms::command::*;
use rooms::event::Event;
use rooms::permission::View;
use rooms::room::snapshot::Snapshot;
use rooms::wire::client::ClientFrame;
use rooms::wire::close::Close;
use rooms::wire::code::Code;
use rooms::wire::feed::{FeedItem, FeedRow};
use rooms::wire::server::{ServerFrame, event_frame};

use crate::random::all_commands;
use crate::support::*;

#[test]
fn error_codes_are_unique_and_documented() {
    let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(names.len(), Code::ALL.len());
    for code in Code::ALL {
        assert!((400..600).contains(&code.status()), "{code:?}");
        assert!(code.meaning().ends_with('.'), "{code:?} is explained");
        assert_eq!(serde_json::to_value(code).expect("a name"), code.as_str());
        assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
    }
}

#[test]
fn close_codes_are_unique_and_documented() {
    let codes: BTreeSet<_> = Close::ALL.iter().map(|close| close.code()).collect();
    let reasons: BTreeSet<_> = Close::ALL.iter().map(|close| close.reason()).collect();
    assert_eq!((codes.len(), reasons.len()), (Close::ALL.len(), Close::ALL.len()));
    for close in Close::ALL {
        // RFC 6455: 1000 to 2999 are the protocol's own, 4000 to 4999 are for private use.
        assert!(close.code() == 1012 || (4000..5000).contains(&close.code()), "{close:?}");
        assert!(close.reason().len() <= 123, "a close frame carries at most 123 bytes");
        assert!(close.meaning().ends_with('.'), "{close:?} is explained");
        assert_eq!(close.resumable(), close.meaning().contains("econnect"), "{close:?} says what the client does");
    }
}

#[test]
fn kinds_match_the_wire() {
    assert_eq!(Command::KINDS.iter().collect::<BTreeSet<_>>().len(), Command::KINDS.len());
    assert_eq!(Event::KINDS.iter().collect::<BTreeSet<_>>().len(), Event::KINDS.len());
    let mut clinic = Clinic::with_default_policy();
    clinic.assigned_delivery().deliver(&["picked_up"]).ok(&patient(), chat(rooms::party::Thread::default()));
    for command in all_commands(&clinic.care(), 0, clinic.now) {
        let wire = serde_json::to_value(&command).expect("commands are JSON");
        assert_eq!(wire["kind"], command.kind());
        assert_eq!(serde_json::from_value::<Command>(wire).expect("reads back"), command);
    }
    for record in &clinic.log {
        assert_eq!(serde_json::to_value(record).expect("records are JSON")["kind"], record.event.kind());
    }
}

/// The hub writes event frames around stored bytes; a client parses them like all other frames.
#[test]
fn event_frames_parse_as_server_frames() {
    let mut clinic = Clinic::with_default_policy();
    clinic.assigned_delivery();
    for record in &clinic.log {
        let text = event_frame(record.room, record.seq - 1, &record.canonical());
        match serde_json::from_str::<ServerFrame>(&text) {
            Ok(ServerFrame::Event { room, prev, event }) => {
                assert_eq!((room, prev, &*event), (record.room, record.seq - 1, record));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn snapshots_and_frames_parse_back() {
    let mut clinic = Clinic::with_default_policy();
    clinic.assigned_delivery();
    let views = [View::Care, View::Pharmacy(pharmacy_id(1)), View::Courier(user(&courier(1)))];
    for snapshot in views.map(|view| clinic.room.snapshot(&view, clinic.now)) {
        let text = serde_json::to_string(&snapshot).expect("a snapshot is JSON");
        assert_eq!(serde_json::from_str::<Snapshot>(&text).expect("reads back"), snapshot);
        let frame = ServerFrame::Joined { room: snapshot.room, head: 7, snapshot: Box::new(snapshot.clone()) };
        match serde_json::from_str::<ServerFrame>(&frame.encode()) {
            Ok(ServerFrame::Joined { snapshot: read, .. }) => assert_eq!(*read, snapshot),
            other => panic!("{other:?}"),
        }
    }
    let row = FeedRow::Waiting {
        room: clinic.room.id(),
        patient: None,
        state: rooms::state::ConsultationState::Waiting,
        position: 2,
        estimate_s: Some(600),
        since: clinic.now,
        starts_at: None,
    };
    let item = FeedItem { key: "a".into(), row };
    let value = serde_json::to_value(&item).expect("an item is JSON");
    assert_eq!((&value["kind"], &value["position"]), (&"waiting".into(), &2.into()), "a row is one flat object");
    assert_eq!(serde_json::from_value::<FeedItem>(value).expect("reads back"), item);
    let frame = ClientFrame::Beat {};
    assert_eq!(serde_json::to_string(&frame).expect("a frame is JSON"), r#"{"type":"beat"}"#);
}
