//! What an append promises, on both databases.

use std::sync::Arc;

use rooms::event::{ChatSent, Event, Thread};
use rooms::id::{CommandId, RoomId, UserId};
use rooms::permission::View;
use rooms::record::{GENESIS, Hash, Record, chain};
use rooms::role::{Actor, Role};
use rooms::room::Room;
use rooms::text::{Line, Prose};
use rooms::time::Timestamp;
use uuid::Uuid;
use wardroom::config::DatabaseSettings;
use wardroom::store::events::{Append, Appended, Sealed, Stored};
use wardroom::store::{Store, StoreError};

use crate::support::both;
use crate::support::database::Database;

/// A room as its writer knows it.
#[derive(Clone)]
pub struct Log {
    pub room: RoomId,
    pub head: u64,
    pub hash: Hash,
    pub state: Arc<Room>,
}

impl Log {
    pub fn new() -> Self {
        let room = RoomId(Uuid::now_v7());
        Self { room, head: 0, hash: GENESIS, state: Arc::new(Room::new(room)) }
    }

    /// What is stored of a room.
    async fn read(store: &Store, room: RoomId) -> Self {
        let last = store.events_before(room, u64::MAX, 1).await.unwrap().pop();
        let (head, hash) = last.map_or((0, GENESIS), |last| (last.seq, last.hash));
        Self { room, head, hash, state: Arc::new(Room::new(room)) }
    }

    pub fn append(&self, actor: &Actor, command: CommandId, events: Vec<Event>) -> Append {
        let mut hash = self.hash;
        let mut state = (*self.state).clone();
        let projects = events.iter().any(|event| !matches!(event, Event::ChatSent(_)));
        let seal = |(at, event)| {
            let seq = self.head + at as u64 + 1;
            let at = Timestamp::new(chrono::Utc::now());
            let record = Record { room: self.room, seq, at, actor: actor.by(), command: Some(command), event };
            let canonical = record.canonical();
            hash = chain(&hash, &canonical);
            state.apply(&record);
            Sealed { seq, canonical: canonical.into(), hash, record: Arc::new(record) }
        };
        let records = events.into_iter().enumerate().map(seal).collect();
        Append {
            room: self.room,
            records,
            before: self.hash,
            sender: actor.user(),
            command: Some(command),
            command_hash: [1; 32],
            after: projects.then(|| Box::new(state.snapshot(&View::Care))),
            wake_at: state.wake_at(),
            parties: state.parties(),
        }
    }

    /// The room after an append.
    pub fn after(&self, append: &Append) -> Self {
        let mut state = (*self.state).clone();
        for sealed in &append.records {
            assert!(state.apply(&sealed.record));
        }
        let last = append.records.last().unwrap();
        Self { room: self.room, head: last.seq, hash: last.hash, state: Arc::new(state) }
    }

    /// A message; its text is the command's content, too.
    pub fn chat(&self, sender: UserId, command: CommandId, text: &str) -> Append {
        let actor = Actor::Person { id: sender, role: Role::Patient, name: Line::parse("P").unwrap(), pharmacy: None };
        let event = Event::ChatSent(ChatSent { text: Prose::parse(text).unwrap(), thread: Thread::Care });
        let command_hash = chain(&GENESIS, text);
        Append { command_hash, ..self.append(&actor, command, vec![event]) }
    }
}

pub fn ids() -> (UserId, CommandId) {
    (UserId(Uuid::now_v7()), CommandId(Uuid::now_v7()))
}

pub async fn open(settings: &DatabaseSettings) -> Store {
    Store::connect(settings).await.unwrap()
}

/// Somebody was first, and this is what stands behind the place now.
pub fn overtaken_by(first: &[&Append]) -> Appended {
    let records = first.iter().flat_map(|append| &append.records);
    let since = records.map(|it| Stored { seq: it.seq, canonical: it.canonical.to_string(), hash: it.hash });
    Appended::Conflict { since: since.collect() }
}

async fn seqs(store: &Store, room: RoomId) -> Vec<u64> {
    store.events_after(room, 0, 1000).await.unwrap().iter().map(|stored| stored.seq).collect()
}

async fn one_bad_append_harms_no_other(settings: DatabaseSettings) {
    let store = open(&settings).await;
    let (sender, command) = ids();
    let log = Log::new();
    let first = log.chat(sender, command, "one");
    assert_eq!(store.append(std::slice::from_ref(&first)).await.unwrap(), [Appended::Committed]);
    let (late, fresh, elsewhere) = (ids(), ids(), ids());
    let now = log.after(&first);
    let second = now.chat(sender, fresh.1, "two");
    let then = now.after(&second);
    let other = Log::new();
    // Parts of a case without the case: a mistake that no hub makes, and that the tables refuse.
    let impossible = crate::store::slots::headless();
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
            overtaken_by(&[&first]),
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
    let store = open(&settings).await;
    let (sender, command) = ids();
    let log = Log::new();
    let first = log.chat(sender, command, "one");
    let second = log.after(&first).chat(sender, ids().1, "two");
    // As on a database that came back from an older copy: the room in memory is further than the stored one.
    assert_eq!(store.append(std::slice::from_ref(&second)).await.unwrap(), [overtaken_by(&[])]);
    let another = log.chat(sender, ids().1, "another one");
    assert_eq!(store.append(&[another]).await.unwrap(), [Appended::Committed]);
    assert_eq!(store.append(&[second]).await.unwrap(), [overtaken_by(&[])], "its place is free, but not behind that");
    assert_eq!(seqs(&store, log.room).await, [1]);
}

async fn writers_of_one_room_never_leave_a_gap_or_share_a_number(settings: DatabaseSettings) {
    let room = RoomId(Uuid::now_v7());
    let mut tasks = Vec::new();
    for _ in 0..8 {
        // Each as a hub of its own, with its own connections.
        let store = open(&settings).await;
        tasks.push(tokio::spawn(async move {
            let mut places = Vec::new();
            for _ in 0..10 {
                let (sender, command) = ids();
                loop {
                    let log = Log::read(&store, room).await;
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
    let store = open(&settings).await;
    assert_eq!(seqs(&store, room).await, places);
}

async fn a_batch_of_any_size_is_committed_whole_and_survives_a_restart(settings: DatabaseSettings) {
    let store = open(&settings).await;
    let mut all = Vec::new();
    for size in [0usize, 1, 2, 3, 100, 129, 256] {
        let first: Vec<Append> = (0..size).map(|_| Log::new().chat(ids().0, ids().1, "x")).collect();
        assert_eq!(store.append(&first).await.unwrap(), vec![Appended::Committed; size]);
        let second: Vec<Append> = first
            .iter()
            .map(|append| {
                let log = Log { room: append.room, state: Arc::new(Room::new(append.room)), ..Log::new() };
                log.after(append).chat(ids().0, ids().1, "y")
            })
            .collect();
        assert_eq!(store.append(&second).await.unwrap(), vec![Appended::Committed; size]);
        all.extend(first.into_iter().zip(second));
    }
    drop(store);
    let store = open(&settings).await;
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
    let store = open(&database.settings()).await;
    let Store::Sqlite { write, .. } = &store else { panic!("this is SQLite") };
    let limit =
        |pages: u32| sqlx::query(sqlx::AssertSqlSafe(format!("pragma max_page_count = {pages}"))).execute(write);
    let (pages,): (u32,) = sqlx::query_as("pragma page_count").fetch_one(write).await.unwrap();
    limit(pages + 20).await.unwrap();
    let mut acknowledged = Vec::new();
    let mut failures = 0;
    for _ in 0..100 {
        let append = Log::new().chat(ids().0, ids().1, &"long ".repeat(400));
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
    let append = Log::new().chat(ids().0, ids().1, "again");
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
