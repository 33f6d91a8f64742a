//! Outgoing webhooks for integrators, signed as Standard Webhooks specify, in the format of CloudEvents 1.0.
//!
//! Events are thin: what happened, in which room, from which state to which. Names, texts, and medicines stay in the
//! hub; integrators with the rights to see them read them by REST.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Url};
use ring::hmac;
use ring::rand::SecureRandom;
use rooms::event::Event;
use rooms::id::RoomId;
use rooms::record::Record;
use rooms::time::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::outcome::Outcome;
use crate::clock::Clock;
use crate::config::Config;
use crate::egress::{self, Egress, Forbidden};
use crate::keyfile;
use crate::store::dispatches::{Dispatch, Sink, Wish};
use crate::store::outbox::CommittedChange;
use crate::store::webhooks::Webhook;
use crate::store::{Store, StoreError};

/// The event type of a test message.
pub const TEST_EVENT: &str = "webhook.test";
/// How long the previous secret signs as well after a rotation.
pub const PREVIOUS_SECRET_VALIDITY: Duration = Duration::from_secs(86_400);
/// How long the list of endpoints is cached. Another node may change it.
const ENDPOINT_CACHE_TTL: Duration = Duration::from_secs(2);
/// The prefix of an encoded secret.
const SECRET_PREFIX: &str = "whsec_";

/// The cached endpoints, and when they were read.
type EndpointCache = Option<(Instant, Arc<Vec<Webhook>>)>;

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct WebhookAdapter {
    store: Store,
    clock: Clock,
    egress: Egress,
    /// Whether endpoints may be in private networks and without TLS.
    allows_private: bool,
    /// The `source` attribute of every event.
    source: String,
    endpoints: Arc<Mutex<EndpointCache>>,
}

/// Why an endpoint is rejected.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("must be an http or https URL")]
    InvalidUrl,
    #[error("{0}")]
    Forbidden(#[from] Forbidden),
}

impl WebhookAdapter {
    pub fn new(config: &Config, store: Store, clock: Clock, egress: Egress) -> Self {
        let source = config.public_url.as_ref().map_or("wardroom", |url| url.as_str()).to_owned();
        Self { store, clock, egress, allows_private: config.private_webhooks, source, endpoints: Arc::default() }
    }

    /// Checks the URL of an endpoint.
    pub async fn check(&self, url: &str) -> Result<Url, EndpointError> {
        let url = Url::parse(url).map_err(|_| EndpointError::InvalidUrl)?;
        if !self.allows_private {
            egress::check_resolved(&url).await?;
        } else if !matches!(url.scheme(), "http" | "https") {
            return Err(EndpointError::InvalidUrl);
        }
        Ok(url)
    }

    /// Returns a delivery for each external event and each endpoint subscribed to it.
    pub async fn deliveries_for(&self, change: &CommittedChange) -> Result<Vec<Wish>, StoreError> {
        let endpoints = self.cached_endpoints().await?;
        let due_at = self.clock.now();
        let wanted = change.records.iter().flat_map(|record| {
            let kind = record.event.kind();
            let subscribed = endpoints.iter().filter(move |endpoint| endpoint.wants(kind));
            subscribed.map(move |endpoint| delivery(endpoint.id, change.room, record.seq, kind, due_at))
        });
        Ok(wanted.collect())
    }

    /// Enqueues a test message with this id.
    pub async fn enqueue_test(&self, endpoint: Uuid, id: Uuid) -> Result<(), StoreError> {
        let now = self.clock.now();
        // No such room exists. The id in its place keeps this test apart from earlier ones.
        self.store.enqueue(&[delivery(endpoint, RoomId(id), 0, TEST_EVENT, now)], now, || id).await?;
        Ok(())
    }

    /// Clears the cached endpoints, after a change.
    pub async fn forget_endpoints(&self) {
        *self.endpoints.lock().await = None;
    }

    async fn cached_endpoints(&self) -> Result<Arc<Vec<Webhook>>, StoreError> {
        let mut cache = self.endpoints.lock().await;
        if let Some((at, endpoints)) = &*cache
            && at.elapsed() < ENDPOINT_CACHE_TTL
        {
            return Ok(endpoints.clone());
        }
        let endpoints = Arc::new(self.store.webhooks().await?);
        *cache = Some((Instant::now(), endpoints.clone()));
        Ok(endpoints)
    }

    /// Sends an event to its endpoint.
    pub async fn send(&self, delivery: &Dispatch) -> Outcome {
        match self.try_send(delivery).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::postponed(error.to_string()),
        }
    }

    async fn try_send(&self, delivery: &Dispatch) -> Result<Outcome, StoreError> {
        let Ok(id) = delivery.target.parse() else {
            return Ok(Outcome::refused("the delivery names no endpoint"));
        };
        let Some(endpoint) = self.store.webhook(id).await?.filter(|it| it.disabled.is_none()) else {
            return Ok(Outcome::gone("the endpoint was removed or disabled"));
        };
        let client: &Client = if self.allows_private { self.egress.configured() } else { self.egress.public() };
        let allowed = Url::parse(&endpoint.url).ok().filter(|url| self.allows_private || egress::check(url).is_ok());
        let Some(url) = allowed else { return Ok(Outcome::refused("its address is not public")) };
        let Some(event) = self.event(delivery).await? else {
            return Ok(Outcome::gone("there is no such event"));
        };
        let (body, now) = (event.to_string(), self.clock.now());
        let seconds = now.micros().div_euclid(1_000_000).to_string();
        let request = client
            .post(url)
            .header("content-type", "application/cloudevents+json")
            .header("webhook-id", delivery.id.to_string())
            .header("webhook-signature", signatures(&endpoint, delivery.id, &seconds, &body, now))
            .header("webhook-timestamp", seconds)
            .body(body);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if egress::is_forbidden(&error) => return Ok(Outcome::refused(egress::why(&error))),
            Err(error) => return Ok(Outcome::retry(egress::why(&error))),
        };
        Ok(match response.status().as_u16() {
            200..=299 => Outcome::done(),
            410 => {
                self.store.disable_webhook(id, "the endpoint answered 410").await?;
                self.forget_endpoints().await;
                Outcome::gone("the endpoint answered 410").answered()
            }
            status => {
                let after = egress::retry_after(response.headers(), now);
                let outcome = Outcome::retry(format!("the endpoint answered {status}")).not_before(after);
                // Any other answer may concern this event alone. That includes redirects, which the hub does not follow:
                // an administrator corrects the URL.
                if matches!(status, 408 | 429 | 500..) { outcome } else { outcome.answered() }
            }
        })
    }

    /// Returns the event in the format of CloudEvents; `None` if it is not in the log.
    async fn event(&self, delivery: &Dispatch) -> Result<Option<Value>, StoreError> {
        let mut event = json!({
            "specversion": "1.0",
            "id": delivery.id,
            "source": self.source,
            "type": delivery.kind,
            "datacontenttype": "application/json",
        });
        if delivery.kind == TEST_EVENT {
            event["time"] = json!(delivery.created_at);
            event["data"] = json!({});
            return Ok(Some(event));
        }
        let stored = self.store.events_after(delivery.room, delivery.seq.saturating_sub(1), 1).await?;
        let Some(stored) = stored.first().filter(|stored| stored.seq == delivery.seq) else { return Ok(None) };
        let record: Record = serde_json::from_str(&stored.canonical)
            .map_err(|_| StoreError::Unexpected("a stored record cannot be read".into()))?;
        event["time"] = json!(record.at);
        event["subject"] = json!(record.room);
        // CloudEvents orders sequences as text, so pad the number.
        event["sequence"] = json!(format!("{:020}", record.seq));
        event["data"] = event_data(&record.event);
        event["data"]["room"] = json!(record.room);
        event["data"]["seq"] = json!(record.seq);
        Ok(Some(event))
    }
}

fn delivery(endpoint: Uuid, room: RoomId, seq: u64, kind: &str, due_at: Timestamp) -> Wish {
    let endpoint = endpoint.to_string();
    Wish {
        sink: Sink::Webhook,
        lane: endpoint.clone(),
        target: endpoint,
        room,
        seq,
        kind: kind.to_owned(),
        body: String::new(),
        due_at,
    }
}

/// Returns the ids and states of an event, and nothing else of it.
fn event_data(event: &Event) -> Value {
    match event {
        Event::ConsultationMoved(it) => json!({"from": it.from, "to": it.to}),
        Event::Requested(it) => json!({"slot": it.slot.as_ref().map(|slot| slot.id)}),
        Event::Rescheduled(it) => json!({"from": it.from, "slot": it.slot.id}),
        Event::CallStarted(it) => json!({"call": it.call}),
        Event::CallEnded(it) => json!({"call": it.call, "why": it.why}),
        Event::Signed(it) => json!({"prescription": it.prescription}),
        Event::Sent(it) => {
            json!({"prescription": it.prescription, "dispensing": it.dispensing, "pharmacy": it.pharmacy.id})
        }
        Event::Reviewed(it) => {
            json!({"prescription": it.prescription, "pharmacy": it.pharmacy, "verdict": it.verdict})
        }
        Event::Answered(it) => json!({"prescription": it.prescription, "pharmacy": it.pharmacy}),
        Event::PrescriptionMoved(it) => json!({"prescription": it.prescription, "from": it.from, "to": it.to}),
        Event::DispensingMoved(it) => {
            json!({"dispensing": it.dispensing, "pharmacy": it.pharmacy, "from": it.from, "to": it.to})
        }
        Event::DeliveryRequested(it) => json!({"delivery": it.delivery, "dispensing": it.dispensing}),
        Event::DeliveryAssigned(it) => json!({"delivery": it.delivery}),
        Event::DeliveryMoved(it) => {
            json!({"delivery": it.delivery, "from": it.from, "to": it.to, "occurred_at": it.occurred_at})
        }
        Event::PaymentMoved(it) => {
            json!({"from": it.from, "to": it.to, "amount": it.amount, "currency": it.currency})
        }
        _ => json!({}),
    }
}

/// Generates a secret.
pub fn generate_secret() -> Result<Vec<u8>, keyfile::KeyError> {
    let mut secret = vec![0; 32];
    keyfile::system_random().fill(&mut secret).map_err(|_| keyfile::KeyError::Random)?;
    Ok(secret)
}

/// Encodes a secret for an integrator.
pub fn encode_secret(secret: &[u8]) -> String {
    format!("{SECRET_PREFIX}{}", STANDARD.encode(secret))
}

/// Signs a message with the current secret and, while it is valid, the previous one.
fn signatures(endpoint: &Webhook, id: impl std::fmt::Display, seconds: &str, body: &str, now: Timestamp) -> String {
    let previous = endpoint.former.iter().filter(|(_, until)| *until > now).map(|(secret, _)| secret);
    let sign = |secret: &Vec<u8>| {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), format!("{id}.{seconds}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    };
    std::iter::once(&endpoint.secret).chain(previous).map(sign).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in the Standard Webhooks specification.
    #[test]
    fn signatures_match_standard_webhooks() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let at = Timestamp::from_micros(1_614_265_330_000_000);
        let mut endpoint = Webhook {
            id: Uuid::nil(),
            url: "https://example.org/".to_owned(),
            kinds: Vec::new(),
            secret: secret.clone(),
            former: None,
            disabled: None,
            created_at: at,
        };
        let sign = |endpoint: &Webhook| {
            signatures(endpoint, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", r#"{"test": 2432232314}"#, at)
        };
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(sign(&endpoint), expected);
        endpoint.former = Some((secret, at.plus(PREVIOUS_SECRET_VALIDITY)));
        assert_eq!(sign(&endpoint), format!("{expected} {expected}"));
        endpoint.former = endpoint.former.map(|(secret, _)| (secret, at));
        assert_eq!(sign(&endpoint), expected);
    }
}
