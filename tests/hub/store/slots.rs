//! Slots: published without overlap, booked once, and released, on both databases.

use std::collections::BTreeSet;

use rooms::event::{ConsultationMoved, Event, Rescheduled};
use rooms::id::{CommandId, RoomId, SlotId};
use rooms::party::{Person, Slot};
use rooms::role::{Actor, Role};
use rooms::state::ConsultationState;
use uuid::Uuid;
use wardroom::clock::Clock;
use wardroom::config::DatabaseSettings;
use wardroom::hub::appender::Appender;
use wardroom::store::Store;
use wardroom::store::record::{Append, Appended};
use wardroom::store::slots::{Published, PublishedSlot};
use wardroom::store::users::User;

use crate::support::both;
use crate::support::room_log::{RoomLog, doctor_with_slots, minutes, new_user, open_store, slot, slot_request};

fn moved(log: &RoomLog, from: ConsultationState, to: ConsultationState) -> Append {
    let event = Event::ConsultationMoved(ConsultationMoved { from, to, reason: None, party: None });
    Append { sender: None, command: None, ..log.append(&Actor::System, CommandId(Uuid::now_v7()), vec![event]) }
}

async fn append(store: &Store, append: &Append) -> Appended {
    store.append(std::slice::from_ref(append)).await.unwrap().remove(0)
}

async fn room_with_slot(store: &Store, doctor: &User, slot: SlotId) -> Option<RoomId> {
    let slots = store.slots(doctor.id, minutes(-1_000), minutes(10_000)).await.unwrap().slots;
    slots.iter().find(|it| it.id == slot).expect("the slot is published").room
}

async fn slot_is_booked_once_under_concurrent_requests(settings: DatabaseSettings) {
    let store = open_store(&settings).await;
    let (doctor, slots) = doctor_with_slots(&store, 50).await;
    // Two hubs, so that attempts conflict both within a batch and between two.
    let start = |store| Appender::start(store, Clock::system(), tokio::sync::mpsc::channel(1).0);
    let hubs = [start(store.clone()), start(open_store(&settings).await)];
    let attempts =
        slots.iter().flat_map(|slot| (0..10).map(|_| slot_request(slot, &doctor).1)).enumerate().map(|(at, append)| {
            let hub = hubs[at % 2].clone();
            tokio::spawn(async move { hub.append(append).await.unwrap() })
        });
    let mut booked = 0;
    for task in attempts.collect::<Vec<_>>() {
        match task.await.unwrap() {
            Appended::Committed => booked += 1,
            Appended::SlotTaken => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(booked, 50);
    let taken = store.slots(doctor.id, minutes(-10), minutes(1000)).await.unwrap().slots;
    let rooms: BTreeSet<_> = taken.iter().map(|slot| slot.room.expect("each slot is booked")).collect();
    assert_eq!(rooms.len(), 50);
    assert_eq!(store.next_free_slot(doctor.id, minutes(-10)).await.unwrap(), None);
}

async fn released_slot_can_be_booked_by_another_and_stays_theirs(settings: DatabaseSettings) {
    use ConsultationState::{Cancelled, EnteredInError, Requested};
    let store = open_store(&settings).await;
    let (doctor, slots) = doctor_with_slots(&store, 2).await;
    let (log, first) = slot_request(&slots[0], &doctor);
    assert_eq!(append(&store, &first).await, Appended::Committed);
    let log = log.after(&first);
    let (_, second) = slot_request(&slots[0], &doctor);
    assert_eq!(append(&store, &second).await, Appended::SlotTaken);
    assert_eq!(store.events_after(second.room, 0, 1).await.unwrap(), []);
    let cancelled = moved(&log, Requested, Cancelled);
    assert_eq!(append(&store, &cancelled).await, Appended::Committed);
    assert_eq!(room_with_slot(&store, &doctor, slots[0].id).await, None);
    assert_eq!(append(&store, &second).await, Appended::Committed);
    // Whatever becomes of the case that held it first.
    let marked = moved(&log.after(&cancelled), Cancelled, EnteredInError);
    assert_eq!(append(&store, &marked).await, Appended::Committed);
    assert_eq!(room_with_slot(&store, &doctor, slots[0].id).await, Some(second.room));
    assert_eq!(room_with_slot(&store, &doctor, slots[1].id).await, None);
}

async fn rescheduling_swaps_slots_or_changes_nothing(settings: DatabaseSettings) {
    let store = open_store(&settings).await;
    let (doctor, slots) = doctor_with_slots(&store, 3).await;
    let (log, first) = slot_request(&slots[0], &doctor);
    let (_, other) = slot_request(&slots[1], &doctor);
    assert_eq!(store.append(&[first.clone(), other.clone()]).await.unwrap(), vec![Appended::Committed; 2]);
    let log = log.after(&first);
    let to = |slot: &PublishedSlot| {
        let fact = Slot {
            id: slot.id,
            doctor: Person { id: doctor.id, name: doctor.name.clone() },
            starts_at: slot.starts_at,
            ends_at: slot.ends_at,
        };
        let event = Event::Rescheduled(Rescheduled { from: slots[0].id, slot: fact });
        log.append(&Actor::System, CommandId(Uuid::now_v7()), vec![event])
    };
    assert_eq!(append(&store, &to(&slots[1])).await, Appended::SlotTaken);
    assert_eq!(room_with_slot(&store, &doctor, slots[0].id).await, Some(log.room), "the room keeps its slot");
    assert_eq!(append(&store, &to(&slots[2])).await, Appended::Committed);
    assert_eq!(room_with_slot(&store, &doctor, slots[0].id).await, None);
    assert_eq!(room_with_slot(&store, &doctor, slots[1].id).await, Some(other.room));
    assert_eq!(room_with_slot(&store, &doctor, slots[2].id).await, Some(log.room));
}

async fn withdrawn_slot_cannot_be_booked_and_booked_slot_cannot_be_withdrawn(settings: DatabaseSettings) {
    let store = open_store(&settings).await;
    let (doctor, slots) = doctor_with_slots(&store, 2).await;
    assert!(store.withdraw_slot(doctor.id, slots[0].id).await.unwrap());
    assert_eq!(append(&store, &slot_request(&slots[0], &doctor).1).await, Appended::SlotTaken);
    assert_eq!(append(&store, &slot_request(&slots[1], &doctor).1).await, Appended::Committed);
    assert!(!store.withdraw_slot(doctor.id, slots[1].id).await.unwrap());
}

async fn overlapping_slots_of_a_doctor_are_never_published(database: DatabaseSettings) {
    let store = Store::connect(&database).await.unwrap();
    let doctor = new_user("Doctor", Role::Doctor);
    assert!(store.insert_user(&doctor).await.unwrap());
    let attempts = (0..8).map(|at| {
        let (store, doctor) = (store.clone(), doctor.id);
        tokio::spawn(async move { store.publish_slots(doctor, &[slot(at, at + 10)]).await.unwrap() })
    });
    let mut published = 0;
    for task in attempts.collect::<Vec<_>>() {
        published += usize::from(task.await.unwrap() == Published::All);
    }
    assert_eq!(published, 1, "all eight overlap each other");
    let both = [slot(100, 110), slot(105, 115)];
    assert_eq!(store.publish_slots(doctor.id, &both).await.unwrap(), Published::Overlap(1));
    assert_eq!(store.publish_slots(doctor.id, &[slot(100, 110), slot(110, 120)]).await.unwrap(), Published::All);
}

both! {
    slot_is_booked_once_under_concurrent_requests
    released_slot_can_be_booked_by_another_and_stays_theirs
    rescheduling_swaps_slots_or_changes_nothing
    withdrawn_slot_cannot_be_booked_and_booked_slot_cannot_be_withdrawn
    overlapping_slots_of_a_doctor_are_never_published
}
