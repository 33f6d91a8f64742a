//! What an append promises, on both databases.

use std::sync::Arc;

use rooms::id::RoomId;
use rooms::room::Room;
use uuid::Uuid;
use wardroom::config::DatabaseSettings;
use wardroom::store::events::{Append, Appended};
use wardroom::store::{Store, StoreError};

use crate::support::both;
use crate::support::database::Database;
use crate::support::room_log::{RoomLog, conflict_with, new_ids, open_store};

async fn seqs(store: &Store, room: RoomId) -> Vec<u64> {
    store.events_after(room, 0, 1000).await.unwrap().iter().map(|stored| stored.seq).collect()
}

async fn one_bad_append_harms_no_other(settings: DatabaseSettings) {
    let store = open_store(&settings).await;
    let (sender, command) = new_ids();
    let log = RoomLog::new();
    let first = log.chat(sender, command, "one");
    assert_eq!(store.append(std::slice::from_ref(&first)).await.unwrap(), [Appended::Committed]);
    let (late, fresh, elsewhere) = (new_ids(), new_ids(), new_ids());
    let now = log.after(&first);
    let second = now.chat(sender, fresh.1, "two");
    let then = now.after(&second);
    let other = RoomLog::new();
    // Parts of a case without the case: a mistake that no hub makes, and that the tables refuse.
    let impossible = crate::support::room_log::append_without_case();
    let batch = [
        second.clone(),
        // Its place is taken.
        log.chat(late.0, late.1, "late"),
        // It took effect before.
        then.chat(sender, command, "one"),
        then.chat(sender, command, "another"),
        impossible.clone(),
        other.chat(elsewhere.0, elsewhere.1, "elsewhere"),
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
    let found = store.find_command(log.room, sender, command).await.unwrap().expect("it took effect");
    assert_eq!((found.first, found.last, found.hash), (1, 1, first.command_hash));
    let before = store.events_before(log.room, 3, 1).await.unwrap();
    assert_eq!(before[0].canonical, *second.records[0].canonical);
}

async fn an_event_is_appended_only_behind_the_one_it_was_chained_to(settings: DatabaseSettings) {
    let store = open_store(&settings).await;
    let (sender, command) = new_ids();
    let log = RoomLog::new();
    let first = log.chat(sender, command, "one");
    let second = log.after(&first).chat(sender, new_ids().1, "two");
    // As on a database that came back from an older copy: the room in memory is further than the stored one.
    assert_eq!(store.append(std::slice::from_ref(&second)).await.unwrap(), [conflict_with(&[])]);
    let another = log.chat(sender, new_ids().1, "another one");
    assert_eq!(store.append(&[another]).await.unwrap(), [Appended::Committed]);
    assert_eq!(store.append(&[second]).await.unwrap(), [conflict_with(&[])], "its place is free, but not behind that");
    assert_eq!(seqs(&store, log.room).await, [1]);
}

async fn writers_of_one_room_never_leave_a_gap_or_share_a_number(settings: DatabaseSettings) {
    let room = RoomId(Uuid::now_v7());
    let mut tasks = Vec::new();
    for _ in 0..8 {
        // Each as a hub of its own, with its own connections.
        let store = open_store(&settings).await;
        tasks.push(tokio::spawn(async move {
            let mut places = Vec::new();
            for _ in 0..10 {
                let (sender, command) = new_ids();
                loop {
                    let log = RoomLog::read(&store, room).await;
                    match &store.append(&[log.chat(sender, command, "x")]).await.unwrap()[0] {
                        Appended::Committed => {
                            places.push(log.head + 1);
                            break;
                        }
                        Appended::Conflict { .. } => {}
                        other => panic!("{other:?}"),
                    }
                }
            }
            places
        }));
    }
    let mut places = Vec::new();
    for task in tasks {
        places.extend(task.await.unwrap());
    }
    places.sort_unstable();
    assert_eq!(places, (1..=80).collect::<Vec<_>>(), "each writer had a number of its own");
    let store = open_store(&settings).await;
    assert_eq!(seqs(&store, room).await, places);
}

async fn a_batch_of_any_size_is_committed_whole_and_survives_a_restart(settings: DatabaseSettings) {
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

/// SQLite's way to say that the disk is full; the same as a real one, as far as the driver and we can tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_no_acknowledged_event_and_writing_goes_on_when_there_is_space() {
    let database = Database::sqlite();
    let store = open_store(&database.settings()).await;
    let Store::Sqlite { write, .. } = &store else { panic!("this is SQLite") };
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
                // The limit is the connection's, and that one may have been replaced.
                limit(pages + 20).await.unwrap();
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(!acknowledged.is_empty() && failures > 10, "it filled up on the way");
    limit(1_000_000).await.unwrap();
    let append = RoomLog::new().chat(new_ids().0, new_ids().1, "again");
    acknowledged.push(append.room);
    assert_eq!(store.append(&[append]).await.unwrap(), [Appended::Committed]);
    for room in acknowledged {
        assert_eq!(seqs(&store, room).await, [1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_keep_what_it_confirms_is_refused() {
    for url in ["sqlite::memory:", "mysql://localhost/x", "sqlite:/no/such/folder/x.db?mode=nonsense"] {
        let error = Store::connect(&DatabaseSettings::new(url)).await.expect_err(url);
        assert!(matches!(error, StoreError::Setting(_)), "{url}: {error:?}");
    }
    let database = Database::postgres();
    let settings = database.settings();
    let url = format!("{}&options[synchronous_commit]=off", settings.url());
    let error = Store::connect(&DatabaseSettings::new(url)).await.expect_err("it would lose what it confirmed");
    assert!(error.to_string().contains("synchronous_commit"), "{error}");
}

both! {
    one_bad_append_harms_no_other
    an_event_is_appended_only_behind_the_one_it_was_chained_to
    writers_of_one_room_never_leave_a_gap_or_share_a_number
    a_batch_of_any_size_is_committed_whole_and_survives_a_restart
}
