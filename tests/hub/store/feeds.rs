//! Feeds, sessions, idempotency keys, read receipts, and due rooms under concurrency, on both databases.

use std::time::Duration;

use rooms::id::{DispensingId, PharmacyId, PrescriptionId, RoomId, SessionId, UserId};
use rooms::party::{HandOver, Pharmacy};
use rooms::role::Role;
use rooms::room::snapshot::{Allowed, DispensingView};
use rooms::signal::Mark;
use rooms::state::{ConsultationState, DispensingState};
use rooms::text::Text;
use rooms::time::Timestamp;
use rooms::wire::feed::{FeedItem, FeedRow};
use uuid::Uuid;
use wardroom::config::DatabaseSettings;
use wardroom::store::Store;
use wardroom::store::idempotency::KeyState;
use wardroom::store::record::{Append, Appended};
use wardroom::store::sessions::Session;
use wardroom::store::users::User;

use crate::support::both;
use crate::support::room_log::open_store;
use crate::support::room_log::{doctor_with_slots, new_user, slot_request};

/// More rooms than a feed shows of closed ones.
const ROOM_COUNT: i64 = 120;

fn keys(items: &[FeedItem]) -> Vec<&str> {
    items.iter().map(|item| &*item.key).collect()
}

/// Creates a doctor's bookings, oldest first; all but the oldest are closed. Each has a dispensing in the same
/// condition.
async fn closed_and_open_bookings(store: &Store, pharmacy: &Pharmacy) -> (User, Vec<Append>) {
    let (doctor, slots) = doctor_with_slots(store, ROOM_COUNT).await;
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

async fn open_items_stay_in_a_feed_however_many_follow(settings: DatabaseSettings) {
    let store = open_store(&settings).await;
    let pharmacy = Pharmacy {
        id: PharmacyId(Uuid::now_v7()),
        name: Text::stored("Pharmacy").unwrap(),
        address: Text::stored("1 Street").unwrap(),
    };
    let (doctor, appends) = closed_and_open_bookings(&store, &pharmacy).await;
    let feed = store.person_feed(doctor.id, Role::Doctor).await.unwrap().items;
    let newest = appends.iter().rev().take(100).map(|append| append.room.to_string());
    let expected: Vec<String> = newest.chain([appends[0].room.to_string()]).collect();
    assert_eq!(keys(&feed), expected);
    let FeedRow::Consultation { dispensings, .. } = &feed[100].row else { panic!("a consultation") };
    assert_eq!(dispensings, &[DispensingState::OnHold]);

    let queue = store.queue_feed(pharmacy.id).await.unwrap().items;
    assert_eq!(queue.len(), 101);
    let held = appends[0].after.as_ref().unwrap().dispensings[0].id.to_string();
    assert_eq!(queue[100].key, held);
}

/// Returns a room of this doctor in `state`, waiting or running since `since`.
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

async fn lobby_orders_by_arrival_and_estimates_from_recent_consultations(settings: DatabaseSettings) {
    use ConsultationState::{Booked, Called, Completed, InProgress, Waiting};
    let store = open_store(&settings).await;
    let (doctor, slots) = doctor_with_slots(&store, 6).await;
    let mut appends = [
        room(&slots[0], &doctor, Waiting, 20),
        room(&slots[1], &doctor, Waiting, 15),
        room(&slots[2], &doctor, Called, 18),
        room(&slots[3], &doctor, Booked, 1),
    ];
    appends[..3].iter_mut().for_each(as_walk_in);
    assert_eq!(store.append(&appends).await.unwrap(), vec![Appended::Committed; 4]);
    let rows = |items: Vec<FeedItem>| -> Vec<(String, u32, Option<u32>)> {
        let row = |item: FeedItem| match item.row {
            FeedRow::Waiting { position, estimate_s, .. } => (item.key, position, estimate_s),
            other => panic!("{other:?}"),
        };
        items.into_iter().map(row).collect()
    };
    let key = |at: usize| appends[at].room.to_string();
    let lobby = rows(store.lobby_feed(doctor.id, minutes(30)).await.unwrap().items);
    assert_eq!(lobby, [(key(1), 1, None), (key(2), 0, None), (key(0), 2, None)]);
    // One consultation took ten minutes, and another has run for four.
    let more = [room(&slots[4], &doctor, Completed, 0), room(&slots[5], &doctor, InProgress, 26)];
    assert_eq!(store.append(&more).await.unwrap(), vec![Appended::Committed; 2]);
    let lobby = rows(store.lobby_feed(doctor.id, minutes(30)).await.unwrap().items);
    assert_eq!(lobby, [(key(1), 1, Some(360)), (key(2), 0, Some(0)), (key(0), 2, Some(960))]);
}

async fn full_waiting_room_says_how_many_patients_are_missing(settings: DatabaseSettings) {
    let store = open_store(&settings).await;
    let (doctor, slots) = doctor_with_slots(&store, 503).await;
    let appends: Vec<Append> =
        (0..).zip(&slots).map(|(at, slot)| room(slot, &doctor, ConsultationState::Waiting, at)).collect();
    for batch in appends.chunks(50) {
        assert_eq!(store.append(batch).await.unwrap(), vec![Appended::Committed; batch.len()]);
    }
    let lobby = store.lobby_feed(doctor.id, minutes(600)).await.unwrap();
    assert_eq!((lobby.items.len(), lobby.missing), (500, 3));
    let own = store.person_feed(doctor.id, Role::Doctor).await.unwrap();
    assert_eq!((own.items.len(), own.missing), (200, 303));
}

/// Makes the patient of a room one without a slot.
fn as_walk_in(append: &mut Append) {
    append.after.as_mut().unwrap().consultation.as_mut().unwrap().slot = None;
}

/// Before the slot begins, its patient waits in the order of arrival; from then on before every walk-in.
async fn lobby_puts_a_patient_whose_slot_has_begun_before_walk_ins(settings: DatabaseSettings) {
    use ConsultationState::Waiting;
    let store = open_store(&settings).await;
    let (doctor, slots) = doctor_with_slots(&store, 2).await;
    let starts_at = slots[0].starts_at.micros();
    let mut walk_in = room(&slots[1], &doctor, Waiting, -30);
    as_walk_in(&mut walk_in);
    let appends = [room(&slots[0], &doctor, Waiting, -20), walk_in];
    assert_eq!(store.append(&appends).await.unwrap(), vec![Appended::Committed; 2]);
    for (now, order) in [(starts_at - 1, [1, 0]), (starts_at, [0, 1])] {
        let lobby = store.lobby_feed(doctor.id, Timestamp::from_micros(now)).await.unwrap();
        assert_eq!(keys(&lobby.items), order.map(|at: usize| appends[at].room.to_string()));
    }
}

async fn one_of_many_concurrent_refreshes_wins(settings: DatabaseSettings) {
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
    let attempts: Vec<_> = (0..10)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.rotate_session(id, 7, minutes(1)).await.unwrap() })
        })
        .collect();
    let mut won = 0;
    for attempt in attempts {
        won += u32::from(attempt.await.unwrap());
    }
    assert_eq!(won, 1);
    assert_eq!(store.session(id).await.unwrap().unwrap().counter, 8);
    assert_eq!(store.revoke_sessions(user.id, minutes(2)).await.unwrap(), [id]);
    assert!(!store.rotate_session(id, 8, minutes(3)).await.unwrap(), "a revoked session stays revoked");
}

async fn one_of_many_requests_with_the_same_key_runs(settings: DatabaseSettings) {
    let store = open_store(&settings).await;
    let user = UserId(Uuid::now_v7());
    let attempts: Vec<_> = (0..10)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let fresh = Uuid::now_v7();
                store.claim_key(user, "post /x", "key", &[1; 32], fresh, minutes(1), minutes(0)).await.unwrap()
            })
        })
        .collect();
    let (mut fresh, mut running) = (0, 0);
    for attempt in attempts {
        match attempt.await.unwrap() {
            KeyState::Claimed(_) => fresh += 1,
            KeyState::InProgress => running += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((fresh, running), (1, 9));
}

async fn read_receipts_never_move_back(settings: DatabaseSettings) {
    let store = open_store(&settings).await;
    let (room, user) = (RoomId(Uuid::now_v7()), UserId(Uuid::now_v7()));
    for (delivered, seen) in [(5, 3), (4, 4), (6, 1)] {
        store.save_marks(&[(room, user, Mark { delivered, seen })]).await.unwrap();
    }
    assert_eq!(store.marks(room).await.unwrap()[&user], Mark { delivered: 6, seen: 4 });
}

async fn room_is_due_from_its_wake_time_on(settings: DatabaseSettings) {
    let store = open_store(&settings).await;
    let (doctor, slots) = doctor_with_slots(&store, 1).await;
    let (_, append) = slot_request(&slots[0], &doctor);
    let due = append.wake_at.expect("the hold ends");
    assert_eq!(store.append(std::slice::from_ref(&append)).await.unwrap(), [Appended::Committed]);
    let before = Timestamp::from_micros(due.micros() - 1);
    assert_eq!(store.due_rooms(before, 10).await.unwrap(), []);
    assert_eq!(store.due_rooms(due, 10).await.unwrap(), [(append.room, due)]);
    assert_eq!(store.due_rooms(due.plus(Duration::from_secs(86_400)), 10).await.unwrap(), [(append.room, due)]);
}

both! {
    open_items_stay_in_a_feed_however_many_follow
    lobby_orders_by_arrival_and_estimates_from_recent_consultations
    full_waiting_room_says_how_many_patients_are_missing
    lobby_puts_a_patient_whose_slot_has_begun_before_walk_ins
    one_of_many_concurrent_refreshes_wins
    one_of_many_requests_with_the_same_key_runs
    read_receipts_never_move_back
    room_is_due_from_its_wake_time_on
}
