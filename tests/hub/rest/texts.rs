//! Texts at the doors of the hub: what is refused names its field, and what is taken reads the same in every language.

use rooms::role::Role;
use serde_json::{Value, json};
use wardroom::config::DatabaseSettings;

use crate::support::both;
use crate::support::rest::{PASSWORD, RestClient, RestResponse};

fn assert_invalid(answer: &RestResponse, field: &str) {
    answer.assert_problem(422, "invalid");
    assert_eq!(answer.json["field"], field, "{}", answer.text);
}

async fn an_invalid_text_is_refused_with_its_field(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let register = async |email: &str, name: &str| {
        let body = json!({"email": email, "password": PASSWORD, "name": name});
        rest.post("/v1/auth/register").json(body).send().await
    };
    for name in [
        "Pat\nIent",
        "Pat\r\nBcc: all@example.org",
        "\u{200b}",
        "\u{3164}",
        "\u{2800}",
        "Alice\u{202e}eviL",
        "Your account is locked: visit http://evil.example",
        "",
    ] {
        assert_invalid(&register("pat@example.org", name).await, "name");
    }
    for email in ["user..name@example.org", "a,b@example.org", "user@example..org", "jos\u{e9}@example.org"] {
        assert_invalid(&register(email, "Pat").await, "email");
    }
    let admin = rest.token(Role::Admin).await;
    for (name, address, field) in [("a\nb", "1 Street", "name"), ("Pharmacy", "\u{200b}", "address")] {
        let body = json!({"name": name, "address": address});
        assert_invalid(&rest.post("/v1/pharmacies").bearer(&admin).json(body).send().await, field);
    }

    let (patient, token) = rest.person_with_token(Role::Patient, None).await;
    let (doctor, doctor_token) = rest.person_with_token(Role::Doctor, None).await;
    let room = rest.server.waiting_room(&patient, &doctor).await;
    let item = |dosage: &str| json!({"medicine": "A", "dosage": dosage, "quantity": 1, "days": 1});
    let cases: [(&str, Value, &str); 5] = [
        ("chat.send", json!({"text": ""}), "text"),
        ("chat.send", json!({"text": "\u{200b}\u{3164}"}), "text"),
        ("consultation.cancel", json!({"reason": "a\u{0}b"}), "reason"),
        ("guest.invite", json!({"name": "a\nb", "kind": "relative"}), "name"),
        ("prescription.draft", json!({"items": [item("b"), item("")]}), "items[1].dosage"),
    ];
    for (kind, data, field) in cases {
        let command = json!({"kind": kind, "data": data});
        let path = format!("/v1/consultations/{room}/commands");
        let answer = rest.post(&path).bearer(&doctor_token).json(json!({"command": command})).send().await;
        assert_invalid(&answer, field);
        let frame = json!({"type": "command", "id": uuid::Uuid::now_v7(), "room": room, "command": command});
        let posted =
            rest.post("/v1/frames").bearer(&token).json(json!({"frames": [{"type": "beat"}, frame]})).send().await;
        assert_invalid(&posted, &format!("frames[1].{field}"));
    }
}

async fn every_language_may_write_the_same_number_of_letters(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let (patient, token) = rest.person_with_token(Role::Patient, None).await;
    let (doctor, _) = rest.person_with_token(Role::Doctor, None).await;
    let room = rest.server.waiting_room(&patient, &doctor).await;
    let path = format!("/v1/consultations/{room}/commands");
    let chat = async |text: &str| {
        let command = json!({"kind": "chat.send", "data": {"text": text}});
        rest.post(&path).bearer(&token).json(json!({"command": command})).send().await
    };
    for letter in ["a", "\u{ac00}", "\u{1f600}"] {
        let text = letter.repeat(4000);
        chat(&text).await.ok();
        assert_eq!(last_text(&rest, &room.to_string(), &token).await, text);
        assert_invalid(&chat(&letter.repeat(4001)).await, "text");
    }
    chat("one\r\ntwo\rcafe\u{301}").await.ok();
    assert_eq!(last_text(&rest, &room.to_string(), &token).await, "one\ntwo\ncaf\u{e9}");
}

async fn last_text(rest: &RestClient, room: &str, token: &str) -> String {
    let page = rest.get(&format!("/v1/rooms/{room}/events?limit=500")).bearer(token).send().await.ok();
    let events = page["items"].as_array().or(page["events"].as_array()).cloned().unwrap_or_default();
    let chat = events.iter().rev().find(|event| event["kind"] == "chat.sent").expect("a message");
    chat["data"]["text"].as_str().unwrap().to_owned()
}

async fn an_address_is_known_in_each_of_its_forms(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let user = rest.register("Pat@Ex\u{e4}mple.org", "patient").await;
    assert_eq!(user["email"], "pat@xn--exmple-cua.org");
    for form in ["pat@ex\u{e4}mple.org", "pat@exa\u{308}mple.org", "pat@xn--exmple-cua.org"] {
        rest.sign_in(form).await.ok();
    }
}

async fn a_password_is_known_however_it_is_composed(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let body = json!({"email": "pat@example.org", "password": "cr\u{e8}me br\u{fb}l\u{e9}e", "name": "Pat"});
    rest.post("/v1/auth/register").json(body).send().await.ok();
    let sign_in = json!({"email": "pat@example.org", "password": "cre\u{300}me bru\u{302}le\u{301}e"});
    rest.post("/v1/auth/sign-in").json(sign_in).send().await.ok();
}

both! {
    an_invalid_text_is_refused_with_its_field
    every_language_may_write_the_same_number_of_letters
    an_address_is_known_in_each_of_its_forms
    a_password_is_known_however_it_is_composed
}
