//! Appends to the log, on both databases.

use std::sync::Arc;

use rooms::id::RoomId;
use rooms::room::Room;
use uuid::Uuid;
use wardroom::config::DatabaseSettings;
use wardroom::store::record::{Append, Appended};
use wardroom::store::{Store, StoreError};

use crate::support::both;
use crate::support::database::Database;
use crate::support::room_log::{RoomLog, conflict_with, new_ids, open_store};

async fn seqs(store: &Store, room: RoomId) -> Vec<u64> {
    store.events_after(room, 0, 1000).await.unwrap().iter().map(|stored| stored.seq).collect()
}

async fn failed_append_does_not_affect_others_in_its_batch(settings: DatabaseSettings) {
    let store = open_store(&settings).await;
    let (sender, command) = new_ids();
    let log = RoomLog::new();
    let first = log.chat(sender, command, "one");
    assert_eq!(store.append(std::slice::from_ref(&first)).await.unwrap(), [Appended::Committed]);
    let (overtaken, fresh, other_room) = (new_ids(), new_ids(), new_ids());
    let now = log.after(&first);
    let second = now.chat(sender, fresh.1, "two");
    let then = now.after(&second);
    let other = RoomLog::new();
    // Parts of a case without the case: no hub makes this mistake, and the tables reject it.
    let impossible = crate::support::room_log::append_without_case();
    let batch = [
        second.clone(),
        // Its number is taken.
        log.chat(overtaken.0, overtaken.1, "late"),
        // It took effect before.
        then.chat(sender, command, "one"),
        then.chat(sender, command, "another"),
        impossible.clone(),
        other.chat(other_room.0, other_room.1, "elsewhere"),
    ];
    let duplicate = |same_body| Appended::Duplicate { first: 1, last: 1, same_body };
    assert_eq!(
        store.append(&batch).await.unwrap(),
        [
            Appended::Committed,
            conflict_with(&[&first]),
            duplicate(true),
            duplicate(false),
            Appended::Rejected,
            Appended::Committed
        ]
    );
    assert_eq!(seqs(&store, log.room).await, [1, 2]);
    assert_eq!(seqs(&store, other.room).await, [1]);
    assert!(seqs(&store, impossible.room).await.is_empty());
    let found = store.find_command(log.room, sender, command).await.unwrap().expect("the command took effect");
    assert_eq!((found.first, found.last, found.hash), (1, 1, first.command_hash));
    let before = store.events_before(log.room, 3, 1).await.unwrap();
    assert_eq!(before[0].canonical, *second.records[0].canonical);
}

async fn append_requires_the_predecessor_it_was_chained_to(settings: DatabaseSettings) {
    let store = open_store(&settings).await;
    let (sender, command) = new_ids();
    let log = RoomLog::new();
    let first = log.chat(sender, command, "one");
    let second = log.after(&first).chat(sender, new_ids().1, "two");
    // As on a database restored from an older copy: the room in memory is ahead of the stored one.
    assert_eq!(store.append(std::slice::from_ref(&second)).await.unwrap(), [conflict_with(&[])]);
    let another = log.chat(sender, new_ids().1, "another one");
    assert_eq!(store.append(&[another]).await.unwrap(), [Appended::Committed]);
    assert_eq!(
        store.append(&[second]).await.unwrap(),
        [conflict_with(&[])],
        "the number is free, but the hash does not follow"
    );
    assert_eq!(seqs(&store, log.room).await, [1]);
}

async fn concurrent_writers_never_leave_a_gap_or_share_a_number(settings: DatabaseSettings) {
    let room = RoomId(Uuid::now_v7());
    let mut tasks = Vec::new();
    for _ in 0..8 {
        // Each writer is like a hub of its own, with its own connections.
        let store = open_store(&settings).await;
        tasks.push(tokio::spawn(async move {
            let mut numbers = Vec::new();
            for _ in 0..10 {
                let (sender, command) = new_ids();
                loop {
                    let log = RoomLog::read(&store, room).await;
                    match &store.append(&[log.chat(sender, command, "x")]).await.unwrap()[0] {
                        Appended::Committed => {
                            numbers.push(log.head + 1);
                            break;
                        }
                        Appended::Conflict { .. } => {}
                        other => panic!("{other:?}"),
                    }
                }
            }
            numbers
        }));
    }
    let mut numbers = Vec::new();
    for task in tasks {
        numbers.extend(task.await.unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=80).collect::<Vec<_>>(), "each append has a number of its own");
    let store = open_store(&settings).await;
    assert_eq!(seqs(&store, room).await, numbers);
}

async fn batch_of_any_size_commits_whole_and_survives_a_restart(settings: DatabaseSettings) {
    let store = open_store(&settings).await;
    let mut all = Vec::new();
    for size in [0usize, 1, 2, 3, 100, 129, 256] {
        let first: Vec<Append> = (0..size).map(|_| RoomLog::new().chat(new_ids().0, new_ids().1, "x")).collect();
        assert_eq!(store.append(&first).await.unwrap(), vec![Appended::Committed; size]);
        let second: Vec<Append> = first
            .iter()
            .map(|append| {
                let log = RoomLog { room: append.room, state: Arc::new(Room::new(append.room)), ..RoomLog::new() };
                log.after(append).chat(new_ids().0, new_ids().1, "y")
            })
            .collect();
        assert_eq!(store.append(&second).await.unwrap(), vec![Appended::Committed; size]);
        all.extend(first.into_iter().zip(second));
    }
    drop(store);
    let store = open_store(&settings).await;
    for (first, second) in all {
        let stored = store.events_after(first.room, 0, 3).await.unwrap();
        let kept: Vec<&str> = stored.iter().map(|it| &*it.canonical).collect();
        assert_eq!(kept, [&*first.records[0].canonical, &*second.records[0].canonical]);
        assert_eq!(stored[1].hash, second.records[0].hash);
    }
}

/// Simulates a full disk with SQLite's page limit, which raises the same error as a real one.
#[tokio::test(flavor = "multi_thread")]
async fn full_disk_loses_no_acknowledged_event_and_writes_resume_with_space() {
    let database = Database::sqlite();
    let store = open_store(&database.settings()).await;
    let Store::Sqlite { write, .. } = &store else { panic!("an SQLite store") };
    let limit =
        |pages: u32| sqlx::query(sqlx::AssertSqlSafe(format!("pragma max_page_count = {pages}"))).execute(write);
    let (pages,): (u32,) = sqlx::query_as("pragma page_count").fetch_one(write).await.unwrap();
    limit(pages + 20).await.unwrap();
    let mut acknowledged = Vec::new();
    let mut failures = 0;
    for _ in 0..100 {
        let append = RoomLog::new().chat(new_ids().0, new_ids().1, &"long ".repeat(400));
        match store.append(std::slice::from_ref(&append)).await {
            Ok(answers) => {
                assert_eq!(answers, [Appended::Committed]);
                acknowledged.push(append.room);
            }
            Err(StoreError::Full(_)) => {
                failures += 1;
                // The limit belongs to the connection, which may have been replaced.
                limit(pages + 20).await.unwrap();
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(!acknowledged.is_empty() && failures > 10, "the database fills up on the way");
    limit(1_000_000).await.unwrap();
    let append = RoomLog::new().chat(new_ids().0, new_ids().1, "again");
    acknowledged.push(append.room);
    assert_eq!(store.append(&[append]).await.unwrap(), [Appended::Committed]);
    for room in acknowledged {
        assert_eq!(seqs(&store, room).await, [1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn database_without_durable_commits_is_rejected() {
    for url in ["sqlite::memory:", "mysql://localhost/x", "sqlite:/no/such/folder/x.db?mode=nonsense"] {
        let error = Store::connect(&DatabaseSettings::new(url)).await.expect_err(url);
        assert!(matches!(error, StoreError::Config(_)), "{url}: {error:?}");
    }
    let names: Vec<_> = std::fs::read_dir(".").unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let left: Vec<_> = names.iter().filter(|name| name.as_encoded_bytes().starts_with(b"file:")).collect();
    assert!(left.is_empty(), "a refused database leaves no file: {left:?}");
    let database = Database::postgres();
    let settings = database.settings();
    let url = format!("{}&options[synchronous_commit]=off", settings.url());
    let error = Store::connect(&DatabaseSettings::new(url))
        .await
        .expect_err("without synchronous commits it could lose acknowledged data");
    assert!(error.to_string().contains("synchronous_commit"), "{error}");
}

both! {
    failed_append_does_not_affect_others_in_its_batch
    append_requires_the_predecessor_it_was_chained_to
    concurrent_writers_never_leave_a_gap_or_share_a_number
    batch_of_any_size_commits_whole_and_survives_a_restart
}
