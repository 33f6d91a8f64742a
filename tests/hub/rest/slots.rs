//! Slots over REST: those that have begun, and lists longer than a page.

use std::time::Duration;

use rooms::id::SlotId;
use rooms::role::Role;
use rooms::time::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;
use wardroom::config::DatabaseSettings;
use wardroom::store::slots::PublishedSlot;

use crate::support::both;
use crate::support::rest::RestClient;

const MINUTE: Duration = Duration::from_secs(60);

fn slot_at(starts_at: Timestamp, length: Duration) -> PublishedSlot {
    PublishedSlot { id: SlotId(Uuid::now_v7()), starts_at, ends_at: starts_at.plus(length), room: None }
}

async fn started_slot_is_not_free_and_cannot_be_booked(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let (doctor, _) = rest.person_with_token(Role::Doctor, None).await;
    let (patient_actor, patient) = rest.person_with_token(Role::Patient, None).await;
    let clock = &rest.server.state.clock;
    let (from, id) = (clock.now(), doctor.user().unwrap());
    let (first, second) = (slot_at(from.plus(MINUTE), 60 * MINUTE), slot_at(from.plus(90 * MINUTE), 60 * MINUTE));
    rest.server.state.store.publish_slots(id, &[first.clone(), second.clone()]).await.unwrap();
    let booked = rest.post("/v1/bookings").bearer(&patient).json(json!({"slot": second.id})).send().await.ok();
    let path = format!("/v1/bookings/{}", booked["room"].as_str().unwrap());
    rest.post(&format!("{path}/confirm")).bearer(&patient).json(json!({})).send().await.ok();
    clock.advance(17 * MINUTE);
    // The first tokens have expired by now.
    let (patient, doctor_token) = (rest.server.token(&patient_actor).0, rest.server.token(&doctor).0);

    let book = rest.post("/v1/bookings").bearer(&patient).json(json!({"slot": first.id})).send().await;
    book.assert_problem(422, "invalid");
    assert_eq!(book.json["field"], "slot");
    let reschedule = rest.post(&format!("{path}/reschedule")).bearer(&patient).json(json!({"slot": first.id}));
    reschedule.send().await.assert_problem(422, "invalid");
    for (path, token) in [(format!("/v1/doctors/{id}/slots"), &patient), ("/v1/slots".to_owned(), &doctor_token)] {
        let query = format!("{path}?from={}", from);
        let listed = rest.get(&query).bearer(token).send().await.ok();
        let free: Vec<&Value> = listed["items"].as_array().unwrap().iter().map(|slot| &slot["free"]).collect();
        assert_eq!(free, [false, false], "{path}");
    }
}

async fn patient_keeps_the_whole_grace_period_after_a_late_confirmation(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let (doctor, _) = rest.person_with_token(Role::Doctor, None).await;
    let patient = rest.token(Role::Patient).await;
    let state = &rest.server.state;
    let slot = slot_at(state.clock.now().plus(MINUTE), 60 * MINUTE);
    state.store.publish_slots(doctor.user().unwrap(), std::slice::from_ref(&slot)).await.unwrap();
    let booked = rest.post("/v1/bookings").bearer(&patient).json(json!({"slot": slot.id})).send().await.ok();
    let room = booked["room"].as_str().unwrap();
    state.clock.advance(4 * MINUTE);
    rest.post(&format!("/v1/bookings/{room}/confirm")).bearer(&patient).json(json!({})).send().await.ok();
    let confirmed_at = state.clock.now();
    let grace = Duration::from_secs(state.config.policy.patient_grace_s.into());
    let case = rest.get(&format!("/v1/consultations/{room}")).bearer(&patient).send().await.ok();
    let until: Timestamp = serde_json::from_value(case["snapshot"]["consultation"]["until"].clone()).unwrap();
    assert!(until.plus(Duration::from_secs(30)) >= confirmed_at.plus(grace), "the patient has until {until}");
}

async fn every_slot_of_a_long_list_is_returned_once(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let (doctor, token) = rest.person_with_token(Role::Doctor, None).await;
    let patient = rest.token(Role::Patient).await;
    let tomorrow = rest.server.state.clock.now().plus(24 * 60 * MINUTE);
    let slots: Vec<PublishedSlot> = (0..620).map(|at| slot_at(tomorrow.plus(MINUTE * at), MINUTE)).collect();
    let id = doctor.user().unwrap();
    rest.server.state.store.publish_slots(id, &slots).await.unwrap();
    let published: Vec<String> = slots.iter().map(|slot| slot.id.to_string()).collect();
    for (path, token) in [(format!("/v1/doctors/{id}/slots"), &patient), ("/v1/slots".to_owned(), &token)] {
        let (mut seen, mut query) = (Vec::new(), path.clone());
        loop {
            let page = rest.get(&query).bearer(token).send().await.ok();
            seen.extend(page["items"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()));
            let Some(next) = page["next"].as_str() else { break };
            query = format!("{path}?cursor={next}");
        }
        assert!(seen == published, "{path} returned {} slots", seen.len());
    }
}

both! {
    started_slot_is_not_free_and_cannot_be_booked
    patient_keeps_the_whole_grace_period_after_a_late_confirmation
    every_slot_of_a_long_list_is_returned_once
}
