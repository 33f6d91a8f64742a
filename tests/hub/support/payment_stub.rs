//! A stub of a payment provider, over real HTTP. It implements the public API of payment intents, validates what it
//! receives, and fails on request.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use wardroom::config::{BaseUrl, PaymentProvider, PaymentSettings};

/// The API key that the hub presents.
pub const KEY: &str = "sk_test_key";
/// The secret that the provider signs webhooks with.
pub const SECRET: &str = "whsec_of_the_tests_0123456789";

/// How the provider behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Normal,
    Down,
    /// Answers after twelve seconds.
    Slow,
    Garbage,
    /// Applies the request, then breaks the connection.
    DropsResponses,
    /// Fails every second request.
    Flapping,
}

/// A payment intent as the provider stores it.
#[derive(Clone, Debug)]
pub struct Intent {
    pub room: String,
    pub amount: u64,
    pub currency: String,
    pub status: &'static str,
    pub refunded: bool,
}

/// A recorded request.
#[derive(Clone, Debug)]
pub struct Call {
    pub what: String,
    pub key: String,
    pub body: String,
}

#[derive(Default)]
struct Inner {
    behaviour: Option<Behaviour>,
    calls: Vec<Call>,
    intents: BTreeMap<String, Intent>,
    answers: HashMap<String, (String, u16, Value)>,
    violations: Vec<String>,
}

/// The stub; clones share its state.
#[derive(Clone)]
pub struct PaymentStub {
    pub address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
}

impl PaymentStub {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Self { address: listener.local_addr().unwrap(), inner: Arc::default() };
        let router = Router::new().fallback(answer).with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        provider
    }

    /// Returns the settings of a hub that uses this provider.
    pub fn settings(&self) -> PaymentSettings {
        let url = BaseUrl::parse(&format!("http://{}", self.address)).unwrap();
        PaymentSettings {
            provider: PaymentProvider::Http { url, key: KEY.into(), checkout_url: None },
            webhook_secret: Some(SECRET.into()),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub fn behave(&self, behaviour: Behaviour) {
        self.inner().behaviour = Some(behaviour);
    }

    pub fn calls(&self) -> Vec<Call> {
        self.inner().calls.clone()
    }

    /// Returns violations of the API by its client.
    pub fn violations(&self) -> Vec<String> {
        self.inner().violations.clone()
    }

    /// Returns a room's intents, of which there should be one.
    pub fn intents(&self, room: &str) -> Vec<(String, Intent)> {
        let inner = self.inner();
        inner.intents.iter().filter(|(_, it)| it.room == room).map(|(id, it)| (id.clone(), it.clone())).collect()
    }

    /// Pays an intent as the patient.
    pub fn pay(&self, id: &str) {
        self.inner().intents.get_mut(id).unwrap().status = "requires_capture";
    }

    /// Captures an intent without the hub.
    pub fn capture(&self, id: &str) {
        self.inner().intents.get_mut(id).unwrap().status = "succeeded";
    }

    /// Returns the body of a webhook about an intent.
    pub fn event(&self, event: &str, kind: &str, id: &str) -> String {
        let intent = self.inner().intents[id].clone();
        event_of(event, kind, id, &intent).to_string()
    }
}

/// Renders an intent as the API does.
fn object(id: &str, intent: &Intent) -> Value {
    let received = if intent.status == "succeeded" { intent.amount } else { 0 };
    json!({
        "id": id,
        "object": "payment_intent",
        "amount": intent.amount,
        "amount_received": received,
        "currency": intent.currency,
        "status": intent.status,
        "capture_method": "manual",
        "metadata": {"room": intent.room},
        "next_action": {"type": "redirect_to_url", "redirect_to_url": {"url": format!("https://pay.example.org/{id}")}},
    })
}

fn event_of(event: &str, kind: &str, id: &str, intent: &Intent) -> Value {
    let object = match kind {
        "charge.refunded" => json!({
            "object": "charge", "payment_intent": id, "amount_refunded": intent.amount, "currency": intent.currency,
        }),
        "payment_intent.succeeded" => object(id, &Intent { status: "succeeded", ..intent.clone() }),
        _ => object(id, intent),
    };
    json!({"id": event, "object": "event", "type": kind, "created": 1, "data": {"object": object}})
}

async fn answer(
    State(provider): State<PaymentStub>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers.get(name).map_or("", |it| it.to_str().unwrap()).to_owned();
    let call = Call {
        what: format!("{method} {}", uri.path()),
        key: header("idempotency-key"),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let (behaviour, count) = {
        let mut inner = provider.inner();
        inner.calls.push(call.clone());
        (inner.behaviour.unwrap_or(Behaviour::Normal), inner.calls.len())
    };
    match behaviour {
        Behaviour::Down => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Behaviour::Flapping if count.is_multiple_of(2) => return StatusCode::BAD_GATEWAY.into_response(),
        Behaviour::Slow => tokio::time::sleep(Duration::from_secs(12)).await,
        Behaviour::Garbage => return "<html>Welcome to the gateway</html>".into_response(),
        Behaviour::Normal | Behaviour::Flapping | Behaviour::DropsResponses => {}
    }
    let (status, value) = provider.inner().handle(&call, &header("authorization"), &header("content-type"));
    if behaviour == Behaviour::DropsResponses {
        let broken = futures_util::stream::iter([Ok("{\"id\":"), Err(std::io::Error::other("cut"))]);
        return Body::from_stream(broken).into_response();
    }
    (StatusCode::from_u16(status).unwrap(), axum::Json(value)).into_response()
}

impl Inner {
    fn violation(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    fn handle(&mut self, call: &Call, authorization: &str, content_type: &str) -> (u16, Value) {
        if authorization != format!("Bearer {KEY}") {
            self.violation(format!("{}: no API key", call.what));
            return (401, json!({"error": {"type": "invalid_request_error"}}));
        }
        if call.what.starts_with("POST") {
            if call.key.len() < 8 {
                self.violation(format!("{}: no Idempotency-Key", call.what));
            }
            if let Some((what, status, answer)) = self.answers.get(&call.key).cloned() {
                if what != format!("{} {}", call.what, call.body) {
                    self.violation(format!("{}: idempotency key of another request", call.what));
                }
                return (status, answer);
            }
        }
        let (status, answer) = self.carry_out(call, content_type);
        self.answers.insert(call.key.clone(), (format!("{} {}", call.what, call.body), status, answer.clone()));
        (status, answer)
    }

    fn carry_out(&mut self, call: &Call, content_type: &str) -> (u16, Value) {
        let form: HashMap<String, String> = call
            .body
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.replace("%5B", "[").replace("%5D", "]"), value.to_owned()))
            .collect();
        if !call.body.is_empty() && content_type != "application/x-www-form-urlencoded" {
            self.violation(format!("{}: {content_type} is not a form", call.what));
        }
        let path: Vec<&str> = call.what.split(['/', ' ']).filter(|part| !part.is_empty()).collect();
        match path[..] {
            ["POST", "v1", "payment_intents"] => self.create(&form),
            ["POST", "v1", "payment_intents", id, step @ ("capture" | "cancel")] => {
                let Some(intent) = self.intents.get_mut(id) else { return (404, json!({})) };
                intent.status = match (step, intent.status) {
                    ("capture", "requires_capture") => "succeeded",
                    ("cancel", "requires_capture" | "requires_payment_method") => "canceled",
                    _ => return (400, json!({"error": {"code": "payment_intent_unexpected_state"}})),
                };
                (200, object(id, intent))
            }
            ["GET", "v1", "payment_intents", id] => match self.intents.get(id) {
                Some(intent) => (200, object(id, intent)),
                None => (404, json!({})),
            },
            ["POST", "v1", "refunds"] => {
                let Some(intent) = self.intents.get_mut(&form["payment_intent"]) else { return (404, json!({})) };
                if intent.status != "succeeded" || std::mem::replace(&mut intent.refunded, true) {
                    return (400, json!({"error": {"code": "charge_already_refunded"}}));
                }
                (
                    200,
                    json!({"id": "re_1", "amount": intent.amount, "currency": intent.currency, "status": "succeeded"}),
                )
            }
            _ => {
                self.violation(format!("{}: no such endpoint", call.what));
                (404, json!({}))
            }
        }
    }

    fn create(&mut self, form: &HashMap<String, String>) -> (u16, Value) {
        let mut names: Vec<&str> = form.keys().map(String::as_str).collect();
        names.sort_unstable();
        if names != ["amount", "capture_method", "currency", "metadata[room]"] || form["capture_method"] != "manual" {
            self.violation(format!("intent with fields {names:?}"));
        }
        let id = format!("pi_{}", self.intents.len() + 1);
        let intent = Intent {
            room: form["metadata[room]"].clone(),
            amount: form["amount"].parse().unwrap_or_default(),
            currency: form["currency"].clone(),
            status: "requires_payment_method",
            refunded: false,
        };
        if intent.currency != intent.currency.to_lowercase() {
            self.violation("currency in capitals");
        }
        let answer = object(&id, &intent);
        self.intents.insert(id, intent);
        (200, answer)
    }
}
