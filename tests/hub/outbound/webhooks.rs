//! Outgoing webhooks: what an integrator subscribed to, signed, without personal data, and repeated under one id
//! until it is accepted.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rooms::command::{Chat, Command};
use rooms::party::Thread;
use rooms::role::Role;
use rooms::text::Prose;
use serde_json::{Value, json};
use wardroom::config::DatabaseSettings;

use crate::support::both;
use crate::support::rest::RestClient;

#[derive(Clone, Debug)]
struct ReceivedWebhook {
    id: String,
    seconds: i64,
    signatures: Vec<String>,
    body: String,
    event: Value,
}

/// An integrator's endpoint; clones share its state.
#[derive(Clone)]
struct Integrator {
    url: String,
    received: Arc<Mutex<Vec<ReceivedWebhook>>>,
    /// Status codes of the next responses; then it accepts everything.
    answers: Arc<Mutex<Vec<u16>>>,
}

impl Integrator {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let integrator = Self { url, received: Arc::default(), answers: Arc::default() };
        let router = Router::new().route("/hook", post(hook)).with_state(integrator.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        integrator
    }

    fn received(&self) -> Vec<ReceivedWebhook> {
        self.received.lock().unwrap().clone()
    }

    async fn wait_until(&self, what: &str, wish: impl Fn(&[ReceivedWebhook]) -> bool) -> Vec<ReceivedWebhook> {
        let end = Instant::now() + Duration::from_secs(40);
        loop {
            let received = self.received();
            if wish(&received) {
                return received;
            }
            assert!(Instant::now() < end, "timed out waiting for {what}; received {received:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn hook(State(integrator): State<Integrator>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let body = String::from_utf8(body.to_vec()).unwrap();
    integrator.received.lock().unwrap().push(ReceivedWebhook {
        id: header("webhook-id"),
        seconds: header("webhook-timestamp").parse().unwrap(),
        signatures: header("webhook-signature").split(' ').map(str::to_owned).collect(),
        event: serde_json::from_str(&body).unwrap(),
        body,
    });
    let mut answers = integrator.answers.lock().unwrap();
    let status = if answers.is_empty() { 204 } else { answers.remove(0) };
    StatusCode::from_u16(status).unwrap()
}

/// Verifies a signature as a receiver does, with the secret as it was shown.
fn is_signed(secret: &str, received: &ReceivedWebhook) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
    let signed = format!("{}.{}.{}", received.id, received.seconds, received.body);
    received.signatures.iter().any(|signature| {
        let tag = STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
        ring::hmac::verify(&key, signed.as_bytes(), &tag).is_ok()
    })
}

async fn hub(database: DatabaseSettings) -> (RestClient, String) {
    let rest = RestClient::start_with(database, |config| config.private_webhooks = true).await;
    let admin = rest.token(Role::Admin).await;
    (rest, admin)
}

async fn add(rest: &RestClient, admin: &str, integrator: &Integrator, kinds: Value) -> (String, String) {
    let body = json!({"url": integrator.url, "kinds": kinds});
    let added = rest.post("/v1/webhooks").bearer(admin).json(body).send().await.ok();
    (added["id"].as_str().unwrap().to_owned(), added["secret"].as_str().unwrap().to_owned())
}

async fn integrator_receives_subscribed_events_signed_and_without_names(database: DatabaseSettings) {
    let (rest, admin) = hub(database).await;
    let (all, some) = (Integrator::start().await, Integrator::start().await);
    let (_, secret) = add(&rest, &admin, &all, json!([])).await;
    add(&rest, &admin, &some, json!(["prescription.sent", "consultation.requested"])).await;
    let case = rest.server.case().await;
    let chat = Chat { text: Prose::parse("it itches").unwrap(), thread: Thread::Care };
    rest.server.submit(case.room, &case.patient, Command::Chat(chat)).await.unwrap();
    let received = all.wait_until("the message", |it| it.iter().any(|it| it.event["type"] == "chat.sent")).await;
    let wanted: BTreeSet<String> = ["prescription.sent", "consultation.requested"].map(str::to_owned).into();
    some.wait_until("both", |it| it.len() >= 2).await;
    let kinds = some.received().into_iter().map(|it| it.event["type"].as_str().unwrap().to_owned());
    assert_eq!(kinds.collect::<BTreeSet<_>>(), wanted);
    for one in &received {
        assert!(is_signed(&secret, one) && one.signatures.len() == 1, "{one:?}");
        assert!(!is_signed("whsec_AAAA", one));
        let event = &one.event;
        assert_eq!((&event["specversion"], &event["id"]), (&json!("1.0"), &json!(one.id)));
        assert_eq!((&event["subject"], &event["data"]["room"]), (&json!(case.room), &json!(case.room)));
        assert!(event["source"].is_string() && event["time"].is_string() && event["sequence"].is_string());
        for word in ["Pat", "Doc", "Phil", "Testamol", "itches", "one a day", "Street"] {
            assert!(!one.body.contains(word), "{word} must not be in the payload: {}", one.body);
        }
    }
    let ids: BTreeSet<&String> = received.iter().map(|it| &it.id).collect();
    assert_eq!(ids.len(), received.len(), "each event once");
    let listed = rest.get("/v1/webhooks").bearer(&admin).send().await;
    assert!(!listed.text.contains("whsec_"), "a secret is shown once");
}

async fn rotated_and_former_secret_both_sign_for_a_day(database: DatabaseSettings) {
    let (rest, admin) = hub(database).await;
    let integrator = Integrator::start().await;
    let (id, former) = add(&rest, &admin, &integrator, json!([])).await;
    let rotated = rest.post(&format!("/v1/webhooks/{id}/secret")).bearer(&admin).send().await.ok();
    let present = rotated["secret"].as_str().unwrap();
    let test = || rest.post(&format!("/v1/webhooks/{id}/test")).bearer(&admin).send();
    let sent = test().await.ok();
    let received = integrator.wait_until("a test", |it| it.len() == 1).await.remove(0);
    assert_eq!((json!(received.id), &received.event["type"]), (sent["dispatch"].clone(), &json!("webhook.test")));
    assert!(is_signed(present, &received) && is_signed(&former, &received));
    rest.server.state.clock.advance(Duration::from_secs(86_401));
    let admin = rest.token(Role::Admin).await;
    rest.post(&format!("/v1/webhooks/{id}/test")).bearer(&admin).send().await.ok();
    let received = integrator.wait_until("another", |it| it.len() == 2).await.remove(1);
    assert!(is_signed(present, &received) && !is_signed(&former, &received), "{received:?}");
}

async fn deliveries_to_a_quiet_endpoint_are_listed_beside_those_to_a_busy_one(database: DatabaseSettings) {
    let (rest, admin) = hub(database).await;
    let integrator = Integrator::start().await;
    let (quiet, _) = add(&rest, &admin, &integrator, json!([])).await;
    let (busy, _) = add(&rest, &admin, &integrator, json!([])).await;
    let test = |id: &str| rest.post(&format!("/v1/webhooks/{id}/test")).bearer(&admin).send();
    let sent = test(&quiet).await.ok();
    for _ in 0..5 {
        test(&busy).await.ok();
    }
    let listed =
        rest.get(&format!("/v1/dispatches?sink=webhook&lane={quiet}&limit=2")).bearer(&admin).send().await.ok();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!((&listed["items"][0]["id"], &listed["next"]), (&sent["dispatch"], &Value::Null));
}

async fn rejected_webhook_is_retried_under_its_id_until_410(database: DatabaseSettings) {
    let (rest, admin) = hub(database).await;
    let integrator = Integrator::start().await;
    let (id, _) = add(&rest, &admin, &integrator, json!([])).await;
    *integrator.answers.lock().unwrap() = vec![500, 302, 204, 410];
    let test = || rest.post(&format!("/v1/webhooks/{id}/test")).bearer(&admin).send();
    test().await.ok();
    integrator.wait_until("the first", |it| it.len() == 1).await;
    let received = integrator.wait_until("the second", |it| it.len() == 2).await;
    assert!(received.iter().all(|it| it.id == received[0].id));
    // The next retry is five minutes away, but an operator can trigger it.
    let dispatch = || rest.get("/v1/dispatches?sink=webhook").bearer(&admin).send();
    let end = Instant::now() + Duration::from_secs(20);
    while dispatch().await.ok()["items"][0]["state"] != "waiting" {
        assert!(Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    rest.server.state.clock.advance(Duration::from_secs(400));
    integrator.wait_until("the third", |it| it.len() == 3).await;
    test().await.ok();
    integrator.wait_until("the last", |it| it.len() == 4).await;
    let endpoint = || async { rest.get("/v1/webhooks").bearer(&admin).send().await.ok()["items"][0].clone() };
    while endpoint().await["disabled"].is_null() {
        assert!(Instant::now() < end, "410 disables");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    test().await.ok();
    while dispatch().await.ok()["items"][0]["state"] != "dropped" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(integrator.received().len(), 4);
    rest.post(&format!("/v1/webhooks/{id}/enable")).bearer(&admin).send().await.ok();
    test().await.ok();
    integrator.wait_until("it again", |it| it.len() == 5).await;
    assert_eq!(
        rest.call("delete", &format!("/v1/webhooks/{id}")).bearer(&admin).key("12345678").send().await.status,
        204
    );
    rest.post(&format!("/v1/webhooks/{id}/test")).bearer(&admin).send().await.assert_problem(404, "not_found");
}

async fn endpoint_must_be_external_unless_configured_otherwise(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let admin = rest.token(Role::Admin).await;
    for url in ["http://example.org/x", "https://127.0.0.1/x", "https://localhost/x", "https://[::1]/x", "x", ""] {
        let body = json!({"url": url, "kinds": []});
        rest.post("/v1/webhooks").bearer(&admin).json(body).send().await.assert_problem(422, "invalid");
    }
    let body = json!({"url": "https://8.8.8.8/x", "kinds": ["everything"]});
    rest.post("/v1/webhooks").bearer(&admin).json(body).send().await.assert_problem(422, "invalid");
}

both! {
    integrator_receives_subscribed_events_signed_and_without_names
    rotated_and_former_secret_both_sign_for_a_day
    deliveries_to_a_quiet_endpoint_are_listed_beside_those_to_a_busy_one
    rejected_webhook_is_retried_under_its_id_until_410
    endpoint_must_be_external_unless_configured_otherwise
}
