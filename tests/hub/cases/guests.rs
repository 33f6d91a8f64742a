//! Guests: admitted to one consultation by a link, without its past and without any other part of the hub.

use std::time::Duration;

use loadtest::client::Client;
use loadtest::target::Target;
use rooms::command::{Chat, Command, GuestRef, InviteGuest, Nothing};
use rooms::id::RoomId;
use rooms::party::{GuestKind, Thread};
use rooms::role::Actor;
use rooms::text::{Name, Prose};
use rooms::wire::client::Token;
use serde_json::{Value, json};
use uuid::Uuid;
use wardroom::config::DatabaseSettings;

use crate::support::both;
use crate::support::rest::{RestClient, RestResponse};
use crate::support::test_server::Case;

/// A consultation, an invited guest, and the link.
struct Invitation {
    rest: RestClient,
    case: Case,
    guest: Uuid,
    link: String,
}

impl Invitation {
    async fn start(database: DatabaseSettings) -> Self {
        let rest = RestClient::start(database).await;
        let case = rest.server.case().await;
        send_as(&rest, case.room, &case.patient, "from before").await;
        let invite = InviteGuest { name: Name::parse("Inter Preter").unwrap(), kind: GuestKind::Interpreter };
        rest.server.submit(case.room, &case.doctor, Command::InviteGuest(invite)).await.unwrap();
        let doctor = rest.server.token(&case.doctor).0;
        let seen = rest.get(&format!("/v1/consultations/{}", case.room)).bearer(&doctor).send().await.ok();
        let guest = seen["snapshot"]["guests"][0]["id"].as_str().unwrap().parse().unwrap();
        let link = rest.get(&path(case.room, guest)).bearer(&doctor).send().await.ok();
        Self { rest, guest, link: link["token"].as_str().unwrap().to_owned(), case }
    }

    async fn enter(&self) -> RestResponse {
        let body = json!({"token": self.link, "device": Uuid::from_u128(7)});
        self.rest.call("post", "/v1/guests/enter").json(body).send().await
    }

    /// Enters with the link and returns the guest's access token.
    async fn entered(&self) -> String {
        self.enter().await.ok()["access_token"].as_str().unwrap().to_owned()
    }

    async fn dismiss(&self) {
        let dismiss = Command::DismissGuest(GuestRef { guest: self.guest.into() });
        self.rest.server.submit(self.case.room, &self.case.patient, dismiss).await.unwrap();
    }
}

fn path(room: RoomId, guest: Uuid) -> String {
    format!("/v1/consultations/{room}/guests/{guest}/link")
}

async fn send_as(rest: &RestClient, room: RoomId, who: &Actor, text: &str) {
    let chat = Chat { text: Prose::parse(text).unwrap(), thread: Thread::Care };
    rest.server.submit(room, who, Command::Chat(chat)).await.unwrap();
}

async fn guest_sees_only_what_follows_their_entry(database: DatabaseSettings) {
    let at = Invitation::start(database).await;
    let token = at.entered().await;
    let room = at.case.room;
    let mut client = Client::new(Target::new(at.rest.server.address).unwrap(), Token(token.clone()));
    client.connect().await.unwrap();
    client.join(room).await.unwrap();
    send_as(&at.rest, room, &at.case.doctor, "to the guest").await;
    let mut texts = String::new();
    while !texts.contains("to the guest") {
        let frame =
            tokio::time::timeout(Duration::from_secs(5), client.next()).await.expect("the frame arrives").unwrap();
        texts.push_str(&frame.text);
    }
    let read = at.rest.get(&format!("/v1/rooms/{room}/events?after=0")).bearer(&token).send().await.ok();
    let kinds: Vec<&str> = read["items"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["guest.entered", "chat.sent"]);
    let seen = at.rest.get(&format!("/v1/consultations/{room}")).bearer(&token).send().await.ok();
    assert_eq!((&seen["view"], &seen["snapshot"]["consultation"]), (&json!("guest"), &Value::Null));
    for text in [texts, read.to_string(), seen.to_string()] {
        assert!(!text.contains("from before") && !text.contains("Testamol"), "{text}");
    }
    // The others receive what the guest writes.
    let chat = json!({"command": {"kind": "chat.send", "data": {"text": "bonjour"}}});
    at.rest.post(&format!("/v1/consultations/{room}/commands")).bearer(&token).json(chat).send().await.ok();
    let doctor = at.rest.server.token(&at.case.doctor).0;
    let log = at.rest.get(&format!("/v1/rooms/{room}/events?after=0&limit=200")).bearer(&doctor).send().await.ok();
    let last = log["items"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["data"]["text"], &last["actor"]["role"], &last["actor"]["name"]),
        (&json!("bonjour"), &json!("guest"), &json!("Inter Preter"))
    );
}

async fn dismissed_guest_is_disconnected_and_stays_out(database: DatabaseSettings) {
    let at = Invitation::start(database).await;
    let token = at.entered().await;
    let mut client = Client::new(Target::new(at.rest.server.address).unwrap(), Token(token.clone()));
    client.connect().await.unwrap();
    client.join(at.case.room).await.unwrap();
    at.dismiss().await;
    send_as(&at.rest, at.case.room, &at.case.doctor, "among ourselves").await;
    let left = async {
        loop {
            let frame = client.next().await.expect("the connection stays open");
            assert!(!frame.text.contains("among ourselves"));
            if frame.text.contains(r#""type":"left""#) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), left).await.expect("the guest is informed");
    at.rest
        .get(&format!("/v1/consultations/{}", at.case.room))
        .bearer(&token)
        .send()
        .await
        .assert_problem(404, "not_found");
    at.enter().await.assert_problem(404, "not_found");
    let doctor = at.rest.server.token(&at.case.doctor).0;
    at.rest.get(&path(at.case.room, at.guest)).bearer(&doctor).send().await.assert_problem(404, "not_found");
}

async fn guest_link_is_bound_to_room_and_time_and_cannot_be_forged(database: DatabaseSettings) {
    let at = Invitation::start(database).await;
    let other = at.rest.server.case().await;
    let access = at.entered().await;
    // The guest reaches no other part of the hub.
    at.rest
        .get(&format!("/v1/consultations/{}", other.room))
        .bearer(&access)
        .send()
        .await
        .assert_problem(404, "not_found");
    for path in ["/v1/doctors", "/v1/me", "/v1/auth/sessions", "/v1/prescriptions", "/v1/consultations"] {
        at.rest.get(path).bearer(&access).send().await.assert_problem(403, "forbidden");
    }
    // Only members of the consultation get links, and only for their own guests.
    for who in [&other.doctor, &other.patient, &at.case.pharmacist] {
        let token = at.rest.server.token(who).0;
        let refused = at.rest.get(&path(at.case.room, at.guest)).bearer(&token).send().await;
        assert!([403, 404].contains(&refused.status.as_u16()), "{}", refused.text);
    }
    // Links are no access tokens, access tokens are no links, and altered ones are neither.
    at.rest
        .get(&format!("/v1/consultations/{}", at.case.room))
        .bearer(&at.link)
        .send()
        .await
        .assert_problem(401, "unauthenticated");
    let (head, signature) = at.link.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
    for token in [access.as_str(), &forged, "", "a.b.c", &"a".repeat(10_000)] {
        let body = json!({"token": token, "device": Uuid::nil()});
        let refused = at.rest.call("post", "/v1/guests/enter").json(body).send().await;
        refused.assert_problem(401, "unauthenticated");
    }
    // The link expires with the consultation.
    at.rest.server.submit(at.case.room, &at.case.doctor, Command::End(Nothing {})).await.unwrap();
    at.enter().await.assert_problem(404, "not_found");
}

both! {
    guest_sees_only_what_follows_their_entry
    dismissed_guest_is_disconnected_and_stays_out
    guest_link_is_bound_to_room_and_time_and_cannot_be_forged
}
