//! Ids have one spelling: lower case with hyphens. Every other one is malformed, wherever it stands.

use rooms::role::Role;
use serde_json::json;
use uuid::Uuid;
use wardroom::config::DatabaseSettings;

use crate::support::both;
use crate::support::rest::RestClient;

fn other_spellings(id: Uuid) -> [String; 4] {
    [id.hyphenated().to_string().to_uppercase(), id.braced().to_string(), id.urn().to_string(), id.simple().to_string()]
}

async fn other_spellings_of_an_id_are_malformed(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let (patient, token) = rest.person_with_token(Role::Patient, None).await;
    let (doctor, doctor_token) = rest.person_with_token(Role::Doctor, None).await;
    let admin = rest.token(Role::Admin).await;
    let room = rest.server.waiting_room(&patient, &doctor).await;
    for other in other_spellings(room.0) {
        let path = format!("/v1/consultations/{}", other.replace('{', "%7B").replace('}', "%7D"));
        rest.get(&path).bearer(&token).send().await.assert_problem(400, "malformed");
        let audit = format!("/v1/audit?room={}", other.replace('{', "%7B").replace('}', "%7D"));
        let answer = rest.get(&audit).bearer(&admin).send().await;
        answer.assert_problem(400, "malformed");
        assert_eq!(answer.json["field"], "room", "{}", answer.text);
    }
    for other in other_spellings(doctor.user().unwrap().0) {
        rest.post("/v1/bookings")
            .bearer(&token)
            .json(json!({"doctor": other}))
            .send()
            .await
            .assert_problem(400, "malformed");
    }
    for other in other_spellings(Uuid::now_v7()) {
        let chat = json!({"kind": "chat.send", "data": {"text": "hi"}});
        let frame = json!({"type": "command", "id": other, "room": room, "command": chat});
        let frames = rest.call("post", "/v1/frames").bearer(&token).json(json!({"frames": [frame]}));
        frames.send().await.assert_problem(400, "malformed");
        // A key may be any text: another spelling is another key, and not the id of the command.
        let path = format!("/v1/consultations/{room}/commands");
        let sent = rest.call("post", &path).key(&other).bearer(&doctor_token).json(json!({"command": chat}));
        sent.send().await.ok();
    }
    rest.get("/v1/consultations/not-an-id").bearer(&token).send().await.assert_problem(404, "not_found");
}

async fn wrong_query_parameter_is_named(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let doctor = rest.token(Role::Doctor).await;
    let answer = rest
        .get("/v1/slots?to=2030-01-01T10:00:00%2B09:00&from=2030-01-01T00:00:00+09:00")
        .bearer(&doctor)
        .send()
        .await;
    answer.assert_problem(400, "malformed");
    assert_eq!(answer.json["field"], "from");
    let detail = answer.json["detail"].as_str().unwrap();
    assert!(detail.contains("%2B"), "the text names the fix: {detail}");
    assert!(!answer.text.contains("2030"), "the value is not repeated: {}", answer.text);
    let answer = rest.get("/v1/slots?limit=x").bearer(&doctor).send().await;
    answer.assert_problem(400, "malformed");
}

both! {
    other_spellings_of_an_id_are_malformed
    wrong_query_parameter_is_named
}
