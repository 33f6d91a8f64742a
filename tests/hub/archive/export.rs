//! Verification of exported records: every change is found and located.

use std::io::Cursor;
use std::process::Command;
use std::sync::Arc;

use rooms::event::{ChatSent, Event};
use rooms::id::{CommandId, RoomId, UserId};
use rooms::party::Thread;
use rooms::record::{GENESIS, Record, chain};
use rooms::role::{Actor, By, Role};
use rooms::text::Text;
use rooms::time::Timestamp;
use serde_json::Value;
use uuid::Uuid;
use wardroom::archive::{Export, Manifest, Violation, verify, verify_room};
use wardroom::config::DatabaseSettings;
use wardroom::store::Store;
use wardroom::store::history::History;
use wardroom::store::record::{Append, Appended, HashedRecord};

use crate::support::both;
use crate::support::room_log::{RoomLog, new_ids};

const EVENTS: usize = 6;

/// Reads from the primary only.
fn primary_only(store: &Store) -> History {
    History::open(store.clone(), &DatabaseSettings::new("")).expect("no replica is configured")
}

/// Stores a room of six messages and exports it.
async fn stored_and_exported(store: &Store) -> (RoomId, Vec<String>) {
    let (room, sender) = (RoomId(Uuid::now_v7()), UserId(Uuid::now_v7()));
    let mut hash = GENESIS;
    for seq in 1..=EVENTS as u64 {
        let command = CommandId(Uuid::now_v7());
        let actor = By { id: Some(sender), name: Some(Text::stored("Ann").unwrap()), role: Role::Patient };
        let text = Text::stored(&format!("message {seq}, \"quoted\" \\ and 한국어 €")).unwrap();
        let event = Event::ChatSent(ChatSent { text, thread: Thread::Care });
        let at = Timestamp::from_micros(1_790_000_000_000_000 + seq as i64);
        let record = Record { room, seq, at, actor, command: Some(command), event };
        let canonical = record.canonical();
        let before = hash;
        hash = chain(&hash, &canonical);
        let records = vec![HashedRecord { seq, canonical: canonical.into(), hash, record: Arc::new(record) }];
        let append = Append {
            room,
            records,
            before,
            sender: Some(sender),
            command: Some(command),
            command_hash: [0; 32],
            after: None,
            wake_at: None,
            parties: None,
            booking_limits: None,
        };
        assert_eq!(store.append(&[append]).await.unwrap(), [Appended::Committed]);
    }
    (room, export(store, room).await.lines().map(str::to_owned).collect())
}

async fn export(store: &Store, room: RoomId) -> String {
    let mut export = Export::begin(&primary_only(store), room, Timestamp::from_micros(0)).await.unwrap();
    let mut text = String::new();
    while let Some(piece) = export.next().await.unwrap() {
        assert!(piece.ends_with('\n'));
        text += &piece;
    }
    text
}

/// Returns the line and the violation that `verify` reports.
fn found(lines: &[String]) -> (u64, Violation) {
    let error = verify(Cursor::new(lines.join("\n"))).expect_err("the change is detected");
    (error.line, error.violation)
}

async fn intact_record_verifies_in_any_json_formatting(database: DatabaseSettings) {
    let store = Store::connect(&database).await.unwrap();
    let (room, mut lines) = stored_and_exported(&store).await;
    let report = verify(Cursor::new(lines.join("\n") + "\n")).unwrap();
    assert_eq!((report.room, report.events), (room, EVENTS as u64));
    assert_eq!(verify_room(&store, room).await.unwrap().unwrap(), report);
    // Another program may write the same JSON with different white space.
    lines[3] = lines[3].replace("\",\"", "\" ,  \"");
    assert_eq!(verify(Cursor::new(lines.join("\r\n"))).unwrap(), report);
}

async fn every_edit_deletion_insertion_swap_and_truncation_is_located(database: DatabaseSettings) {
    let store = Store::connect(&database).await.unwrap();
    let (_, lines) = stored_and_exported(&store).await;
    for at in 1..lines.len() {
        let line = at as u64 + 1;
        let changed = |change: &dyn Fn(&mut Vec<String>)| {
            let mut lines = lines.clone();
            change(&mut lines);
            found(&lines)
        };
        let edit = |from: &'static str, to: &'static str| {
            changed(&move |lines| {
                assert!(lines[at].contains(from));
                lines[at] = lines[at].replacen(from, to, 1);
            })
        };
        assert_eq!(edit("message", "massage"), (line, Violation::WrongHash));
        assert_eq!(edit("patient", "doctor"), (line, Violation::WrongHash));
        assert_eq!(edit("\"hash\":\"", "\"hash\":\"0"), (line, Violation::InvalidEntry));
        assert_eq!(edit("}", ""), (line, Violation::InvalidEntry));
        assert_eq!(changed(&|lines| lines[at].insert_str(9, "00")), (line, Violation::InvalidEntry));
        // Some parsers take the first of two values and others, like the one behind the hash, the last.
        assert_eq!(edit("\"text\":", "\"text\":\"forged\",\"text\":"), (line, Violation::DuplicateName));
        let repeated = changed(&|lines| lines.insert(at, lines[at].clone()));
        assert_eq!(repeated, (line + 1, Violation::WrongSeq { found: at as u64 }));
        let deleted = changed(&|lines| drop(lines.remove(at)));
        if at == EVENTS {
            assert_eq!(deleted, (line, Violation::EventCount { promised: EVENTS as u64, found: EVENTS as u64 - 1 }));
        } else {
            assert_eq!(deleted, (line, Violation::WrongSeq { found: at as u64 + 1 }));
            let swapped = changed(&|lines| lines.swap(at, at + 1));
            assert_eq!(swapped, (line, Violation::WrongSeq { found: at as u64 + 1 }));
        }
    }
    let promise_less = |lines: &mut Vec<String>| {
        lines[0] = lines[0].replace("\"events\":6", "\"events\":5");
        lines.pop();
    };
    let mut cut = lines.clone();
    promise_less(&mut cut);
    assert_eq!(found(&cut), (1, Violation::HeadHash), "the manifest's hash still differs");
    assert_eq!(found(&lines[1..]), (1, Violation::InvalidManifest));
    let (_, other) = stored_and_exported(&store).await;
    let mut mixed = lines.clone();
    mixed[2] = other[2].clone();
    assert_eq!(found(&mixed), (3, Violation::WrongRoom));
}

async fn export_of_a_long_record_ends_where_it_was_when_the_export_began(database: DatabaseSettings) {
    let store = Store::connect(&database).await.unwrap();
    let mut log = RoomLog::new();
    for size in [600, 700] {
        let (sender, command) = new_ids();
        let actor = Actor::Person { id: sender, role: Role::Patient, name: Text::stored("P").unwrap(), pharmacy: None };
        let text = Text::stored("x").unwrap();
        let events = vec![Event::ChatSent(ChatSent { text, thread: Thread::Care }); size];
        let append = log.append(&actor, command, events);
        assert_eq!(store.append(std::slice::from_ref(&append)).await.unwrap(), [Appended::Committed]);
        log = log.after(&append);
    }
    let mut lines = Export::begin(&primary_only(&store), log.room, Timestamp::from_micros(0)).await.unwrap();
    assert_eq!(lines.manifest().events, 1300);
    let later = log.chat(new_ids().0, new_ids().1, "later");
    assert_eq!(store.append(&[later]).await.unwrap(), [Appended::Committed]);
    let mut text = String::new();
    while let Some(piece) = lines.next().await.unwrap() {
        text += &piece;
    }
    let report = verify(Cursor::new(text)).unwrap();
    assert_eq!(report.events, 1300);
    assert_eq!(verify_room(&store, log.room).await.unwrap().unwrap().events, 1301);
    let nothing = export(&store, RoomId(Uuid::now_v7())).await;
    assert_eq!(verify(Cursor::new(nothing)).unwrap().events, 0);
}

/// Nobody can tell from a file alone that its end was cut off together with the manifest's numbers, so the command must
/// not promise more than consistency.
async fn command_reports_consistency_and_not_completeness(database: DatabaseSettings) {
    let store = Store::connect(&database).await.unwrap();
    let (_, mut lines) = stored_and_exported(&store).await;
    let run = |lines: &[String]| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines.join("\n")).unwrap();
        let verify = Command::new(env!("CARGO_BIN_EXE_wardroom")).arg("verify").arg(file.path()).output().unwrap();
        (verify.status.success(), String::from_utf8(verify.stdout).unwrap())
    };
    let hash = |line: &str| serde_json::from_str::<Value>(line).unwrap()["hash"].as_str().unwrap().to_owned();
    let cut = lines.pop().unwrap();
    let (last, events) = (hash(lines.last().unwrap()), format!("\"events\":{EVENTS}"));
    lines[0] = lines[0].replace(&hash(&cut), &last).replace(&events, &format!("\"events\":{}", EVENTS - 1));
    let (is_success, text) = run(&lines);
    assert!(is_success && text.starts_with("consistent: room "), "{text}");
    for promise in ["valid", "whole", "complete", "intact", "authentic"] {
        assert!(!text.contains(promise), "{text}");
    }
    lines[2] = lines[2].replace("message 2", "message 9");
    let (is_success, text) = run(&lines);
    assert!(!is_success && text.starts_with("INCONSISTENT: line 3"), "{text}");
}

#[test]
fn documentation_names_the_members_of_the_manifest() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/record.md")).unwrap();
    let example = page.lines().map(str::trim).find(|line| line.starts_with("{\"format\"")).expect("a manifest");
    let example: Value = serde_json::from_str(&example.replace('…', "")).unwrap();
    let documented: Vec<&String> = example.as_object().unwrap().keys().collect();
    let manifest = Manifest {
        format: String::new(),
        version: 1,
        room: RoomId(Uuid::nil()),
        events: 0,
        head: String::new(),
        exported_at: Timestamp::from_micros(0),
    };
    let manifest = serde_json::to_value(manifest).unwrap();
    assert_eq!(documented, manifest.as_object().unwrap().keys().collect::<Vec<_>>());
}

both! {
    command_reports_consistency_and_not_completeness
    export_of_a_long_record_ends_where_it_was_when_the_export_began
    intact_record_verifies_in_any_json_formatting
    every_edit_deletion_insertion_swap_and_truncation_is_located
}
