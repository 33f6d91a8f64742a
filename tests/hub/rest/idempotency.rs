//! Idempotency: a request with an `Idempotency-Key` takes effect once, however often and concurrently it is sent.

use std::collections::BTreeSet;
use std::time::Duration;

use rooms::role::Role;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;
use wardroom::config::DatabaseSettings;
use wardroom::store::idempotency::KeyState;

use crate::support::both;
use crate::support::rest::{RestClient, RestResponse};

fn slots(rest: &RestClient, from_minute: u64, count: u64) -> Value {
    let base = rest.server.state.clock.now();
    let at = |minute: u64| base.plus(Duration::from_secs(3600 + 60 * minute));
    let slots: Vec<Value> = (0..count)
        .map(|n| json!({"starts_at": at(from_minute + 10 * n), "ends_at": at(from_minute + 10 * n + 10)}))
        .collect();
    json!({"slots": slots})
}

fn assert_same_response(one: &RestResponse, other: &RestResponse) {
    assert_eq!((one.status, &one.text), (other.status, &other.text));
    for name in ["content-type", "etag", "location"] {
        assert_eq!(one.header(name), other.header(name), "{name}");
    }
}

async fn fifty_concurrent_duplicates_take_effect_once(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let (doctor, doctor_token) = rest.person_with_token(Role::Doctor, None).await;
    let slot = rest.post("/v1/slots").bearer(&doctor_token).json(slots(&rest, 0, 1)).send().await.ok();
    let patient = rest.token(Role::Patient).await;
    let key = Uuid::now_v7().to_string();
    let body = json!({"slot": slot["items"][0]["id"]});
    let calls = (0..50).map(|_| rest.call("post", "/v1/bookings").bearer(&patient).key(&key).json(body.clone()).send());
    let answers = futures_util::future::join_all(calls).await;
    let mut rooms = BTreeSet::new();
    for answer in &answers {
        match answer.status.as_u16() {
            201 => {
                rooms.insert(answer.json["room"].as_str().unwrap().to_owned());
            }
            _ => answer.assert_problem(409, "in_flight"),
        }
    }
    assert_eq!(rooms.len(), 1, "one booking for one key");
    let again = rest.call("post", "/v1/bookings").bearer(&patient).key(&key).json(body).send().await;
    assert_same_response(answers.iter().find(|answer| answer.status == 201).unwrap(), &again);
    let listed = rest.get("/v1/bookings").bearer(&patient).send().await.ok();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    let open = rest.get(&format!("/v1/doctors/{}/slots", doctor.user().unwrap())).bearer(&patient).send().await.ok();
    assert_eq!(open["items"][0]["free"], false);
}

async fn idempotency_key_is_scoped_to_person_operation_and_content(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let (one, other) = (rest.token(Role::Doctor).await, rest.token(Role::Doctor).await);
    let key = "a key that is no UUID".replace(' ', "-");
    let publish = |token: &str, body: Value| rest.call("post", "/v1/slots").bearer(token).key(&key).json(body);
    let first = publish(&one, slots(&rest, 0, 2)).send().await;
    assert_eq!(first.status, 201, "{}", first.text);
    publish(&one, slots(&rest, 500, 2)).send().await.assert_problem(422, "id_conflict");
    assert_eq!(publish(&other, slots(&rest, 0, 1)).send().await.status, 201, "keys are scoped by person");
    let id = first.json["items"][0]["id"].as_str().unwrap();
    let withdraw = || rest.call("delete", &format!("/v1/slots/{id}")).bearer(&one).key(&key).send();
    assert_eq!(withdraw().await.status, 204, "keys are scoped by operation");
    assert_eq!(withdraw().await.status, 204, "the stored response is repeated, although the slot is gone");
    let quoted = rest.call("delete", &format!("/v1/slots/{id}")).bearer(&one).key(&format!("\"{key}\"")).send().await;
    assert_eq!(quoted.status, 204, "quotation marks, as in the draft standard, do not change the key");
}

async fn refusals_are_repeated_like_other_responses(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let doctor = rest.token(Role::Doctor).await;
    let taken = slots(&rest, 0, 1);
    rest.post("/v1/slots").bearer(&doctor).json(taken.clone()).send().await.ok();
    let key = Uuid::now_v7().to_string();
    let publish = || rest.call("post", "/v1/slots").bearer(&doctor).key(&key).json(taken.clone()).send();
    let refused = publish().await;
    refused.assert_problem(409, "slot_overlap");
    assert_same_response(&refused, &publish().await);
}

async fn request_of_a_dead_hub_is_taken_over_with_the_same_result(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let (doctor, token) = rest.person_with_token(Role::Doctor, None).await;
    let (state, key) = (&rest.server.state, Uuid::now_v7().to_string());
    let body = slots(&rest, 0, 2);
    // The state that a hub leaves behind when it dies after publishing the slots and before answering.
    let mut hasher = Sha256::new();
    for part in [&b"/v1/slots"[..], b"", b"", body.to_string().as_bytes()] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let (hash, fresh, now) = (hasher.finalize().into(), state.clock.fresh_id(), state.clock.now());
    let user = doctor.user().unwrap();
    let started = state.store.claim_key(user, "publishSlots", &key, &hash, fresh, now, now).await.unwrap();
    assert_eq!(started, KeyState::Claimed(fresh));
    let publish = || rest.call("post", "/v1/slots").bearer(&token).key(&key).json(body.clone()).send();
    publish().await.assert_problem(409, "in_flight");
    let slots = body["slots"].as_array().unwrap().iter().enumerate().map(|(at, slot)| {
        let instant = |name: &str| serde_json::from_value(slot[name].clone()).unwrap();
        let id = rooms::id::SlotId(Uuid::new_v5(&fresh, &at.to_be_bytes()));
        wardroom::store::slots::PublishedSlot {
            id,
            starts_at: instant("starts_at"),
            ends_at: instant("ends_at"),
            room: None,
        }
    });
    let slots: Vec<_> = slots.collect();
    state.store.publish_slots(user, &slots).await.unwrap();
    state.clock.advance(Duration::from_secs(61));
    let answer = publish().await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let ids: Vec<&str> = answer.json["items"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!(ids, slots.iter().map(|slot| slot.id.to_string()).collect::<Vec<_>>());
}

both! {
    fifty_concurrent_duplicates_take_effect_once
    idempotency_key_is_scoped_to_person_operation_and_content
    refusals_are_repeated_like_other_responses
    request_of_a_dead_hub_is_taken_over_with_the_same_result
}
