//! Versions: the `ETag` of a resource is what its own actions take as `If-Match`.

use std::time::Duration;

use rooms::id::SlotId;
use rooms::role::Role;
use serde_json::{Value, json};
use uuid::Uuid;
use wardroom::config::DatabaseSettings;
use wardroom::store::slots::PublishedSlot;

use crate::support::both;
use crate::support::rest::RestClient;

/// Reads a resource, then acts on it with its `ETag`. The action must succeed, and fail when it is repeated.
async fn act(rest: &RestClient, token: &str, resource: &str, action: &str, body: Value) {
    let etag = rest.get(resource).bearer(token).send().await.header("etag").to_owned();
    assert!(!etag.is_empty(), "{resource} has no ETag");
    let call = || rest.post(action).bearer(token).header("if-match", &etag).json(body.clone()).send();
    let first = call().await;
    assert_eq!(first.status, 200, "{action} with {etag}: {}", first.text);
    call().await.assert_problem(412, "precondition_failed");
}

async fn actions_take_the_etag_of_their_resource(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let (doctor, doctor_token) = rest.person_with_token(Role::Doctor, None).await;
    let patient = rest.token(Role::Patient).await;
    let now = rest.server.state.clock.now();
    let slots: Vec<PublishedSlot> = (1..4)
        .map(|at| {
            let starts_at = now.plus(Duration::from_secs(at * 86_400));
            let ends_at = starts_at.plus(Duration::from_secs(900));
            PublishedSlot { id: SlotId(Uuid::now_v7()), starts_at, ends_at, room: None }
        })
        .collect();
    rest.server.state.store.publish_slots(doctor.user().unwrap(), &slots).await.unwrap();
    let booked = rest.post("/v1/bookings").bearer(&patient).json(json!({"slot": slots[0].id})).send().await.ok();
    let room = booked["room"].as_str().unwrap();
    let (case, booking) = (format!("/v1/consultations/{room}"), format!("/v1/bookings/{room}"));
    let chat = json!({"command": {"kind": "chat.send", "data": {"text": "hello"}}});
    let say = || rest.post(&format!("{case}/commands")).bearer(&doctor_token).json(chat.clone()).send();
    say().await.ok();
    act(&rest, &patient, &case, &format!("{booking}/confirm"), json!({})).await;
    say().await.ok();
    act(&rest, &doctor_token, &case, &format!("{booking}/reschedule"), json!({"slot": slots[1].id})).await;
    say().await.ok();
    act(&rest, &patient, &case, &format!("{booking}/cancel"), json!({"reason": "better"})).await;
}

async fn prescription_actions_take_its_etag(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let case = rest.server.case().await;
    let (doctor, pharmacist) = (rest.server.token(&case.doctor).0, rest.server.token(&case.pharmacist).0);
    let items = json!({"items": [{"medicine": "Testamol", "dosage": "one a day", "quantity": 10, "days": 10}]});
    let draft = format!("/v1/consultations/{}/prescriptions", case.room);
    let drafted = rest.post(&draft).bearer(&doctor).json(items.clone()).send().await.ok();
    let path = format!("/v1/prescriptions/{}", drafted["prescription"].as_str().unwrap());
    let etag = rest.get(&path).bearer(&doctor).send().await.header("etag").to_owned();
    let key = Uuid::now_v7().to_string();
    let amend = rest.call("put", &path).key(&key).bearer(&doctor).header("if-match", &etag).json(items);
    assert_eq!(amend.send().await.status, 200);
    act(&rest, &doctor, &path, &format!("{path}/sign"), json!({})).await;
    act(&rest, &doctor, &path, &format!("{path}/cancel"), json!({"reason": "a mistake"})).await;
    let queue = rest.get("/v1/dispensings").bearer(&pharmacist).send().await.ok();
    let path = format!("/v1/dispensings/{}", queue["items"][0]["dispensing"].as_str().unwrap());
    act(&rest, &pharmacist, &path, &format!("{path}/claim"), json!({})).await;
    act(&rest, &pharmacist, &path, &format!("{path}/moves"), json!({"to": "preparing"})).await;
    let seen = rest.get(&format!("/v1/consultations/{}", case.room)).bearer(&pharmacist).send().await;
    assert_eq!(seen.header("etag"), "", "a pharmacy sees no consultation whose version it could name");
}

async fn account_changes_take_its_etag(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let admin = rest.token(Role::Admin).await;
    let user = rest.server.person(Role::Patient, "Pat", None).await.user().unwrap();
    let path = format!("/v1/users/{user}");
    let mut etag = rest.get(&path).bearer(&admin).send().await.header("etag").to_owned();
    for status in ["disabled", "active"] {
        let key = Uuid::now_v7().to_string();
        let change = rest.call("patch", &path).key(&key).bearer(&admin).header("if-match", &etag);
        let changed = change.json(json!({"status": status})).send().await;
        assert_eq!(changed.status, 200, "{}", changed.text);
        etag = changed.header("etag").to_owned();
    }
}

both! {
    actions_take_the_etag_of_their_resource
    prescription_actions_take_its_etag
    account_changes_take_its_etag
}
