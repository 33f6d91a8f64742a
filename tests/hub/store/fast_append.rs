//! The single-statement append of chat messages: it commits what fits, and reports why the rest does not.

use rooms::id::UserId;
use uuid::Uuid;
use wardroom::clock::Clock;
use wardroom::config::DatabaseSettings;
use wardroom::store::outbox::{EventRange, OutboxEntry};
use wardroom::store::record::{Append, Appended};

use crate::support::both;
use crate::support::database::Database;
use crate::support::room_log::{RoomLog, conflict_with, new_ids, open_store};
use crate::support::room_log::{doctor_with_slots, slot_request};

/// Names parties, so that the append concerns the outbox.
fn with_parties(append: Append) -> Append {
    Append { parties: Some((UserId(Uuid::now_v7()), UserId(Uuid::now_v7()))), ..append }
}

fn span(append: &Append) -> EventRange {
    EventRange { room: append.room, first: append.first(), last: append.first() }
}

async fn fast_append_commits_and_notes_what_fits(settings: DatabaseSettings) {
    let (store, clock) = (open_store(&settings).await, Clock::system());
    let (sender, command) = new_ids();
    // Rooms with one message each.
    let mut rooms = Vec::new();
    for _ in 0..5 {
        let log = RoomLog::new();
        let first = log.chat(sender, new_ids().1, "one");
        assert_eq!(store.append(std::slice::from_ref(&first)).await.unwrap(), [Appended::Committed]);
        rooms.push((log.after(&first), log));
    }
    let note = || OutboxEntry { id: Uuid::now_v7(), leased_until: clock.now() };
    let (all, some, none) = (note(), note(), note());

    // All appends fit.
    let message = |at: usize, text: &str| with_parties(rooms[at].0.chat(sender, new_ids().1, text));
    let committed = with_parties(rooms[0].0.chat(sender, command, "two"));
    let pair = [committed.clone(), message(1, "two")];
    assert_eq!(store.append_with_outbox(&pair, Some(all)).await.unwrap(), vec![Appended::Committed; 2]);

    // Only the third room's message fits. The others lost the race, took effect before, or follow a record that was
    // never stored.
    let without_predecessor = {
        let never = rooms[3].1.chat(sender, new_ids().1, "never said");
        with_parties(rooms[3].1.after(&never).chat(sender, new_ids().1, "two"))
    };
    let alone = store.append_with_outbox(std::slice::from_ref(&without_predecessor), Some(note())).await.unwrap();
    assert_eq!(alone, [conflict_with(&[])], "the number is free, but the hash does not follow");
    let again = with_parties(rooms[0].0.after(&committed).chat(sender, command, "two"));
    let batch = [message(1, "late"), message(2, "two"), without_predecessor, again];
    let duplicate = Appended::Duplicate { first: 2, last: 2, same_body: true };
    assert_eq!(
        store.append_with_outbox(&batch, Some(some)).await.unwrap(),
        [conflict_with(&[&pair[1]]), Appended::Committed, conflict_with(&[]), duplicate]
    );
    let heads = [2, 2, 2, 1, 1];
    for ((log, _), head) in rooms.iter().zip(heads) {
        assert_eq!(store.events_after(log.room, 0, 10).await.unwrap().len(), head);
    }

    // No append fits, and the outbox gets no entry.
    let late = store.append_with_outbox(&[message(1, "late")], Some(none)).await.unwrap();
    assert_eq!(late, [conflict_with(&[&pair[1]])]);
    let notes = store.lease_outbox_entries(clock.now(), std::time::Duration::ZERO, 10).await.unwrap();
    assert_eq!(notes.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [all.id, some.id]);
    assert!(notes[0].1.contains(&span(&committed)) && notes[0].1.len() == 2, "{notes:?}");
    assert!(notes[1].1.contains(&span(&batch[1])), "{notes:?}");
}

/// Appends a batch of messages, some of them late, with `changes` state changes among them.
async fn assert_late_appends_conflict_and_others_commit(settings: &DatabaseSettings, changes: usize) {
    const ROOM_COUNT: usize = 40;
    let (store, clock) = (open_store(settings).await, Clock::system());
    let (sender, _) = new_ids();
    let mut logs = Vec::new();
    for _ in 0..ROOM_COUNT {
        let log = RoomLog::new();
        let first = log.chat(sender, new_ids().1, "one");
        assert_eq!(store.append(std::slice::from_ref(&first)).await.unwrap(), [Appended::Committed]);
        logs.push(log.after(&first));
    }
    let message = |log: &RoomLog, text: &str| with_parties(log.chat(sender, new_ids().1, text));
    // A conflict reports at most this many events; the room reads the rest.
    const MAX_REPORTED_EVENTS: usize = 4;
    let mut expected = vec![Appended::Committed; ROOM_COUNT + changes];
    for (at, missed) in [(0, 1), (17, 2), (ROOM_COUNT - 1, MAX_REPORTED_EVENTS + 4)] {
        let (mut log, mut first) = (logs[at].clone(), Vec::new());
        for _ in 0..missed {
            first.push(message(&log, "first"));
            assert_eq!(store.append(&first[first.len() - 1..]).await.unwrap(), [Appended::Committed]);
            log = log.after(&first[first.len() - 1]);
        }
        expected[at] = conflict_with(&first.iter().take(MAX_REPORTED_EVENTS).collect::<Vec<_>>());
    }
    let mut batch: Vec<Append> = logs.iter().map(|log| message(log, "two")).collect();
    let (doctor, slots) = doctor_with_slots(&store, 3).await;
    batch.extend(slots.iter().take(changes).map(|slot| with_parties(slot_request(slot, &doctor).1)));

    let note = OutboxEntry { id: Uuid::now_v7(), leased_until: clock.now() };
    let answers = store.append_with_outbox(&batch, Some(note)).await.unwrap();
    let noted = store.lease_outbox_entries(clock.now(), std::time::Duration::ZERO, 10).await.unwrap();
    for (at, (append, answer)) in batch.iter().zip(answers).enumerate() {
        assert_eq!(answer, expected[at], "{at}");
        let stored = store.events_after(append.room, append.first() - 1, 1).await.unwrap();
        let is_there = stored.first().is_some_and(|it| *it.canonical == *append.records[0].canonical);
        assert_eq!(is_there, answer == Appended::Committed, "{at}");
        let is_noted = noted.iter().any(|(_, spans)| spans.iter().any(|it| it.room == append.room));
        assert!(is_noted || answer != Appended::Committed, "{at}: {noted:?}");
    }
}

async fn late_messages_do_not_block_other_messages(settings: DatabaseSettings) {
    assert_late_appends_conflict_and_others_commit(&settings, 0).await;
}

async fn late_messages_do_not_block_state_changes(settings: DatabaseSettings) {
    assert_late_appends_conflict_and_others_commit(&settings, 3).await;
}

/// The length of SQLite's write-ahead log in bytes.
fn wal_bytes(settings: &DatabaseSettings) -> u64 {
    let path = settings.url().strip_prefix("sqlite:").unwrap();
    std::fs::metadata(format!("{path}-wal")).unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_write_ahead_log_stays_bounded_under_constant_writes() {
    const BATCH_COUNT: u64 = 60;
    const MAX_LOG_BYTES: u64 = 40 * 1024 * 1024;
    let database = Database::sqlite();
    let settings = database.settings();
    let store = open_store(&settings).await;
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            // About a megabyte each.
            for _ in 0..BATCH_COUNT {
                let message = (0..256).map(|_| RoomLog::new().chat(new_ids().0, new_ids().1, &"long ".repeat(600)));
                let batch: Vec<Append> = message.collect();
                assert_eq!(store.append(&batch).await.unwrap(), vec![Appended::Committed; 256]);
            }
        })
    };
    while !writer.is_finished() {
        store.checkpoint().await.unwrap();
        let long = wal_bytes(&settings);
        assert!(long < MAX_LOG_BYTES, "{long}");
    }
    writer.await.unwrap();
}

both! {
    fast_append_commits_and_notes_what_fits
    late_messages_do_not_block_other_messages
    late_messages_do_not_block_state_changes
}
