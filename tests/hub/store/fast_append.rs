//! The commit of messages alone, which has a short way of its own: what fits of it is committed, the rest is told why not.

use rooms::id::UserId;
use uuid::Uuid;
use wardroom::clock::Clock;
use wardroom::config::DatabaseSettings;
use wardroom::store::events::{Append, Appended};
use wardroom::store::outgoing::{Note, Span};

use crate::support::both;
use crate::support::database::Database;
use crate::support::room_log::{RoomLog, conflict_with, new_ids, open_store};
use crate::support::room_log::{doctor_with_slots, slot_request};

/// Somebody outside may want to hear of it.
fn heard(append: Append) -> Append {
    Append { parties: Some((UserId(Uuid::now_v7()), UserId(Uuid::now_v7()))), ..append }
}

fn span(append: &Append) -> Span {
    Span { room: append.room, first: append.first(), last: append.first() }
}

async fn what_fits_of_a_plain_batch_is_committed_and_noted(settings: DatabaseSettings) {
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
    let note = || Note { id: Uuid::now_v7(), taken_until: clock.now() };
    let (all, some, none) = (note(), note(), note());

    // All of it fits.
    let said = |at: usize, text: &str| heard(rooms[at].0.chat(sender, new_ids().1, text));
    let known = heard(rooms[0].0.chat(sender, command, "two"));
    let pair = [known.clone(), said(1, "two")];
    assert_eq!(store.append_noting(&pair, Some(all)).await.unwrap(), vec![Appended::Committed; 2]);

    // Some of it does: the third room's message. Another was first; it took effect before; it stands behind nothing.
    let behind_nothing = {
        let never = rooms[3].1.chat(sender, new_ids().1, "never said");
        heard(rooms[3].1.after(&never).chat(sender, new_ids().1, "two"))
    };
    let alone = store.append_noting(std::slice::from_ref(&behind_nothing), Some(note())).await.unwrap();
    assert_eq!(alone, [conflict_with(&[])], "its place is free, but not behind that");
    let again = heard(rooms[0].0.after(&known).chat(sender, command, "two"));
    let batch = [said(1, "late"), said(2, "two"), behind_nothing, again];
    let duplicate = Appended::Duplicate { first: 2, last: 2, same_body: true };
    assert_eq!(
        store.append_noting(&batch, Some(some)).await.unwrap(),
        [conflict_with(&[&pair[1]]), Appended::Committed, conflict_with(&[]), duplicate]
    );
    let heads = [2, 2, 2, 1, 1];
    for ((log, _), head) in rooms.iter().zip(heads) {
        assert_eq!(store.events_after(log.room, 0, 10).await.unwrap().len(), head);
    }

    // Nothing of it does, and nothing is noted.
    let late = store.append_noting(&[said(1, "late")], Some(none)).await.unwrap();
    assert_eq!(late, [conflict_with(&[&pair[1]])]);
    let notes = store.take_notes(clock.now(), clock.now(), 10).await.unwrap();
    assert_eq!(notes.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [all.id, some.id]);
    assert!(notes[0].1.contains(&span(&known)) && notes[0].1.len() == 2, "{notes:?}");
    assert!(notes[1].1.contains(&span(&batch[1])), "{notes:?}");
}

/// With `changes` among the messages, or without.
async fn what_came_too_late_is_told_so_and_the_rest_is_committed(settings: &DatabaseSettings, changes: usize) {
    const MANY: usize = 40;
    let (store, clock) = (open_store(settings).await, Clock::system());
    let (sender, _) = new_ids();
    let mut logs = Vec::new();
    for _ in 0..MANY {
        let log = RoomLog::new();
        let first = log.chat(sender, new_ids().1, "one");
        assert_eq!(store.append(std::slice::from_ref(&first)).await.unwrap(), [Appended::Committed]);
        logs.push(log.after(&first));
    }
    let said = |log: &RoomLog, text: &str| heard(log.chat(sender, new_ids().1, text));
    // At most so many events are told: whoever missed more reads them.
    const TOLD: usize = 4;
    let mut expected = vec![Appended::Committed; MANY + changes];
    for (at, missed) in [(0, 1), (17, 2), (MANY - 1, TOLD + 4)] {
        let (mut log, mut first) = (logs[at].clone(), Vec::new());
        for _ in 0..missed {
            first.push(said(&log, "first"));
            assert_eq!(store.append(&first[first.len() - 1..]).await.unwrap(), [Appended::Committed]);
            log = log.after(&first[first.len() - 1]);
        }
        expected[at] = conflict_with(&first.iter().take(TOLD).collect::<Vec<_>>());
    }
    let mut batch: Vec<Append> = logs.iter().map(|log| said(log, "two")).collect();
    let (doctor, slots) = doctor_with_slots(&store, 3).await;
    batch.extend(slots.iter().take(changes).map(|slot| heard(slot_request(slot, &doctor).1)));

    let note = Note { id: Uuid::now_v7(), taken_until: clock.now() };
    let answers = store.append_noting(&batch, Some(note)).await.unwrap();
    let noted = store.take_notes(clock.now(), clock.now(), 10).await.unwrap();
    for (at, (append, answer)) in batch.iter().zip(answers).enumerate() {
        assert_eq!(answer, expected[at], "{at}");
        let stored = store.events_after(append.room, append.first() - 1, 1).await.unwrap();
        let is_there = stored.first().is_some_and(|it| *it.canonical == *append.records[0].canonical);
        assert_eq!(is_there, answer == Appended::Committed, "{at}");
        let is_told = noted.iter().any(|(_, spans)| spans.iter().any(|it| it.room == append.room));
        assert!(is_told || answer != Appended::Committed, "{at}: {noted:?}");
    }
}

async fn messages_that_came_too_late_keep_back_no_other(settings: DatabaseSettings) {
    what_came_too_late_is_told_so_and_the_rest_is_committed(&settings, 0).await;
}

async fn nor_do_they_keep_back_what_changes_a_state(settings: DatabaseSettings) {
    what_came_too_late_is_told_so_and_the_rest_is_committed(&settings, 3).await;
}

/// How long SQLite's write-ahead log is, in bytes.
fn log_length(settings: &DatabaseSettings) -> u64 {
    let path = settings.url().strip_prefix("sqlite:").unwrap();
    std::fs::metadata(format!("{path}-wal")).unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlites_log_is_begun_anew_although_somebody_writes_all_the_time() {
    const WRITTEN: u64 = 60;
    const MOST: u64 = 40 * 1024 * 1024;
    let database = Database::sqlite();
    let settings = database.settings();
    let store = open_store(&settings).await;
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            // About a megabyte each.
            for _ in 0..WRITTEN {
                let said = (0..256).map(|_| RoomLog::new().chat(new_ids().0, new_ids().1, &"long ".repeat(600)));
                let batch: Vec<Append> = said.collect();
                assert_eq!(store.append(&batch).await.unwrap(), vec![Appended::Committed; 256]);
            }
        })
    };
    while !writer.is_finished() {
        store.checkpoint().await.unwrap();
        let long = log_length(&settings);
        assert!(long < MOST, "{long}");
    }
    writer.await.unwrap();
}

both! {
    what_fits_of_a_plain_batch_is_committed_and_noted
    messages_that_came_too_late_keep_back_no_other
    nor_do_they_keep_back_what_changes_a_state
}
