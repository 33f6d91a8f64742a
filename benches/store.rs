//! Costs of the store: a commit with messages of many rooms, and a page of a long room. `cargo bench --bench store`.
//!
//! Runs on SQLite in a temporary folder, or on the throwaway database that WARDROOM_DATABASE_URL names.

#![allow(clippy::disallowed_methods, reason = "benches make their own ids")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use divan::Bencher;
use divan::counter::ItemsCount;
use rooms::event::{ChatSent, Event};
use rooms::id::{CommandId, RoomId, UserId};
use rooms::party::Thread;
use rooms::record::{GENESIS, Hash, Record, chain};
use rooms::role::{By, Role};
use rooms::text::Text;
use rooms::time::Timestamp;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;
use wardroom::config::DatabaseSettings;
use wardroom::store::Store;
use wardroom::store::outbox::OutboxEntry;
use wardroom::store::record::{Append, Appended, HashedRecord};

fn main() {
    divan::main();
}

/// The number of events in one append while a long room is set up.
const EVENTS_PER_APPEND: u64 = 1_000;

/// An open store, its runtime, and the folder of its database, if that is a file.
struct StoreFixture {
    runtime: Runtime,
    store: Store,
    _folder: TempDir,
}

impl StoreFixture {
    fn new() -> Self {
        let runtime = Runtime::new().expect("threads can be started");
        let folder = TempDir::new().expect("there is a temporary folder");
        let here = format!("sqlite:{}", folder.path().join("bench.db").display());
        let url = std::env::var("WARDROOM_DATABASE_URL").unwrap_or(here);
        let store = runtime.block_on(Store::connect(&DatabaseSettings::new(url))).expect("the database can be opened");
        Self { runtime, store, _folder: folder }
    }

    fn append(&self, batch: &[Append]) {
        // With an outbox entry, as the hub commits.
        let note = OutboxEntry { id: Uuid::now_v7(), leased_until: Timestamp::from_micros(i64::MAX) };
        let answers =
            self.runtime.block_on(self.store.append_with_outbox(batch, Some(note))).expect("the database takes it");
        assert!(answers.iter().all(|it| *it == Appended::Committed));
    }
}

/// A room whose log holds chat only.
struct ChatRoom {
    room: RoomId,
    sender: UserId,
    head: u64,
    hash: Hash,
}

impl ChatRoom {
    fn new() -> Self {
        Self { room: RoomId(Uuid::now_v7()), sender: UserId(Uuid::now_v7()), head: 0, hash: GENESIS }
    }

    /// Makes an append of the next messages, 200 bytes each, of one command.
    fn next_append(&mut self, messages: u64) -> Append {
        let command = CommandId(Uuid::now_v7());
        let name = Text::stored("Dr Doe").expect("a name");
        let before = self.hash;
        let records = (0..messages).map(|_| {
            self.head += 1;
            let text = Text::stored(&"a word ".repeat(28)).expect("a text");
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
            HashedRecord { seq: self.head, canonical: canonical.into(), hash: self.hash, record: Arc::new(record) }
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
            booking_limits: None,
        }
    }
}

/// One transaction with a message of each room, flushed to the disk.
#[divan::bench(args = [1, 16, 256], sample_count = 50, sample_size = 1)]
fn commit(bencher: Bencher<'_, '_>, rooms: usize) {
    let fixture = StoreFixture::new();
    let mut chats: Vec<ChatRoom> = (0..rooms).map(|_| ChatRoom::new()).collect();
    // A room's first message has no predecessor and takes another path than the later ones.
    fixture.append(&chats.iter_mut().map(|chat| chat.next_append(1)).collect::<Vec<_>>());
    let next = || chats.iter_mut().map(|chat| chat.next_append(1)).collect::<Vec<_>>();
    bencher.counter(ItemsCount::new(rooms)).with_inputs(next).bench_local_refs(|batch| fixture.append(batch));
}

/// A page of 100 events from a varying position in a room.
#[divan::bench(args = [1_000, 100_000])]
fn page(bencher: Bencher<'_, '_>, events: u64) {
    let fixture = StoreFixture::new();
    let mut chat = ChatRoom::new();
    for _ in 0..events / EVENTS_PER_APPEND {
        fixture.append(&[chat.next_append(EVENTS_PER_APPEND)]);
    }
    let turn = AtomicU64::new(0);
    bencher.bench_local(|| {
        // A step that covers the whole room without an order.
        let before = turn.fetch_add(7_919, Ordering::Relaxed) % (events - 100) + 101;
        let page = fixture.runtime.block_on(fixture.store.events_before(chat.room, before, 100));
        assert_eq!(page.expect("the database answers").len(), 100);
    });
}
