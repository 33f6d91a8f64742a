//! Concurrent bookings: each slot goes to exactly one patient.

use std::collections::BTreeMap;
use std::time::Duration;

use rooms::id::{CommandId, SlotId};
use rooms::role::Role;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;
use wardroom::config::DatabaseSettings;
use wardroom::store::slots::PublishedSlot;

use crate::support::both;
use crate::support::test_server::TestServer;

/// How often a request is repeated that gets no answer, or a retryable one.
const MAX_ATTEMPTS: usize = 60;
const SLOT_COUNT: usize = 50;
const PATIENT_COUNT: usize = 10;
const SLOT_LENGTH: Duration = Duration::from_secs(900);

async fn concurrent_bookings_give_each_slot_to_one_patient(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let doctor = server.person(Role::Doctor, "Doc", None).await;
    let doctor_id = doctor.user().unwrap();
    let tomorrow = server.state.clock.now().plus(Duration::from_secs(86_400));
    let slot = |at: usize| {
        let starts_at = tomorrow.plus(SLOT_LENGTH * u32::try_from(at).unwrap());
        PublishedSlot { id: SlotId(Uuid::now_v7()), starts_at, ends_at: starts_at.plus(SLOT_LENGTH), room: None }
    };
    let slots: Vec<PublishedSlot> = (0..SLOT_COUNT).map(slot).collect();
    server.state.store.publish_slots(doctor_id, &slots).await.unwrap();
    let mut tokens = Vec::new();
    for number in 0..PATIENT_COUNT {
        let patient = server.person(Role::Patient, &format!("Pat {number}"), None).await;
        tokens.push(server.token(&patient).0);
    }

    let http = reqwest::Client::new();
    let url = format!("http://{}/v1/bookings", server.address);
    let mut calls = JoinSet::new();
    for slot in &slots {
        for token in &tokens {
            let call =
                http.post(&url).bearer_auth(token).header("idempotency-key", CommandId(Uuid::now_v7()).to_string());
            let call = call.json(&json!({"slot": slot.id}));
            let slot = slot.id;
            calls.spawn(async move {
                // A slow machine may be overloaded, so repeat with the same key, as clients do.
                for _ in 0..MAX_ATTEMPTS {
                    let again = call.try_clone().expect("the body is in memory");
                    if let Ok(answer) = again.send().await {
                        let status = answer.status().as_u16();
                        let body: Value = answer.json().await.expect("JSON");
                        if status != 503 && body["code"] != "in_flight" {
                            return (slot, status, body);
                        }
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                panic!("no final answer within the allowed attempts");
            });
        }
    }
    let mut rooms: BTreeMap<SlotId, String> = BTreeMap::new();
    for (slot, status, body) in calls.join_all().await {
        if status == 201 {
            let room = body["room"].as_str().expect("a room").to_owned();
            assert!(rooms.insert(slot, room).is_none(), "a slot was booked twice");
        } else {
            assert_eq!((status, &body["code"]), (409, &json!("slot_taken")), "{body}");
        }
    }
    assert_eq!(rooms.len(), SLOT_COUNT, "every slot was booked");

    // The doctor's list agrees with what the patients were answered.
    let own = format!("http://{}/v1/slots", server.address);
    let list: Value =
        http.get(own).bearer_auth(server.token(&doctor).0).send().await.unwrap().json().await.expect("JSON");
    let listed = list["items"].as_array().expect("items").iter();
    let listed: BTreeMap<SlotId, String> = listed
        .map(|it| (serde_json::from_value(it["id"].clone()).unwrap(), it["room"].as_str().unwrap_or("-").to_owned()))
        .collect();
    assert_eq!(listed, rooms);
}

both! { concurrent_bookings_give_each_slot_to_one_patient }
