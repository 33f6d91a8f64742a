//! A room's log as its writer knows it, and appends to it, for tests of the store.

use std::sync::Arc;

use rooms::command::{Command, Context, Facts, Request};
use rooms::event::{ChatSent, Event};
use rooms::id::{CommandId, PrescriptionId, RoomId, SlotId, UserId};
use rooms::limits::Limits;
use rooms::party::{Person, Policy, Slot, Thread};
use rooms::permission::View;
use rooms::record::{GENESIS, Hash, Record, chain};
use rooms::role::{Actor, Role};
use rooms::room::Room;
use rooms::room::snapshot::{Allowed, PrescriptionView};
use rooms::state::PrescriptionState;
use rooms::text::Text;
use rooms::time::Timestamp;
use uuid::Uuid;
use wardroom::config::DatabaseSettings;
use wardroom::store::Store;
use wardroom::store::record::{Append, Appended, HashedRecord, StoredRecord};
use wardroom::store::slots::{Published, PublishedSlot};
use wardroom::store::users::{Status, User};

/// A room's head and state, as its writer knows them.
#[derive(Clone)]
pub struct RoomLog {
    pub room: RoomId,
    pub head: u64,
    pub hash: Hash,
    pub state: Arc<Room>,
}

impl RoomLog {
    pub fn new() -> Self {
        let room = RoomId(Uuid::now_v7());
        Self { room, head: 0, hash: GENESIS, state: Arc::new(Room::new(room)) }
    }

    /// Reads a room's head from the store.
    pub async fn read(store: &Store, room: RoomId) -> Self {
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
            HashedRecord { seq, canonical: canonical.into(), hash, record: Arc::new(record) }
        };
        let records = events.into_iter().enumerate().map(seal).collect();
        Append {
            room: self.room,
            records,
            before: self.hash,
            sender: actor.user(),
            command: Some(command),
            command_hash: [1; 32],
            after: projects.then(|| Box::new(state.snapshot(&View::Care, now()))),
            wake_at: state.wake_at(),
            parties: state.parties(),
            booking_limits: None,
        }
    }

    /// Returns the room after an append.
    pub fn after(&self, append: &Append) -> Self {
        let mut state = (*self.state).clone();
        for sealed in &append.records {
            assert!(state.apply(&sealed.record));
        }
        let last = append.records.last().unwrap();
        Self { room: self.room, head: last.seq, hash: last.hash, state: Arc::new(state) }
    }

    /// Returns an append of a chat message, whose text is also the command's content.
    pub fn chat(&self, sender: UserId, command: CommandId, text: &str) -> Append {
        let actor = Actor::Person { id: sender, role: Role::Patient, name: Text::stored("P").unwrap(), pharmacy: None };
        let event = Event::ChatSent(ChatSent { text: Text::stored(text).unwrap(), thread: Thread::Care });
        let command_hash = chain(&GENESIS, text);
        Append { command_hash, ..self.append(&actor, command, vec![event]) }
    }
}

pub fn new_ids() -> (UserId, CommandId) {
    (UserId(Uuid::now_v7()), CommandId(Uuid::now_v7()))
}

pub async fn open_store(settings: &DatabaseSettings) -> Store {
    Store::connect(settings).await.unwrap()
}

/// Returns the conflict that a late append must get: the records that others appended first.
pub fn conflict_with(first: &[&Append]) -> Appended {
    let records = first.iter().flat_map(|append| &append.records);
    let since = records.map(|it| StoredRecord { seq: it.seq, canonical: it.canonical.to_string(), hash: it.hash });
    Appended::Conflict { since: since.collect() }
}

fn now() -> Timestamp {
    Timestamp::new(chrono::Utc::now())
}

pub fn new_user(name: &str, role: Role) -> User {
    let id = UserId(Uuid::now_v7());
    User {
        id,
        email: format!("{id}@example.org"),
        name: Text::stored(name).unwrap(),
        role,
        status: Status::Active,
        pharmacy: None,
        specialty: None,
        languages: None,
        created_at: now(),
        changed_at: now(),
        password_hash: "-".into(),
    }
}

pub fn minutes(count: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000 + count * 60_000_000)
}

pub fn slot(from: i64, to: i64) -> PublishedSlot {
    PublishedSlot { id: SlotId(Uuid::now_v7()), starts_at: minutes(from), ends_at: minutes(to), room: None }
}

/// Returns a patient's request for a slot, and the room before it.
pub fn slot_request(slot: &PublishedSlot, doctor: &User) -> (RoomLog, Append) {
    let patient = Actor::Person {
        id: UserId(Uuid::now_v7()),
        role: Role::Patient,
        name: Text::stored("Patient").unwrap(),
        pharmacy: None,
    };
    let doctor = Person { id: doctor.id, name: doctor.name.clone() };
    let fact = Slot { id: slot.id, doctor, starts_at: slot.starts_at, ends_at: slot.ends_at };
    let facts = Facts { slot: Some(fact), ..Facts::default() };
    let mut fresh = Uuid::now_v7;
    let now = Timestamp::from_micros(minutes(0).micros() - 3_600_000_000);
    let mut context = Context {
        now,
        actor: &patient,
        facts: &facts,
        policy: &Policy::default(),
        limits: &Limits::default(),
        expect: None,
        fresh: &mut fresh,
    };
    let ask = Command::Request(Request { slot: Some(slot.id), doctor: None, reason: None });
    let log = RoomLog::new();
    let events = log.state.decide(&ask, &mut context).expect("a free slot can be requested");
    let append = log.append(&patient, CommandId(Uuid::now_v7()), events);
    (log, append)
}

/// Returns an append with a prescription of a case that does not exist.
pub fn append_without_case() -> Append {
    let mut append = RoomLog::new().chat(UserId(Uuid::now_v7()), CommandId(Uuid::now_v7()), "x");
    let mut after = RoomLog::new().state.snapshot(&View::Care, now());
    after.prescriptions.push(PrescriptionView {
        id: PrescriptionId(Uuid::now_v7()),
        state: PrescriptionState::Draft,
        version: 1,
        items: Vec::new(),
        replaces: None,
        valid_until: None,
        pharmacy: None,
        allowed: Allowed::new(),
    });
    append.after = Some(Box::new(after));
    append
}

/// Creates a doctor who has published `count` slots.
pub async fn doctor_with_slots(store: &Store, count: i64) -> (User, Vec<PublishedSlot>) {
    let doctor = new_user("Doctor", Role::Doctor);
    assert!(store.insert_user(&doctor).await.unwrap());
    let slots: Vec<PublishedSlot> = (0..count).map(|at| slot(at * 10, at * 10 + 10)).collect();
    assert_eq!(store.publish_slots(doctor.id, &slots).await.unwrap(), Published::All);
    (doctor, slots)
}
