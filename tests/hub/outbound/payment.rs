//! A booking that costs something, with the played provider: from the checkout page to the receipt, and every way back.

use std::time::Duration;

use rooms::command::{CheckIn, Command, Reason};
use rooms::id::RoomId;
use rooms::text::{Line, Prose};
use serde_json::{Value, json};
use wardroom::config::DatabaseSettings;
use wardroom::store::dispatches::{DispatchState, Sink};

use crate::support::both;
use crate::support::till::{Till, eventually};

async fn start(database: DatabaseSettings) -> Till {
    Till::start(database, |_| {}).await
}

/// What a person does on the checkout page.
async fn settle(till: &Till, room: RoomId, action: &str) -> Value {
    let page = till.checkout(room).await;
    let shown = till.rest.get(&page).send().await;
    assert!(shown.status.is_success() && shown.text.contains("no money moves"), "{}", shown.text);
    assert_eq!(shown.text.matches("<script").count(), 1, "no script but the linked one");
    let id = page.rsplit('/').next().unwrap();
    let path = format!("/v1/sandbox/payments/{id}");
    till.rest.call("post", &path).json(json!({"action": action})).send().await.ok()
}

/// Where the played provider says that the money is.
async fn played(till: &Till, page: &str) -> String {
    let id = page.rsplit('/').next().unwrap();
    let payment = till.rest.get(&format!("/v1/sandbox/payments/{id}")).send().await.ok();
    payment["state"].as_str().unwrap().to_owned()
}

async fn a_booking_is_paid_on_the_page_confirmed_and_captured_at_its_end(database: DatabaseSettings) {
    let till = start(database).await;
    let room = till.book().await;
    assert_eq!(till.stands(room).await, ("requested", "pending"));
    let confirm = till.rest.post(&format!("/v1/bookings/{room}/confirm")).by(&till.token).json(json!({}));
    confirm.send().await.refused(409, "illegal_transition");
    let page = till.checkout(room).await;
    assert_eq!(settle(&till, room, "pay").await["state"], "authorized");
    assert_eq!(till.stands(room).await, ("booked", "authorized"));
    let status = till.rest.get(&format!("/v1/bookings/{room}/payment")).by(&till.token).send().await.ok();
    assert_eq!((&status["state"], &status["checkout_url"]), (&json!("authorized"), &Value::Null));

    till.complete(room).await;
    till.until(room, "completed", "captured").await;
    assert_eq!(played(&till, &page).await, "captured");
    // Paid is paid: pressing the button again does nothing.
    let id = page.rsplit('/').next().unwrap();
    let again = till.rest.call("post", &format!("/v1/sandbox/payments/{id}")).json(json!({"action": "pay"}));
    again.send().await.refused(409, "illegal_transition");
}

async fn a_hold_that_nobody_pays_gives_the_slot_back_and_takes_no_money_later(database: DatabaseSettings) {
    let till = start(database).await;
    let slot = till.slot(Duration::from_secs(3600)).await;
    let room = till.book_slot(slot).await;
    let page = till.checkout(room).await;
    till.skip(Duration::from_secs(u64::from(till.clinic().state.config.policy.hold_s) + 1));
    till.until(room, "expired", "failed").await;
    assert_eq!(played(&till, &page).await, "released");
    let id = page.rsplit('/').next().unwrap();
    let late = till.rest.call("post", &format!("/v1/sandbox/payments/{id}")).json(json!({"action": "pay"}));
    late.send().await.refused(409, "illegal_transition");
    assert_eq!(till.stands(room).await, ("expired", "failed"));
    // The slot is somebody's who pays.
    let other = till.book_slot(slot).await;
    settle(&till, other, "pay").await;
    assert_eq!(till.stands(other).await, ("booked", "authorized"));
}

async fn a_declined_payment_gives_the_slot_back_at_once(database: DatabaseSettings) {
    let till = start(database).await;
    let slot = till.slot(Duration::from_secs(3600)).await;
    let room = till.book_slot(slot).await;
    settle(&till, room, "decline").await;
    assert_eq!(till.stands(room).await, ("expired", "failed"));
    till.book_slot(slot).await;
}

async fn money_goes_back_on_cancellation_and_when_the_doctor_does_not_come(database: DatabaseSettings) {
    let till = start(database).await;
    let cancelled = till.book().await;
    let page = till.checkout(cancelled).await;
    settle(&till, cancelled, "pay").await;
    let reason = Prose::parse("better already").unwrap();
    till.clinic().submit(cancelled, &till.patient, Command::Cancel(Reason { reason })).await.unwrap();
    till.until(cancelled, "cancelled", "refunded").await;
    assert_eq!(played(&till, &page).await, "released");

    let alone = till.book_slot(till.slot(Duration::from_secs(7200)).await).await;
    let page = till.checkout(alone).await;
    settle(&till, alone, "pay").await;
    let (consent, identity) = (till.clinic().state.config.policy.consent.clone(), Line::parse("account").unwrap());
    let check_in = Command::CheckIn(CheckIn { consent, identity });
    till.clinic().submit(alone, &till.patient, check_in).await.unwrap();
    till.skip(Duration::from_secs(4 * 3600));
    till.until(alone, "no_show", "refunded").await;
    assert_eq!(played(&till, &page).await, "released");
}

async fn a_patient_who_does_not_come_pays(database: DatabaseSettings) {
    let till = start(database).await;
    let room = till.book().await;
    settle(&till, room, "pay").await;
    till.skip(Duration::from_secs(3600));
    till.until(room, "no_show", "captured").await;
}

async fn a_walk_in_pays_before_checking_in(database: DatabaseSettings) {
    let till = start(database).await;
    let walk_in = json!({"doctor": till.doctor.user()});
    let booking = till.rest.post("/v1/bookings").by(&till.token).json(walk_in).send().await.ok();
    let room: RoomId = serde_json::from_value(booking["room"].clone()).unwrap();
    settle(&till, room, "pay").await;
    assert_eq!(till.stands(room).await, ("requested", "authorized"));
    till.complete(room).await;
    till.until(room, "completed", "captured").await;
}

async fn a_sandbox_that_fails_is_asked_until_it_works_and_one_that_says_all_twice_changes_nothing(
    database: DatabaseSettings,
) {
    let till = start(database).await;
    let room = till.book().await;
    let page = till.checkout(room).await;
    let whims = format!("/v1/sandbox/payments/{}/whims", page.rsplit('/').next().unwrap());
    let tell = async |fails: bool, twice: bool| {
        let body = json!({"fails": fails, "slow": false, "twice": twice});
        till.rest.call("put", &whims).json(body).send().await.ok()
    };
    tell(false, true).await;
    settle(&till, room, "pay").await;
    assert_eq!(till.stands(room).await, ("booked", "authorized"));
    let events = till.clinic().state.store.events_after(room, 0, 100).await.unwrap();
    let moves = events.iter().filter(|it| it.canonical.contains("\"payment.moved\"")).count();
    assert_eq!(moves, 2, "asked for and authorized, each once");

    tell(true, false).await;
    till.complete(room).await;
    eventually("an attempt fails", async || {
        let lanes = till.clinic().state.store.lanes().await.unwrap();
        lanes.iter().find(|lane| lane.state == DispatchState::Waiting && lane.attempts >= 2).map(drop).or_else(|| {
            till.skip(Duration::from_secs(5));
            None
        })
    })
    .await;
    assert_eq!(till.stands(room).await, ("completed", "authorized"));
    tell(false, false).await;
    till.settled(Sink::Payment).await;
    assert_eq!(till.stands(room).await, ("completed", "captured"));
}

async fn a_free_consultation_knows_no_payment(database: DatabaseSettings) {
    let till = Till::start(database, |config| config.policy.price = 0).await;
    let slot = till.slot(Duration::from_secs(600)).await;
    let booking = till.rest.post("/v1/bookings").by(&till.token).json(json!({"slot": slot})).send().await.ok();
    assert_eq!(booking["payment"], Value::Null);
    let room = booking["room"].as_str().unwrap();
    let path = format!("/v1/bookings/{room}/payment");
    till.rest.get(&path).by(&till.token).send().await.refused(404, "not_found");
    let confirmed = till.rest.post(&format!("/v1/bookings/{room}/confirm")).by(&till.token).json(json!({}));
    assert_eq!(confirmed.send().await.status, 200);
    // And a stranger learns nothing of anybody's payment.
    let (_, stranger) = till.rest.someone(rooms::role::Role::Patient, None).await;
    till.rest.get(&path).by(&stranger).send().await.refused(404, "not_found");
}

both! {
    a_booking_is_paid_on_the_page_confirmed_and_captured_at_its_end
    a_hold_that_nobody_pays_gives_the_slot_back_and_takes_no_money_later
    a_declined_payment_gives_the_slot_back_at_once
    money_goes_back_on_cancellation_and_when_the_doctor_does_not_come
    a_patient_who_does_not_come_pays
    a_walk_in_pays_before_checking_in
    a_sandbox_that_fails_is_asked_until_it_works_and_one_that_says_all_twice_changes_nothing
    a_free_consultation_knows_no_payment
}
