//! A clinic that charges for consultations, and the steps that tests of partners share.

use std::time::Duration;

use ring::hmac;
use rooms::command::{CheckIn, Command, Note, Nothing};
use rooms::id::{RoomId, SlotId};
use rooms::role::{Actor, Role};
use rooms::room::snapshot::Snapshot;
use rooms::text::{Line, Prose};
use rooms::time::Timestamp;
use serde_json::json;
use uuid::Uuid;
use wardroom::config::{Config, DatabaseSettings};
use wardroom::store::dispatches::{DispatchState, Sink};
use wardroom::store::slots::{Published, PublishedSlot};

use super::rest::{RestClient, RestResponse};
use super::test_server::TestServer;

/// The price of a consultation, in minor units.
pub const PRICE: u64 = 2500;

/// A clinic with a price, a doctor, a patient, and an administrator.
pub struct PaidClinic {
    pub rest: RestClient,
    pub doctor: Actor,
    pub patient: Actor,
    pub admin: Actor,
    /// The patient's bearer token.
    pub token: String,
}

impl PaidClinic {
    pub async fn start(database: DatabaseSettings, change: impl FnOnce(&mut Config)) -> Self {
        Self::free(database, |config| {
            config.policy.price = PRICE;
            change(config);
        })
        .await
    }

    /// Starts the clinic without a price.
    pub async fn free(database: DatabaseSettings, change: impl FnOnce(&mut Config)) -> Self {
        let rest = RestClient::start_with(database, |config| {
            // Check-in at any time, so that a test need not advance the clock until shortly before the slot.
            config.policy.check_in_s = None;
            change(config);
        })
        .await;
        let doctor = rest.server.person(Role::Doctor, "Dr Discreet", None).await;
        let (patient, token) = rest.person_with_token(Role::Patient, None).await;
        let admin = rest.server.person(Role::Admin, "Ad Min", None).await;
        Self { rest, doctor, patient, admin, token }
    }

    pub fn server(&self) -> &TestServer {
        &self.rest.server
    }

    /// Publishes a slot that begins after `ahead`, or after the existing slots.
    pub async fn slot(&self, ahead: Duration) -> SlotId {
        let (id, doctor) = (SlotId(Uuid::now_v7()), self.doctor.user().unwrap());
        let mut starts_at = self.server().state.clock.now().plus(ahead);
        loop {
            let slot = PublishedSlot { id, starts_at, ends_at: starts_at.plus(Duration::from_secs(900)), room: None };
            if self.server().state.store.publish_slots(doctor, &[slot]).await.unwrap() == Published::All {
                return id;
            }
            starts_at = starts_at.plus(Duration::from_secs(900));
        }
    }

    /// Books a slot ten minutes ahead over REST.
    pub async fn book(&self) -> RoomId {
        let slot = self.slot(Duration::from_secs(600)).await;
        self.book_slot(slot).await
    }

    pub async fn book_slot(&self, slot: SlotId) -> RoomId {
        let booking = self.rest.post("/v1/bookings").bearer(&self.token).json(json!({"slot": slot})).send().await.ok();
        assert_eq!(booking["payment"]["state"], "pending", "{booking}");
        assert_eq!(booking["payment"]["amount"], PRICE);
        serde_json::from_value(booking["room"].clone()).unwrap()
    }

    pub async fn snapshot(&self, room: RoomId) -> Snapshot {
        self.server().state.hub.read(room, &Actor::System).await.unwrap().snapshot
    }

    /// Returns the states of consultation and payment.
    pub async fn states(&self, room: RoomId) -> (&'static str, &'static str) {
        let snapshot = self.snapshot(room).await;
        (snapshot.consultation.unwrap().state.as_str(), snapshot.payment.unwrap().state.as_str())
    }

    /// Waits until consultation and payment have these states.
    pub async fn wait_until(&self, room: RoomId, consultation: &str, payment: &str) {
        let wanted = (consultation, payment);
        let mut last = ("", "");
        let reached = async {
            loop {
                last = self.states(room).await;
                if last == wanted {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let is_reached = tokio::time::timeout(Duration::from_secs(60), reached).await.is_ok();
        let counts = self.delivery_counts(Sink::Payment).await;
        assert!(is_reached, "states are {last:?}, expected {wanted:?}; {counts:?}");
    }

    /// Returns the checkout page's URL once the provider has named it.
    pub async fn checkout_url(&self, room: RoomId) -> String {
        let path = format!("/v1/bookings/{room}/payment");
        eventually("a checkout page", async || {
            let status = self.rest.get(&path).bearer(&self.token).send().await.ok();
            status["checkout_url"].as_str().map(str::to_owned)
        })
        .await
    }

    /// Runs the consultation to its signed note.
    pub async fn complete(&self, room: RoomId) {
        let server = self.server();
        let consent = server.state.config.policy.consent.as_str().parse().unwrap();
        let identity = Line::parse("account").unwrap();
        server.submit(room, &self.patient, Command::CheckIn(CheckIn { consent, identity })).await.unwrap();
        server.submit(room, &self.doctor, Command::Admit(Nothing {})).await.unwrap();
        server.submit(room, &self.patient, Command::Enter(Nothing {})).await.unwrap();
        server.submit(room, &self.doctor, Command::End(Nothing {})).await.unwrap();
        let note = Prose::parse("a secret diagnosis").unwrap();
        server.submit(room, &self.doctor, Command::Complete(Note { note })).await.unwrap();
    }

    /// Advances the clock, so that scheduled retries become due.
    pub fn advance_clock(&self, span: Duration) {
        self.server().state.clock.advance(span);
    }

    /// Returns how many deliveries of a sink are in each state.
    pub async fn delivery_counts(&self, sink: Sink) -> Vec<(DispatchState, u64)> {
        let lanes = self.server().state.store.lanes().await.unwrap();
        lanes.into_iter().filter(|lane| lane.sink == sink).map(|lane| (lane.state, lane.count)).collect()
    }

    /// Waits until no delivery of a sink is waiting or in flight, advancing the clock as needed.
    pub async fn wait_until_settled(&self, sink: Sink) {
        let now = self.server().state.clock.now();
        let done = async {
            loop {
                let busy = self
                    .delivery_counts(sink)
                    .await
                    .iter()
                    .any(|(state, _)| matches!(state, DispatchState::Waiting | DispatchState::Sending));
                if !busy {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                self.advance_clock(Duration::from_secs(5));
            }
        };
        let settled = tokio::time::timeout(Duration::from_secs(60), done).await;
        assert!(settled.is_ok(), "{:?} since {now}", self.delivery_counts(sink).await);
    }

    /// Sends a partner's webhook, signed with `secret` at `at`.
    pub async fn send_webhook(&self, partner: &str, secret: &str, at: Timestamp, body: &str) -> RestResponse {
        let header = signature(secret, at, body);
        let call = self.rest.call("post", &format!("/v1/partners/{partner}")).header("partner-signature", &header);
        call.header("content-type", "application/json").raw(body).send().await
    }

    /// Sends a partner's webhook, signed now.
    pub async fn send_webhook_now(&self, partner: &str, secret: &str, body: &str) -> RestResponse {
        self.send_webhook(partner, secret, self.server().state.clock.now(), body).await
    }
}

/// Computes the signature as a partner would, from the documentation alone.
pub fn signature(secret: &str, at: Timestamp, body: &str) -> String {
    let seconds = at.micros() / 1_000_000;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{seconds}.{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

/// Polls until there is a value.
pub async fn eventually<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asked)
        .await
        .unwrap_or_else(|_| panic!("timed out waiting for {what}"))
}
