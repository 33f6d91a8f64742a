//! What the feeds show, and rows that many ask for at the same time. On both databases.

use std::time::Duration;

use rooms::case::consultation::ConsultationState;
use rooms::case::dispensing::DispensingState;
use rooms::event::{HandOver, Pharmacy};
use rooms::id::{DispensingId, PharmacyId, PrescriptionId, RoomId, SessionId, UserId};
use rooms::role::Role;
use rooms::signal::Mark;
use rooms::text::{Line, Text};
use rooms::time::Timestamp;
use rooms::wire::snapshot::{Allowed, DispensingView, FeedItem, FeedRow};
use uuid::Uuid;
use wardroom::config::DatabaseSettings;
use wardroom::store::Store;
use wardroom::store::events::{Append, Appended};
use wardroom::store::idempotency::Begin;
use wardroom::store::people::User;
use wardroom::store::sessions::Session;

use crate::support::both;
use crate::support::room_log::open_store;
use crate::support::room_log::{doctor_with_slots, new_user, slot_request};

/// More rooms than a feed shows of what is closed.
const MANY: i64 = 120;

fn keys(items: &[FeedItem]) -> Vec<&str> {
    items.iter().map(|item| &*item.key).collect()
}

/// A doctor's bookings, oldest first; all but the oldest are over. Each has a dispensing in the same condition.
async fn busy_months(store: &Store, pharmacy: &Pharmacy) -> (User, Vec<Append>) {
    let (doctor, slots) = doctor_with_slots(store, MANY).await;
    let mut appends: Vec<Append> = slots.iter().map(|slot| slot_request(slot, &doctor).1).collect();
    for (at, append) in appends.iter_mut().enumerate() {
        let after = append.after.as_mut().unwrap();
        let open = at == 0;
        if !open {
            after.consultation.as_mut().unwrap().state = ConsultationState::Completed;
        }
        after.dispensings.push(DispensingView {
            id: DispensingId(Uuid::now_v7()),
            prescription: PrescriptionId(Uuid::now_v7()),
            pharmacy: pharmacy.clone(),
            state: if open { DispensingState::OnHold } else { DispensingState::Completed },
            version: 1,
            hand_over: HandOver::Pickup,
            hold: None,
            allowed: Allowed::new(),
        });
    }
    assert_eq!(store.append(&appends).await.unwrap(), vec![Appended::Committed; appends.len()]);
    (doctor, appends)
}

async fn what_is_open_stays_in_a_feed_however_much_came_after_it(settings: DatabaseSettings) {
    let store = open_store(&settings).await;
    let pharmacy = Pharmacy {
        id: PharmacyId(Uuid::now_v7()),
        name: Line::parse("Pharmacy").unwrap(),
        address: Text::parse("1 Street").unwrap(),
    };
    let (doctor, appends) = busy_months(&store, &pharmacy).await;
    let feed = store.person_feed(doctor.id, Role::Doctor).await.unwrap();
    let newest = appends.iter().rev().take(100).map(|append| append.room.to_string());
    let expected: Vec<String> = newest.chain([appends[0].room.to_string()]).collect();
    assert_eq!(keys(&feed), expected);
    let FeedRow::Consultation { dispensings, .. } = &feed[100].row else { panic!("a consultation") };
    assert_eq!(dispensings, &[DispensingState::OnHold]);

    let queue = store.queue_feed(pharmacy.id).await.unwrap();
    assert_eq!(queue.len(), 101);
    let held = appends[0].after.as_ref().unwrap().dispensings[0].id.to_string();
    assert_eq!(queue[100].key, held);
}

/// A room of this doctor that waits since `since`, or is in `state`.
fn room(slot: &wardroom::store::slots::PublishedSlot, doctor: &User, state: ConsultationState, since: i64) -> Append {
    let (_, mut append) = slot_request(slot, doctor);
    let consultation = append.after.as_mut().unwrap().consultation.as_mut().unwrap();
    consultation.state = state;
    consultation.waiting_since = Some(minutes(since));
    if matches!(state, ConsultationState::InProgress | ConsultationState::Completed) {
        consultation.started_at = Some(minutes(since));
    }
    if state == ConsultationState::Completed {
        consultation.ended_at = Some(minutes(since + 10));
    }
    append
}

fn minutes(count: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000 + count * 60_000_000)
}

async fn the_lobby_counts_from_who_came_first_and_estimates_from_the_last_consultations(settings: DatabaseSettings) {
    use ConsultationState::{Booked, Called, Completed, InProgress, Waiting};
    let store = open_store(&settings).await;
    let (doctor, slots) = doctor_with_slots(&store, 6).await;
    let appends = [
        room(&slots[0], &doctor, Waiting, 20),
        room(&slots[1], &doctor, Waiting, 15),
        room(&slots[2], &doctor, Called, 18),
        room(&slots[3], &doctor, Booked, 1),
    ];
    assert_eq!(store.append(&appends).await.unwrap(), vec![Appended::Committed; 4]);
    let rows = |items: Vec<FeedItem>| -> Vec<(String, u32, Option<u32>)> {
        let row = |item: FeedItem| match item.row {
            FeedRow::Waiting { position, estimate_s, .. } => (item.key, position, estimate_s),
            other => panic!("{other:?}"),
        };
        items.into_iter().map(row).collect()
    };
    let key = |at: usize| appends[at].room.to_string();
    let lobby = rows(store.lobby_feed(doctor.id, minutes(30)).await.unwrap());
    assert_eq!(lobby, [(key(1), 1, None), (key(2), 0, None), (key(0), 2, None)]);
    // One took ten minutes, and one has been going for four.
    let more = [room(&slots[4], &doctor, Completed, 0), room(&slots[5], &doctor, InProgress, 26)];
    assert_eq!(store.append(&more).await.unwrap(), vec![Appended::Committed; 2]);
    let lobby = rows(store.lobby_feed(doctor.id, minutes(30)).await.unwrap());
    assert_eq!(lobby, [(key(1), 1, Some(360)), (key(2), 0, Some(0)), (key(0), 2, Some(960))]);
}

async fn of_many_who_refresh_at_once_one_wins(settings: DatabaseSettings) {
    let store = open_store(&settings).await;
    let user = new_user("Ann", Role::Patient);
    assert!(store.insert_user(&user).await.unwrap());
    let at = minutes(0);
    let id = SessionId(Uuid::now_v7());
    let session = Session {
        id,
        user: user.id,
        counter: 7,
        rotated_at: at,
        created_at: at,
        last_seen_at: at,
        expires_at: minutes(60),
        revoked_at: None,
        label: "a browser".into(),
    };
    store.insert_session(&session).await.unwrap();
    let tries: Vec<_> = (0..10)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.rotate_session(id, 7, minutes(1)).await.unwrap() })
        })
        .collect();
    let mut won = 0;
    for attempt in tries {
        won += u32::from(attempt.await.unwrap());
    }
    assert_eq!(won, 1);
    assert_eq!(store.session(id).await.unwrap().unwrap().counter, 8);
    assert_eq!(store.revoke_sessions(user.id, minutes(2)).await.unwrap(), [id]);
    assert!(!store.rotate_session(id, 8, minutes(3)).await.unwrap(), "what has ended stays so");
}

async fn of_many_requests_with_one_key_one_runs(settings: DatabaseSettings) {
    let store = open_store(&settings).await;
    let user = UserId(Uuid::now_v7());
    let tries: Vec<_> = (0..10)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let fresh = Uuid::now_v7();
                store.begin_request(user, "post /x", "key", &[1; 32], fresh, minutes(1), minutes(0)).await.unwrap()
            })
        })
        .collect();
    let (mut fresh, mut running) = (0, 0);
    for attempt in tries {
        match attempt.await.unwrap() {
            Begin::Fresh(_) => fresh += 1,
            Begin::Running => running += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((fresh, running), (1, 9));
}

async fn marks_never_go_back(settings: DatabaseSettings) {
    let store = open_store(&settings).await;
    let (room, user) = (RoomId(Uuid::now_v7()), UserId(Uuid::now_v7()));
    for (delivered, seen) in [(5, 3), (4, 4), (6, 1)] {
        store.save_marks(&[(room, user, Mark { delivered, seen })]).await.unwrap();
    }
    assert_eq!(store.marks(room).await.unwrap()[&user], Mark { delivered: 6, seen: 4 });
}

async fn a_room_is_due_once_its_time_has_come(settings: DatabaseSettings) {
    let store = open_store(&settings).await;
    let (doctor, slots) = doctor_with_slots(&store, 1).await;
    let (_, append) = slot_request(&slots[0], &doctor);
    let due = append.wake_at.expect("the hold ends");
    assert_eq!(store.append(std::slice::from_ref(&append)).await.unwrap(), [Appended::Committed]);
    let before = Timestamp::from_micros(due.micros() - 1);
    assert_eq!(store.due_rooms(before, 10).await.unwrap(), []);
    assert_eq!(store.due_rooms(due, 10).await.unwrap(), [append.room]);
    assert_eq!(store.due_rooms(due.plus(Duration::from_secs(86_400)), 10).await.unwrap(), [append.room]);
}

both! {
    what_is_open_stays_in_a_feed_however_much_came_after_it
    the_lobby_counts_from_who_came_first_and_estimates_from_the_last_consultations
    of_many_who_refresh_at_once_one_wins
    of_many_requests_with_one_key_one_runs
    marks_never_go_back
    a_room_is_due_once_its_time_has_come
}
