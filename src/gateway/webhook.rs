//! Webhooks for integrators: signed as Standard Webhooks say, with the attributes of CloudEvents 1.0.
//!
//! An event goes out thin: what happened, in which room, from which state to which. Names, texts and medicines stay in
//! the hub; whoever may see them asks for them by REST.

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

use super::Outcome;
use crate::clock::Clock;
use crate::config::Config;
use crate::egress::{self, Egress, Forbidden};
use crate::keyfile;
use crate::store::dispatches::{Dispatch, Sink, Wish};
use crate::store::outgoing::News;
use crate::store::webhooks::Webhook;
use crate::store::{Store, StoreError};

/// The kind of a message that tries an endpoint.
pub const TEST: &str = "webhook.test";
/// How long the former secret signs, too.
pub const OVERLAP: Duration = Duration::from_secs(86_400);
/// How soon an endpoint that another node added is known here.
const FRESH: Duration = Duration::from_secs(2);
/// How the written form of a secret begins.
const PREFIX: &str = "whsec_";

/// The endpoints as they were a moment ago.
type Known = Option<(Instant, Arc<Vec<Webhook>>)>;

/// The way to integrators; cheap to clone.
#[derive(Clone)]
pub struct WebhookDesk {
    store: Store,
    clock: Clock,
    egress: Egress,
    /// Whether endpoints may be in private networks, without TLS.
    private: bool,
    /// `source` of every event.
    source: String,
    known: Arc<Mutex<Known>>,
}

/// Why an endpoint is not taken.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("is not an address")]
    Address,
    #[error("{0}")]
    Forbidden(#[from] Forbidden),
}

impl WebhookDesk {
    pub fn new(config: &Config, store: Store, clock: Clock, egress: Egress) -> Self {
        let source = config.public_url.as_ref().map_or("wardroom", |url| url.as_str()).to_owned();
        Self { store, clock, egress, private: config.private_webhooks, source, known: Arc::default() }
    }

    /// An address to which events may go.
    pub async fn check(&self, url: &str) -> Result<Url, EndpointError> {
        let url = Url::parse(url).map_err(|_| EndpointError::Address)?;
        if !self.private {
            egress::check_resolved(&url).await?;
        } else if !matches!(url.scheme(), "http" | "https") {
            return Err(EndpointError::Address);
        }
        Ok(url)
    }

    /// What is to be sent of a commit.
    pub async fn wishes(&self, news: &News) -> Result<Vec<Wish>, StoreError> {
        let endpoints = self.endpoints().await?;
        let due_at = self.clock.now();
        let wanted = news.records.iter().flat_map(|record| {
            let kind = record.event.kind();
            let takers = endpoints.iter().filter(move |endpoint| endpoint.wants(kind));
            takers.map(move |endpoint| wish(endpoint.id, news.room, record.seq, kind, due_at))
        });
        Ok(wanted.collect())
    }

    /// A message that tries an endpoint, as `id`.
    pub async fn test(&self, endpoint: Uuid, id: Uuid) -> Result<(), StoreError> {
        let now = self.clock.now();
        // There is no such room: the id makes this test another one than the last.
        self.store.enqueue(&[wish(endpoint, RoomId(id), 0, TEST, now)], now, || id).await?;
        Ok(())
    }

    /// Asks for the endpoints anew at the next event.
    pub async fn changed(&self) {
        *self.known.lock().await = None;
    }

    async fn endpoints(&self) -> Result<Arc<Vec<Webhook>>, StoreError> {
        let mut known = self.known.lock().await;
        if let Some((at, endpoints)) = &*known
            && at.elapsed() < FRESH
        {
            return Ok(endpoints.clone());
        }
        let endpoints = Arc::new(self.store.webhooks().await?);
        *known = Some((Instant::now(), endpoints.clone()));
        Ok(endpoints)
    }

    /// Sends an event to its endpoint.
    pub async fn send(&self, dispatch: &Dispatch) -> Outcome {
        match self.try_send(dispatch).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::retry(error.to_string()),
        }
    }

    async fn try_send(&self, dispatch: &Dispatch) -> Result<Outcome, StoreError> {
        let id = dispatch.target.parse().map_err(|_| StoreError::Unexpected("an endpoint without an id".into()))?;
        let Some(endpoint) = self.store.webhook(id).await?.filter(|it| it.disabled.is_none()) else {
            return Ok(Outcome::gone("the endpoint was removed or disabled"));
        };
        let client: &Client = if self.private { self.egress.configured() } else { self.egress.public() };
        let allowed = Url::parse(&endpoint.url).ok().filter(|url| self.private || egress::check(url).is_ok());
        let Some(url) = allowed else { return Ok(Outcome::refused("its address is not public")) };
        let Some(event) = self.event(dispatch).await? else {
            return Ok(Outcome::gone("there is no such event"));
        };
        let (body, now) = (event.to_string(), self.clock.now());
        let seconds = now.micros().div_euclid(1_000_000).to_string();
        let request = client
            .post(url)
            .header("content-type", "application/cloudevents+json")
            .header("webhook-id", dispatch.id.to_string())
            .header("webhook-signature", signatures(&endpoint, dispatch.id, &seconds, &body, now))
            .header("webhook-timestamp", seconds)
            .body(body);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if egress::is_forbidden(&error) => return Ok(Outcome::refused(egress::why(&error))),
            Err(error) => return Ok(Outcome::retry(egress::why(&error))),
        };
        Ok(match response.status().as_u16() {
            200..=299 => Outcome::Done,
            410 => {
                self.store.disable_webhook(id, "the endpoint answered 410").await?;
                self.changed().await;
                Outcome::gone("the endpoint answered 410")
            }
            // A redirection among them: it is mended here, not followed.
            status => Outcome::Retry {
                after: egress::retry_after(response.headers(), now),
                why: format!("the endpoint answered {status}"),
            },
        })
    }

    /// The event as CloudEvents has it; none if the log does not know it.
    async fn event(&self, dispatch: &Dispatch) -> Result<Option<Value>, StoreError> {
        let mut event = json!({
            "specversion": "1.0",
            "id": dispatch.id,
            "source": self.source,
            "type": dispatch.kind,
            "datacontenttype": "application/json",
        });
        if dispatch.kind == TEST {
            event["time"] = json!(dispatch.created_at);
            event["data"] = json!({});
            return Ok(Some(event));
        }
        let stored = self.store.events_after(dispatch.room, dispatch.seq.saturating_sub(1), 1).await?;
        let Some(stored) = stored.first().filter(|stored| stored.seq == dispatch.seq) else { return Ok(None) };
        let record: Record = serde_json::from_str(&stored.canonical)
            .map_err(|_| StoreError::Unexpected("a stored record cannot be read".into()))?;
        event["time"] = json!(record.at);
        event["subject"] = json!(record.room);
        // As text, of which CloudEvents says that its order is that of the letters.
        event["sequence"] = json!(format!("{:020}", record.seq));
        event["data"] = thin(&record.event);
        event["data"]["room"] = json!(record.room);
        event["data"]["seq"] = json!(record.seq);
        Ok(Some(event))
    }
}

fn wish(endpoint: Uuid, room: RoomId, seq: u64, kind: &str, due_at: Timestamp) -> Wish {
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

/// What an integrator reads of an event: ids and states.
fn thin(event: &Event) -> Value {
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

/// A fresh secret.
pub fn fresh_secret() -> Result<Vec<u8>, keyfile::KeyError> {
    let mut secret = vec![0; 32];
    keyfile::random().fill(&mut secret).map_err(|_| keyfile::KeyError::Random)?;
    Ok(secret)
}

/// A secret as it is given to an integrator.
pub fn written(secret: &[u8]) -> String {
    format!("{PREFIX}{}", STANDARD.encode(secret))
}

/// Under the present secret, and for a while under the one before.
fn signatures(endpoint: &Webhook, id: impl std::fmt::Display, seconds: &str, body: &str, now: Timestamp) -> String {
    let former = endpoint.former.iter().filter(|(_, until)| *until > now).map(|(secret, _)| secret);
    let sign = |secret: &Vec<u8>| {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), format!("{id}.{seconds}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    };
    std::iter::once(&endpoint.secret).chain(former).map(sign).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that Standard Webhooks give.
    #[test]
    fn signatures_are_those_of_standard_webhooks() {
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
        endpoint.former = Some((secret, at.plus(OVERLAP)));
        assert_eq!(sign(&endpoint), format!("{expected} {expected}"));
        endpoint.former = endpoint.former.map(|(secret, _)| (secret, at));
        assert_eq!(sign(&endpoint), expected);
    }
}
