//! A slot is given to one patient, however many want it at the same time.

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

/// How often somebody asks who gets no answer, or one that says to ask again.
const AGAIN: usize = 60;
const SLOTS: usize = 50;
const PATIENTS: usize = 10;
const QUARTER: Duration = Duration::from_secs(900);

async fn of_ten_patients_who_want_a_slot_at_once_one_gets_it(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let doctor = server.person(Role::Doctor, "Doc", None).await;
    let doctor_id = doctor.user().unwrap();
    let tomorrow = server.state.clock.now().plus(Duration::from_secs(86_400));
    let slot = |at: usize| {
        let starts_at = tomorrow.plus(QUARTER * u32::try_from(at).unwrap());
        PublishedSlot { id: SlotId(Uuid::now_v7()), starts_at, ends_at: starts_at.plus(QUARTER), room: None }
    };
    let slots: Vec<PublishedSlot> = (0..SLOTS).map(slot).collect();
    server.state.store.publish_slots(doctor_id, &slots).await.unwrap();
    let mut tokens = Vec::new();
    for number in 0..PATIENTS {
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
                // A slow machine may have too much to do. It is asked again with the same key, as clients do.
                for _ in 0..AGAIN {
                    let again = call.try_clone().expect("its body is in memory");
                    if let Ok(answer) = again.send().await {
                        let status = answer.status().as_u16();
                        let body: Value = answer.json().await.expect("JSON");
                        if status != 503 && body["code"] != "in_flight" {
                            return (slot, status, body);
                        }
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                panic!("the hub answers nothing else, or not at all");
            });
        }
    }
    let mut rooms: BTreeMap<SlotId, String> = BTreeMap::new();
    for (slot, status, body) in calls.join_all().await {
        if status == 201 {
            let room = body["room"].as_str().expect("a room").to_owned();
            assert!(rooms.insert(slot, room).is_none(), "a slot was given twice");
        } else {
            assert_eq!((status, &body["code"]), (409, &json!("slot_taken")), "{body}");
        }
    }
    assert_eq!(rooms.len(), SLOTS, "every slot was given to somebody");

    // What the doctor sees agrees with what the patients were told.
    let own = format!("http://{}/v1/slots", server.address);
    let list: Value =
        http.get(own).bearer_auth(server.token(&doctor).0).send().await.unwrap().json().await.expect("JSON");
    let listed = list["items"].as_array().expect("items").iter();
    let listed: BTreeMap<SlotId, String> = listed
        .map(|it| (serde_json::from_value(it["id"].clone()).unwrap(), it["room"].as_str().unwrap_or("-").to_owned()))
        .collect();
    assert_eq!(listed, rooms);
}

both! { of_ten_patients_who_want_a_slot_at_once_one_gets_it }
