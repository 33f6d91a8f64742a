//! The store's promises, on both databases.

use std::collections::BTreeSet;
use std::sync::Arc;

use rooms::command::{Command, Context, Facts, Request};
use rooms::event::{ChatSent, Event, Person, Policy, Slot, Thread};
use rooms::id::{CommandId, RoomId, SlotId, UserId};
use rooms::permission::View;
use rooms::record::{GENESIS, Hash, Record, chain};
use rooms::role::{Actor, Role};
use rooms::room::Room;
use rooms::text::{Line, Prose};
use rooms::time::Timestamp;
use uuid::Uuid;
use wardroom::config::DatabaseSettings;
use wardroom::hub::appender::Appender;
use wardroom::store::Store;
use wardroom::store::events::{Append, Appended, Sealed};
use wardroom::store::people::{Status, User};
use wardroom::store::slots::{Published, PublishedSlot};

use crate::support::both;

fn now() -> Timestamp {
    Timestamp::new(chrono::Utc::now())
}

fn person(name: &str) -> Person {
    Person { id: UserId(Uuid::now_v7()), name: Line::parse(name).unwrap() }
}

fn seal(room: RoomId, before: Hash, from: u64, by: &Actor, command: CommandId, events: Vec<Event>) -> Vec<Sealed> {
    let mut hash = before;
    let seal = |(at, event)| {
        let seq = from + at as u64 + 1;
        let record = Record { room, seq, at: now(), actor: by.by(), command: Some(command), event };
        let canonical = record.canonical();
        hash = chain(&hash, &canonical);
        Sealed { seq, canonical: canonical.into(), hash, record: Arc::new(record) }
    };
    events.into_iter().enumerate().map(seal).collect()
}

fn chat(room: RoomId, head: u64, sender: UserId, command: CommandId, text: &str) -> Append {
    let actor = Actor::Person { id: sender, role: Role::Patient, name: Line::parse("P").unwrap(), pharmacy: None };
    let event = Event::ChatSent(ChatSent { text: Prose::parse(text).unwrap(), thread: Thread::Care });
    let mut command_hash = [0; 32];
    command_hash[..text.len().min(32)].copy_from_slice(&text.as_bytes()[..text.len().min(32)]);
    let records = seal(room, GENESIS, head, &actor, command, vec![event]);
    Append { room, records, sender: Some(sender), command: Some(command), command_hash, after: None, wake_at: None }
}

fn ids() -> (RoomId, UserId, CommandId) {
    (RoomId(Uuid::now_v7()), UserId(Uuid::now_v7()), CommandId(Uuid::now_v7()))
}

async fn appending_compares_and_one_bad_append_harms_no_other(database: DatabaseSettings) {
    let store = Store::connect(&database).await.unwrap();
    let (room, sender, command) = ids();
    let first = chat(room, 0, sender, command, "one");
    assert_eq!(store.append(std::slice::from_ref(&first)).await.unwrap(), [Appended::Committed]);
    let (other_room, other_sender, other_command) = ids();
    let batch = [
        chat(room, 1, sender, CommandId(Uuid::now_v7()), "two"),
        // Its place is taken.
        chat(room, 0, UserId(Uuid::now_v7()), CommandId(Uuid::now_v7()), "late"),
        // It took effect before.
        chat(room, 2, sender, command, "one"),
        chat(room, 2, sender, command, "another"),
        chat(other_room, 0, other_sender, other_command, "elsewhere"),
    ];
    let duplicate = |same_body| Appended::Duplicate { first: 1, last: 1, same_body };
    assert_eq!(
        store.append(&batch).await.unwrap(),
        [Appended::Committed, Appended::Conflict, duplicate(true), duplicate(false), Appended::Committed]
    );
    let seqs: Vec<u64> = store.events_after(room, 0, 10).await.unwrap().iter().map(|stored| stored.seq).collect();
    assert_eq!(seqs, [1, 2]);
    assert_eq!(store.events_after(other_room, 0, 10).await.unwrap().len(), 1);
    let found = store.find_command(room, sender, command).await.unwrap().expect("it took effect");
    assert_eq!((found.first, found.last), (1, 1));
    let before = store.events_before(room, 3, 1).await.unwrap();
    assert_eq!(before[0].canonical, *batch[0].records[0].canonical);
}

async fn writers_of_one_room_never_leave_a_gap_or_share_a_number(database: DatabaseSettings) {
    let store = Store::connect(&database).await.unwrap();
    let (room, ..) = ids();
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (store, sender) = (store.clone(), UserId(Uuid::now_v7()));
        tasks.push(tokio::spawn(async move {
            for _ in 0..10 {
                let command = CommandId(Uuid::now_v7());
                loop {
                    let head = store.events_before(room, u64::MAX, 1).await.unwrap().last().map_or(0, |it| it.seq);
                    match store.append(&[chat(room, head, sender, command, "x")]).await.unwrap()[0] {
                        Appended::Committed => break,
                        Appended::Conflict => {}
                        other => panic!("{other:?}"),
                    }
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let seqs: Vec<u64> = store.events_after(room, 0, 1000).await.unwrap().iter().map(|it| it.seq).collect();
    assert_eq!(seqs, (1..=80).collect::<Vec<_>>());
}

async fn a_large_batch_of_any_size_is_committed_whole(database: DatabaseSettings) {
    let store = Store::connect(&database).await.unwrap();
    for size in [1usize, 2, 3, 100, 129, 256] {
        let batch: Vec<Append> = (0..size)
            .map(|_| {
                let (room, sender, command) = ids();
                chat(room, 0, sender, command, "x")
            })
            .collect();
        assert!(store.append(&batch).await.unwrap().iter().all(|it| *it == Appended::Committed));
        for append in &batch {
            assert_eq!(store.events_after(append.room, 0, 2).await.unwrap().len(), 1);
        }
    }
}

fn account(name: &str, role: Role) -> User {
    let id = UserId(Uuid::now_v7());
    User {
        id,
        email: format!("{id}@example.org"),
        name: Line::parse(name).unwrap(),
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

fn minutes(count: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000 + count * 60_000_000)
}

fn slot(from: i64, to: i64) -> PublishedSlot {
    PublishedSlot { id: SlotId(Uuid::now_v7()), starts_at: minutes(from), ends_at: minutes(to), room: None }
}

fn request(slot: &PublishedSlot, doctor: &User) -> Append {
    let (room, _, command) = ids();
    let patient = person("Patient");
    let actor = Actor::Person { id: patient.id, role: Role::Patient, name: patient.name, pharmacy: None };
    let doctor = Person { id: doctor.id, name: doctor.name.clone() };
    let fact = Slot { id: slot.id, doctor, starts_at: slot.starts_at, ends_at: slot.ends_at };
    let facts = Facts { slot: Some(fact), ..Facts::default() };
    let mut fresh = Uuid::now_v7;
    let now = Timestamp::from_micros(minutes(0).micros() - 3_600_000_000);
    let mut context =
        Context { now, actor: &actor, facts: &facts, policy: &Policy::default(), expect: None, fresh: &mut fresh };
    let ask = Command::Request(Request { slot: Some(slot.id), doctor: None, reason: None });
    let mut state = Room::new(room);
    let events = state.decide(&ask, &mut context).expect("a free slot can be requested");
    let records = seal(room, GENESIS, 0, &actor, command, events);
    for sealed in &records {
        state.apply(&sealed.record);
    }
    let after = Some(Box::new(state.snapshot(&View::Care)));
    let wake_at = state.wake_at();
    Append { room, records, sender: actor.user(), command: Some(command), command_hash: [1; 32], after, wake_at }
}

async fn a_slot_is_sold_once_also_within_one_batch(database: DatabaseSettings) {
    let store = Store::connect(&database).await.unwrap();
    let doctor = account("Doctor", Role::Doctor);
    assert!(store.insert_user(&doctor).await.unwrap());
    let slots: Vec<PublishedSlot> = (0..5).map(|at| slot(at * 10, at * 10 + 10)).collect();
    assert_eq!(store.publish_slots(doctor.id, &slots).await.unwrap(), Published::All);
    let appender = Appender::start(store.clone());
    let tries = slots.iter().flat_map(|slot| (0..10).map(|_| request(slot, &doctor))).map(|append| {
        let appender = appender.clone();
        tokio::spawn(async move { appender.append(append).await.unwrap() })
    });
    let mut sold = 0;
    for task in tries.collect::<Vec<_>>() {
        match task.await.unwrap() {
            Appended::Committed => sold += 1,
            Appended::SlotTaken => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(sold, 5);
    let taken = store.slots(doctor.id, minutes(-10), minutes(1000)).await.unwrap();
    let rooms: BTreeSet<_> = taken.iter().map(|slot| slot.room.expect("each slot is sold")).collect();
    assert_eq!(rooms.len(), 5);
    assert_eq!(store.next_free(doctor.id, minutes(-10)).await.unwrap(), None);
}

async fn overlapping_slots_of_a_doctor_are_never_published(database: DatabaseSettings) {
    let store = Store::connect(&database).await.unwrap();
    let doctor = account("Doctor", Role::Doctor);
    assert!(store.insert_user(&doctor).await.unwrap());
    let tries = (0..8).map(|at| {
        let (store, doctor) = (store.clone(), doctor.id);
        tokio::spawn(async move { store.publish_slots(doctor, &[slot(at, at + 10)]).await.unwrap() })
    });
    let mut published = 0;
    for task in tries.collect::<Vec<_>>() {
        published += usize::from(task.await.unwrap() == Published::All);
    }
    assert_eq!(published, 1, "all eight overlap each other");
    let both = [slot(100, 110), slot(105, 115)];
    assert_eq!(store.publish_slots(doctor.id, &both).await.unwrap(), Published::Overlap(1));
    assert_eq!(store.publish_slots(doctor.id, &[slot(100, 110), slot(110, 120)]).await.unwrap(), Published::All);
}

both! {
    appending_compares_and_one_bad_append_harms_no_other
    writers_of_one_room_never_leave_a_gap_or_share_a_number
    a_large_batch_of_any_size_is_committed_whole
    a_slot_is_sold_once_also_within_one_batch
    overlapping_slots_of_a_doctor_are_never_published
}
