//! What the store costs: a commit of so many rooms' messages, and a page of a long room. `cargo bench --bench store`.
//!
//! On SQLite in a temporary folder, or on the throwaway database that WARDROOM_DATABASE_URL names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use divan::Bencher;
use divan::counter::ItemsCount;
use rooms::event::{ChatSent, Event};
use rooms::id::{CommandId, RoomId, UserId};
use rooms::party::Thread;
use rooms::record::{GENESIS, Hash, Record, chain};
use rooms::role::{By, Role};
use rooms::text::{Line, Prose};
use rooms::time::Timestamp;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;
use wardroom::config::DatabaseSettings;
use wardroom::store::Store;
use wardroom::store::events::{Append, Appended, Sealed};
use wardroom::store::outgoing::Note;

fn main() {
    divan::main();
}

/// Events of one append while a long room is made.
const AT_ONCE: u64 = 1_000;

/// An open store, and the folder that it may be in.
struct Opened {
    runtime: Runtime,
    store: Store,
    _folder: TempDir,
}

impl Opened {
    fn new() -> Self {
        let runtime = Runtime::new().expect("threads can be started");
        let folder = TempDir::new().expect("there is a temporary folder");
        let here = format!("sqlite:{}", folder.path().join("bench.db").display());
        let url = std::env::var("WARDROOM_DATABASE_URL").unwrap_or(here);
        let store = runtime.block_on(Store::connect(&DatabaseSettings::new(url))).expect("the database can be opened");
        Self { runtime, store, _folder: folder }
    }

    fn append(&self, batch: &[Append]) {
        // With a note, as the hub commits.
        let note = Note { id: Uuid::now_v7(), taken_until: Timestamp::from_micros(i64::MAX) };
        let answers =
            self.runtime.block_on(self.store.append_noting(batch, Some(note))).expect("the database takes it");
        assert!(answers.iter().all(|it| *it == Appended::Committed));
    }
}

/// A room that only talks.
struct Talk {
    room: RoomId,
    sender: UserId,
    head: u64,
    hash: Hash,
}

impl Talk {
    fn new() -> Self {
        Self { room: RoomId(Uuid::now_v7()), sender: UserId(Uuid::now_v7()), head: 0, hash: GENESIS }
    }

    /// The next messages, 200 bytes each, of one command.
    fn say(&mut self, messages: u64) -> Append {
        let command = CommandId(Uuid::now_v7());
        let name = Line::parse("Dr Doe").expect("a name");
        let before = self.hash;
        let records = (0..messages).map(|_| {
            self.head += 1;
            let text = Prose::parse(&"a word ".repeat(28)).expect("a text");
            let record = Record {
                room: self.room,
                seq: self.head,
                at: Timestamp::from_micros(1_790_000_000_000_000),
                actor: By { id: Some(self.sender), name: Some(name.clone()), role: Role::Doctor },
                command: Some(command),
                event: Event::ChatSent(ChatSent { text, thread: Thread::Care }),
            };
            let canonical = record.canonical();
            self.hash = chain(&self.hash, &canonical);
            Sealed { seq: self.head, canonical: canonical.into(), hash: self.hash, record: Arc::new(record) }
        });
        Append {
            room: self.room,
            records: records.collect(),
            before,
            sender: Some(self.sender),
            command: Some(command),
            command_hash: [0; 32],
            after: None,
            wake_at: None,
            parties: Some((self.sender, self.sender)),
        }
    }
}

/// One transaction with a message of each of so many rooms, flushed to the disk.
#[divan::bench(args = [1, 16, 256], sample_count = 50, sample_size = 1)]
fn commit(bencher: Bencher<'_, '_>, rooms: usize) {
    let opened = Opened::new();
    let mut talks: Vec<Talk> = (0..rooms).map(|_| Talk::new()).collect();
    // The first message of a room follows nothing, and is committed in another way than those behind it.
    opened.append(&talks.iter_mut().map(|talk| talk.say(1)).collect::<Vec<_>>());
    let next = || talks.iter_mut().map(|talk| talk.say(1)).collect::<Vec<_>>();
    bencher.counter(ItemsCount::new(rooms)).with_inputs(next).bench_local_refs(|batch| opened.append(batch));
}

/// A page of 100 from somewhere in a room of so many events.
#[divan::bench(args = [1_000, 100_000])]
fn page(bencher: Bencher<'_, '_>, events: u64) {
    let opened = Opened::new();
    let mut talk = Talk::new();
    for _ in 0..events / AT_ONCE {
        opened.append(&[talk.say(AT_ONCE)]);
    }
    let turn = AtomicU64::new(0);
    bencher.bench_local(|| {
        // By steps that visit all of the room in no order.
        let before = turn.fetch_add(7_919, Ordering::Relaxed) % (events - 100) + 101;
        let page = opened.runtime.block_on(opened.store.events_before(talk.room, before, 100));
        assert_eq!(page.expect("the database answers").len(), 100);
    });
}
