//! Errors: every invalid request has a code and changes nothing.

use rooms::role::Role;
use serde_json::{Value, json};
use uuid::Uuid;
use wardroom::config::DatabaseSettings;

use crate::support::both;
use crate::support::database::Database;
use crate::support::rest::RestClient;

/// Opens a room with a walk-in patient in the waiting room; returns it with both tokens.
async fn waiting_consultation(rest: &RestClient) -> (String, String, String) {
    let (patient, patient_token) = rest.person_with_token(Role::Patient, None).await;
    let (doctor, doctor_token) = rest.person_with_token(Role::Doctor, None).await;
    let room = rest.server.waiting_room(&patient, &doctor).await;
    (room.to_string(), patient_token, doctor_token)
}

async fn head(rest: &RestClient, room: &str, token: &str) -> u64 {
    rest.get(&format!("/v1/consultations/{room}")).bearer(token).send().await.ok()["head"].as_u64().unwrap()
}

async fn invalid_requests_are_rejected_without_effect(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let (room, patient, _) = waiting_consultation(&rest).await;
    let before = head(&rest, &room, &patient).await;
    let path = format!("/v1/consultations/{room}/commands");
    let chat = |text: &str| json!({"kind": "chat.send", "data": {"text": text}});
    let mut deep = "[".repeat(20_000);
    deep.push_str(&"]".repeat(20_000));
    let cases: Vec<(&str, String, u16, &str)> = vec![
        ("an unknown field", json!({"command": chat("hi"), "SECRET": 1}).to_string(), 400, "malformed"),
        (
            "an unknown field inside",
            json!({"command": {"kind": "chat.send", "data": {"text": "hi", "SECRET": 1}}}).to_string(),
            400,
            "malformed",
        ),
        ("an unknown kind", json!({"command": {"kind": "SECRET", "data": {}}}).to_string(), 400, "malformed"),
        ("a wrong type", json!({"command": chat("hi"), "expect": "SECRET"}).to_string(), 400, "malformed"),
        ("a negative version", json!({"command": chat("hi"), "expect": -1}).to_string(), 400, "malformed"),
        ("a missing field", json!({}).to_string(), 400, "malformed"),
        ("deep JSON", deep, 400, "malformed"),
        ("broken JSON", "{\"command\": SECRET".to_owned(), 400, "malformed"),
        ("nothing", String::new(), 400, "malformed"),
        ("an empty text", json!({"command": chat("  ")}).to_string(), 422, "invalid"),
        ("a NUL", json!({"command": chat("SECRET\u{0}")}).to_string(), 422, "invalid"),
        ("a text that is too long", json!({"command": chat(&"x".repeat(4001))}).to_string(), 422, "invalid"),
        ("a body that is too large", json!({"command": chat(&"x".repeat(300_000))}).to_string(), 413, "too_large"),
        ("a command of the hub's own", json!({"command": {"kind": "timer", "data": {}}}).to_string(), 403, "forbidden"),
        (
            "a command that opens a room",
            json!({"command": {"kind": "consultation.request", "data": {}}}).to_string(),
            403,
            "forbidden",
        ),
    ];
    for (what, body, status, code) in cases {
        let call = rest.post(&path).bearer(&patient).header("content-type", "application/json").raw(body);
        let answer = call.send().await;
        println!("{what}: {}", answer.text);
        answer.assert_problem(status, code);
        assert!(!answer.text.contains("SECRET"), "{what} is echoed: {}", answer.text);
    }
    let large = json!({"email": "a@example.org", "password": "x".repeat(300_000)});
    rest.call("post", "/v1/auth/sign-in").json(large).send().await.assert_problem(413, "too_large");
    let form = rest.post(&path).bearer(&patient).header("content-type", "text/plain").raw(chat("hi").to_string());
    form.send().await.assert_problem(400, "malformed");
    assert_eq!(head(&rest, &room, &patient).await, before);
}

async fn foreign_rooms_look_like_missing_rooms(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let (room, _, _) = waiting_consultation(&rest).await;
    let absent = Uuid::now_v7().to_string();
    for role in [Role::Patient, Role::Doctor, Role::Pharmacist, Role::Courier, Role::Support, Role::Admin] {
        let stranger = rest.token(role).await;
        let mut answers = Vec::new();
        for room in [&room, &absent] {
            let shown = rest.get(&format!("/v1/consultations/{room}")).bearer(&stranger).send().await;
            let events = rest.get(&format!("/v1/rooms/{room}/events")).bearer(&stranger).send().await;
            let command = json!({"command": {"kind": "chat.send", "data": {"text": "hi"}}});
            let sent =
                rest.post(&format!("/v1/consultations/{room}/commands")).bearer(&stranger).json(command).send().await;
            assert_eq!(shown.status, 404, "{role:?} {}", shown.text);
            assert_eq!(events.status, 404, "{role:?} {}", events.text);
            assert!([403, 404].contains(&sent.status.as_u16()), "{role:?} {}", sent.text);
            answers.push([shown.text, events.text, sent.text]);
        }
        // An administrator may open any record with a reason, and may therefore know that it exists.
        let may_know = role == Role::Admin;
        assert!(may_know || answers[0] == answers[1], "{role:?} can detect that the room exists: {answers:?}");
    }
    let patient = rest.token(Role::Patient).await;
    rest.get("/v1/consultations/not-an-id").bearer(&patient).send().await.assert_problem(404, "not_found");
}

async fn stale_versions_and_illegal_moves_report_the_current_state(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let (room, patient, doctor) = waiting_consultation(&rest).await;
    let path = format!("/v1/consultations/{room}/commands");
    let version = |case: &Value| case["snapshot"]["consultation"]["version"].as_u64().unwrap();
    let case = rest.get(&format!("/v1/consultations/{room}")).bearer(&doctor).send().await.ok();
    let stale = version(&case) - 1;
    let admit = json!({"command": {"kind": "consultation.admit", "data": {}}, "expect": stale});
    let answer = rest.post(&path).bearer(&doctor).json(admit).send().await;
    answer.assert_problem(409, "stale_version");
    assert_eq!(answer.json["version"], version(&case));
    assert_eq!(answer.json["state"], "waiting");

    let end = json!({"command": {"kind": "consultation.end", "data": {}}});
    let answer = rest.post(&path).bearer(&doctor).json(end).send().await;
    answer.assert_problem(409, "illegal_transition");
    assert_eq!(answer.json["state"], "waiting");
    assert!(answer.json["allowed"].as_array().unwrap().contains(&json!("consultation.admit")), "{}", answer.text);

    let note = json!({"reason": "too late"});
    let cancel = format!("/v1/bookings/{room}/cancel");
    rest.post(&cancel)
        .bearer(&patient)
        .header("if-match", "\"1\"")
        .json(note.clone())
        .send()
        .await
        .assert_problem(412, "precondition_failed");
    rest.post(&cancel)
        .bearer(&patient)
        .header("if-match", "*")
        .json(note)
        .send()
        .await
        .assert_problem(412, "precondition_failed");
    let after = rest.get(&format!("/v1/consultations/{room}")).bearer(&doctor).send().await.ok();
    assert_eq!(after["head"], case["head"], "nothing has changed");
}

async fn unknown_paths_and_methods_are_problems_too(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    rest.get("/v1/nothing").send_unchecked().await.assert_problem(404, "not_found");
    rest.get("/nothing.html").send_unchecked().await.assert_problem(404, "not_found");
    rest.get("/../Cargo.toml").send_unchecked().await.assert_problem(404, "not_found");
    rest.get("/%2e%2e/Cargo.toml").send_unchecked().await.assert_problem(404, "not_found");
    let answer = rest.call("delete", "/v1/me").send_unchecked().await;
    answer.assert_problem(405, "method_not_allowed");
    assert!(answer.header("allow").contains("GET"));
    rest.call("post", "/docs.html").send_unchecked().await.assert_problem(405, "method_not_allowed");
    let patient = rest.token(Role::Patient).await;
    for query in ["?limit=0", "?limit=201"] {
        rest.get(&format!("/v1/doctors{query}")).bearer(&patient).send().await.assert_problem(422, "invalid");
    }
    for query in ["?limit=x", "?SECRET=1", "?cursor=nonsense"] {
        let answer = rest.get(&format!("/v1/doctors{query}")).bearer(&patient).send().await;
        answer.assert_problem(400, "malformed");
        assert!(!answer.text.contains("SECRET"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_with_a_missing_body_times_out() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let database = Database::sqlite();
    let rest = RestClient::start(database.settings()).await;
    let mut socket = tokio::net::TcpStream::connect(rest.server.address).await.unwrap();
    let head =
        "POST /v1/auth/sign-in HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 64];
    let read = tokio::time::timeout(std::time::Duration::from_secs(40), socket.read(&mut answer)).await;
    let read = read.expect("the hub closes the request within its time limit").unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 503"), "{}", String::from_utf8_lossy(&answer));
}

both! {
    invalid_requests_are_rejected_without_effect
    foreign_rooms_look_like_missing_rooms
    stale_versions_and_illegal_moves_report_the_current_state
    unknown_paths_and_methods_are_problems_too
}
