//! Paid bookings with the sandbox provider: from the checkout page to the receipt, and every way to a refund.

use std::time::Duration;

use rooms::command::{CheckIn, Command, Reason};
use rooms::id::RoomId;
use rooms::text::{Line, Prose};
use serde_json::{Value, json};
use wardroom::config::DatabaseSettings;
use wardroom::store::dispatches::{DispatchState, Sink};

use crate::support::both;
use crate::support::paid_clinic::{PaidClinic, eventually};

async fn start(database: DatabaseSettings) -> PaidClinic {
    PaidClinic::start(database, |_| {}).await
}

/// Takes an action on the checkout page.
async fn settle(clinic: &PaidClinic, room: RoomId, action: &str) -> Value {
    let page = clinic.checkout_url(room).await;
    let shown = clinic.rest.get(&page).send().await;
    assert!(shown.status.is_success() && shown.text.contains("no money moves"), "{}", shown.text);
    assert_eq!(shown.text.matches("<script").count(), 1, "the page has only the linked script");
    let id = page.rsplit('/').next().unwrap();
    let path = format!("/v1/sandbox/payments/{id}");
    clinic.rest.call("post", &path).json(json!({"action": action})).send().await.ok()
}

/// Returns the payment's state at the sandbox provider.
async fn sandbox_state(clinic: &PaidClinic, page: &str) -> String {
    let id = page.rsplit('/').next().unwrap();
    let payment = clinic.rest.get(&format!("/v1/sandbox/payments/{id}")).send().await.ok();
    payment["state"].as_str().unwrap().to_owned()
}

async fn paid_booking_is_confirmed_and_captured_on_completion(database: DatabaseSettings) {
    let clinic = start(database).await;
    let room = clinic.book().await;
    assert_eq!(clinic.states(room).await, ("requested", "pending"));
    let confirm = clinic.rest.post(&format!("/v1/bookings/{room}/confirm")).bearer(&clinic.token).json(json!({}));
    confirm.send().await.assert_problem(409, "illegal_transition");
    let page = clinic.checkout_url(room).await;
    assert_eq!(settle(&clinic, room, "pay").await["state"], "authorized");
    assert_eq!(clinic.states(room).await, ("booked", "authorized"));
    let status = clinic.rest.get(&format!("/v1/bookings/{room}/payment")).bearer(&clinic.token).send().await.ok();
    assert_eq!((&status["state"], &status["checkout_url"]), (&json!("authorized"), &Value::Null));

    clinic.complete(room).await;
    clinic.wait_until(room, "completed", "captured").await;
    assert_eq!(sandbox_state(&clinic, &page).await, "captured");
    // Pressing the button again has no effect on a settled payment.
    let id = page.rsplit('/').next().unwrap();
    let again = clinic.rest.call("post", &format!("/v1/sandbox/payments/{id}")).json(json!({"action": "pay"}));
    again.send().await.assert_problem(409, "illegal_transition");
}

async fn unpaid_hold_releases_the_slot_and_accepts_no_late_payment(database: DatabaseSettings) {
    let clinic = start(database).await;
    let slot = clinic.slot(Duration::from_secs(3600)).await;
    let room = clinic.book_slot(slot).await;
    let page = clinic.checkout_url(room).await;
    clinic.advance_clock(Duration::from_secs(u64::from(clinic.server().state.config.policy.hold_s) + 1));
    clinic.wait_until(room, "expired", "failed").await;
    assert_eq!(sandbox_state(&clinic, &page).await, "released");
    let id = page.rsplit('/').next().unwrap();
    let late = clinic.rest.call("post", &format!("/v1/sandbox/payments/{id}")).json(json!({"action": "pay"}));
    late.send().await.assert_problem(409, "illegal_transition");
    assert_eq!(clinic.states(room).await, ("expired", "failed"));
    // The slot belongs to the patient who pays.
    let other = clinic.book_slot(slot).await;
    settle(&clinic, other, "pay").await;
    assert_eq!(clinic.states(other).await, ("booked", "authorized"));
}

async fn declined_payment_releases_the_slot_at_once(database: DatabaseSettings) {
    let clinic = start(database).await;
    let slot = clinic.slot(Duration::from_secs(3600)).await;
    let room = clinic.book_slot(slot).await;
    settle(&clinic, room, "decline").await;
    assert_eq!(clinic.states(room).await, ("expired", "failed"));
    clinic.book_slot(slot).await;
}

async fn cancellation_and_absent_doctor_are_refunded(database: DatabaseSettings) {
    let clinic = start(database).await;
    let cancelled = clinic.book().await;
    let page = clinic.checkout_url(cancelled).await;
    settle(&clinic, cancelled, "pay").await;
    let reason = Prose::parse("better already").unwrap();
    clinic.server().submit(cancelled, &clinic.patient, Command::Cancel(Reason { reason })).await.unwrap();
    clinic.wait_until(cancelled, "cancelled", "refunded").await;
    assert_eq!(sandbox_state(&clinic, &page).await, "released");

    let alone = clinic.book_slot(clinic.slot(Duration::from_secs(7200)).await).await;
    let page = clinic.checkout_url(alone).await;
    settle(&clinic, alone, "pay").await;
    let consent = clinic.server().state.config.policy.consent.as_str().parse().unwrap();
    let identity = Line::parse("account").unwrap();
    let check_in = Command::CheckIn(CheckIn { consent, identity });
    clinic.server().submit(alone, &clinic.patient, check_in).await.unwrap();
    clinic.advance_clock(Duration::from_secs(4 * 3600));
    clinic.wait_until(alone, "no_show", "refunded").await;
    assert_eq!(sandbox_state(&clinic, &page).await, "released");
}

async fn absent_patient_pays(database: DatabaseSettings) {
    let clinic = start(database).await;
    let room = clinic.book().await;
    settle(&clinic, room, "pay").await;
    clinic.advance_clock(Duration::from_secs(3600));
    clinic.wait_until(room, "no_show", "captured").await;
}

async fn walk_in_pays_before_checking_in(database: DatabaseSettings) {
    let clinic = start(database).await;
    let walk_in = json!({"doctor": clinic.doctor.user()});
    let booking = clinic.rest.post("/v1/bookings").bearer(&clinic.token).json(walk_in).send().await.ok();
    let room: RoomId = serde_json::from_value(booking["room"].clone()).unwrap();
    settle(&clinic, room, "pay").await;
    assert_eq!(clinic.states(room).await, ("requested", "authorized"));
    clinic.complete(room).await;
    clinic.wait_until(room, "completed", "captured").await;
}

async fn failing_sandbox_is_retried_and_duplicate_events_change_nothing(database: DatabaseSettings) {
    let clinic = start(database).await;
    let room = clinic.book().await;
    let page = clinic.checkout_url(room).await;
    let whims = format!("/v1/sandbox/payments/{}/whims", page.rsplit('/').next().unwrap());
    let configure_sandbox = async |fails: bool, twice: bool| {
        let body = json!({"fails": fails, "slow": false, "twice": twice});
        clinic.rest.call("put", &whims).json(body).send().await.ok()
    };
    configure_sandbox(false, true).await;
    settle(&clinic, room, "pay").await;
    assert_eq!(clinic.states(room).await, ("booked", "authorized"));
    let events = clinic.server().state.store.events_after(room, 0, 100).await.unwrap();
    let moves = events.iter().filter(|it| it.canonical.contains("\"payment.moved\"")).count();
    assert_eq!(moves, 2, "requested and authorized, each once");

    configure_sandbox(true, false).await;
    clinic.complete(room).await;
    eventually("an attempt fails", async || {
        let lanes = clinic.server().state.store.lanes().await.unwrap();
        lanes.iter().find(|lane| lane.state == DispatchState::Waiting && lane.attempts >= 2).map(drop).or_else(|| {
            clinic.advance_clock(Duration::from_secs(5));
            None
        })
    })
    .await;
    assert_eq!(clinic.states(room).await, ("completed", "authorized"));
    configure_sandbox(false, false).await;
    clinic.wait_until_settled(Sink::Payment).await;
    assert_eq!(clinic.states(room).await, ("completed", "captured"));
}

async fn free_consultation_has_no_payment(database: DatabaseSettings) {
    let clinic = PaidClinic::start(database, |config| config.policy.price = 0).await;
    let slot = clinic.slot(Duration::from_secs(600)).await;
    let booking = clinic.rest.post("/v1/bookings").bearer(&clinic.token).json(json!({"slot": slot})).send().await.ok();
    assert_eq!(booking["payment"], Value::Null);
    let room = booking["room"].as_str().unwrap();
    let path = format!("/v1/bookings/{room}/payment");
    clinic.rest.get(&path).bearer(&clinic.token).send().await.assert_problem(404, "not_found");
    let confirmed = clinic.rest.post(&format!("/v1/bookings/{room}/confirm")).bearer(&clinic.token).json(json!({}));
    assert_eq!(confirmed.send().await.status, 200);
    // A stranger learns nothing about anybody's payment.
    let (_, stranger) = clinic.rest.person_with_token(rooms::role::Role::Patient, None).await;
    clinic.rest.get(&path).bearer(&stranger).send().await.assert_problem(404, "not_found");
}

both! {
    paid_booking_is_confirmed_and_captured_on_completion
    unpaid_hold_releases_the_slot_and_accepts_no_late_payment
    declined_payment_releases_the_slot_at_once
    cancellation_and_absent_doctor_are_refunded
    absent_patient_pays
    walk_in_pays_before_checking_in
    failing_sandbox_is_retried_and_duplicate_events_change_nothing
    free_consultation_has_no_payment
}
