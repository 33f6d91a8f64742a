//! Connects notices to people's devices by Web Push: keeps subscriptions, makes one delivery per device, and sends it.
//!
//! Called with notices whose grace period is over. Recipients who have seen the event on a screen or answered the call by
//! then, and those whose preferences exclude it, get no delivery. That an event reached a device counts for nothing: it may
//! be a hidden tab on a desk that nobody sits at.

use std::collections::{BTreeSet, HashMap};

use reqwest::Url;
use rooms::event::Event;
use rooms::id::{PharmacyId, RoomId, UserId};
use rooms::record::Record;
use rooms::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::message::{PushError, PushMessage, are_valid_keys};
use super::recipients::{Notice, Recipient};
use super::vapid::{Vapid, VapidError};
use crate::clock::Clock;
use crate::config::{PushService, PushSettings};
use crate::egress::{self, Egress, Forbidden};
use crate::integrations::outcome::Outcome;
use crate::store::devices::{Device, NoticeKind, Subscription};
use crate::store::dispatches::{Dispatch, Sink, Wish};
use crate::store::{Store, StoreError};

/// The events after a ring that are searched for its answer. More of them in the two seconds until then are chat.
const MAX_LATER_EVENTS: u32 = 64;
/// Bytes of an endpoint's URL.
const MAX_ENDPOINT_BYTES: usize = 1000;

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct PushAdapter {
    store: Store,
    clock: Clock,
    egress: Egress,
    vapid: Vapid,
    subject: String,
    services: Vec<PushService>,
}

/// The `body` of a delivery.
#[derive(Serialize, Deserialize)]
struct PushBody {
    expires_at: Timestamp,
}

/// Why a subscription is rejected.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    #[error("must be the URL of a push service that this hub may call (push.services)")]
    Service,
    #[error("{0}")]
    Forbidden(#[from] Forbidden),
    #[error("must be a device's keys: p256dh a point of P-256, auth 16 bytes, both in base64url")]
    Keys,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PushAdapter {
    /// Reads or creates the VAPID key.
    pub fn open(settings: &PushSettings, store: Store, clock: Clock, egress: Egress) -> Result<Self, VapidError> {
        let vapid = Vapid::open(settings)?;
        let (subject, services) = (settings.subject.clone(), settings.services.clone());
        Ok(Self { store, clock, egress, vapid, subject, services })
    }

    /// Returns the public key, with which browsers subscribe.
    pub fn public_key(&self) -> &str {
        self.vapid.public_key()
    }

    /// Stores a subscription with the present public key, and returns its id.
    pub async fn subscribe(&self, device: &Subscription) -> Result<Uuid, SubscribeError> {
        let (service, url) = self.service_of(&device.endpoint).ok_or(SubscribeError::Service)?;
        if !matches!(service, PushService::Origin(_)) {
            egress::check_resolved(&url).await?;
        }
        if !are_valid_keys(&device.p256dh, &device.auth) {
            return Err(SubscribeError::Keys);
        }
        // Store the URL in its normalised form, so that no other parser reads it differently.
        let vapid_key = Some(self.vapid.public_key().to_owned());
        let device = Subscription { endpoint: url.into(), vapid_key, ..device.clone() };
        Ok(self.store.save_subscription(&device, self.clock.now()).await?)
    }

    /// Returns the service of an endpoint, if the hub may call it.
    fn service_of(&self, endpoint: &str) -> Option<(&PushService, Url)> {
        let url = Url::parse(endpoint).ok().filter(|_| endpoint.len() <= MAX_ENDPOINT_BYTES)?;
        let service = self.services.iter().find(|service| service.has(&url))?;
        Some((service, url))
    }

    /// Returns a delivery for each device whose user has neither seen the event nor answered the call, and wants the notice.
    pub async fn deliveries_for(&self, notices: &[Notice]) -> Result<Vec<Wish>, StoreError> {
        let now = self.clock.now();
        let (people, pharmacies) = distinct_recipients(notices);
        let mut devices: HashMap<Recipient, Vec<Device>> = HashMap::new();
        for device in self.store.devices_of_users(&people).await? {
            devices.entry(Recipient::Person(UserId(device.requested_for))).or_default().push(device);
        }
        for device in self.store.devices_of_pharmacies(&pharmacies).await? {
            devices.entry(Recipient::Pharmacy(PharmacyId(device.requested_for))).or_default().push(device);
        }
        let mut needed = Vec::new();
        for notice in notices.iter().filter(|notice| notice.expires_at > now) {
            for device in devices.get(&notice.recipient).into_iter().flatten() {
                if device.preferences.allow(notice.kind, now) {
                    needed.push((notice, device));
                }
            }
        }
        let readers: BTreeSet<_> = needed.iter().map(|(notice, device)| (notice.room, device.user)).collect();
        let readers: Vec<_> = readers.into_iter().collect();
        let seen: HashMap<_, _> = self.store.seen(&readers).await?.into_iter().collect();
        needed.retain(|(notice, device)| seen.get(&(notice.room, device.user)).is_none_or(|seq| *seq < notice.seq));
        let answered = self.answered_calls(&needed).await?;
        needed.retain(|(notice, device)| !answered.contains(&(notice.room, notice.seq, device.user)));
        Ok(needed.into_iter().filter_map(|(notice, device)| self.delivery(notice, device, now)).collect())
    }

    /// Returns which ringing calls, by room, event and user, are over for that user: they have answered, or it rings no
    /// more.
    async fn answered_calls(
        &self,
        needed: &[(&Notice, &Device)],
    ) -> Result<BTreeSet<(RoomId, u64, UserId)>, StoreError> {
        let calls = needed.iter().filter(|(notice, _)| notice.kind == NoticeKind::Call);
        let rings: BTreeSet<_> = calls.clone().map(|(notice, _)| (notice.room, notice.seq)).collect();
        let mut later: HashMap<_, Vec<Record>> = HashMap::new();
        for (room, seq) in rings {
            let stored = self.store.events_after(room, seq, MAX_LATER_EVENTS).await?;
            let records = stored.iter().filter_map(|event| serde_json::from_str(&event.canonical).ok());
            later.insert((room, seq), records.collect());
        }
        let is_over = |record: &Record, user| match &record.event {
            Event::CallJoined(_) | Event::CallLeft(_) => record.actor.id == Some(user),
            Event::CallEnded(_) | Event::ConsultationMoved(_) => true,
            _ => false,
        };
        let answered = calls.filter(|(notice, device)| {
            later.get(&(notice.room, notice.seq)).is_some_and(|it| it.iter().any(|record| is_over(record, device.user)))
        });
        Ok(answered.map(|(notice, device)| (notice.room, notice.seq, device.user)).collect())
    }

    fn delivery(&self, notice: &Notice, device: &Device, now: Timestamp) -> Option<Wish> {
        // The service may have been removed from the settings.
        let (service, _) = self.service_of(&device.endpoint)?;
        let body = PushBody { expires_at: notice.expires_at };
        Some(Wish {
            sink: Sink::Push,
            lane: service.name().to_owned(),
            target: device.subscription.to_string(),
            room: notice.room,
            seq: notice.seq,
            kind: notice.kind.as_str().to_owned(),
            body: serde_json::to_string(&body).expect("an instant"),
            due_at: now,
        })
    }

    /// Sends a notification to its device.
    pub async fn send(&self, delivery: &Dispatch) -> Outcome {
        match self.try_send(delivery).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::postponed(error.to_string()),
        }
    }

    async fn try_send(&self, delivery: &Dispatch) -> Result<Outcome, StoreError> {
        let now = self.clock.now();
        let kind = NoticeKind::ALL.into_iter().find(|kind| kind.as_str() == delivery.kind);
        let body: Option<PushBody> = serde_json::from_str(&delivery.body).ok();
        let (Some(kind), Some(body), Ok(id)) = (kind, body, delivery.target.parse()) else {
            return Ok(Outcome::refused("the stored notification cannot be read"));
        };
        let lifetime = body.expires_at.since(now);
        if lifetime.is_zero() {
            return Ok(Outcome::gone("the notification has expired"));
        }
        let Some(to) = self.store.subscription(id).await? else {
            return Ok(Outcome::gone("the device is signed out"));
        };
        if to.vapid_key.as_deref().is_some_and(|key| key != self.vapid.public_key()) {
            self.store.remove_subscription(id, None).await?;
            return Ok(Outcome::gone("the device subscribed with a former key of this hub; it is removed"));
        }
        let Some((service, url)) = self.service_of(&to.endpoint) else {
            return Ok(Outcome::gone("its push service may not be called"));
        };
        let client = match service {
            PushService::Origin(_) => self.egress.configured(),
            PushService::Host(_) | PushService::Below(_) if egress::check(&url).is_ok() => self.egress.public(),
            PushService::Host(_) | PushService::Below(_) => {
                return Ok(Outcome::refused("its address is not public"));
            }
        };
        let message = PushMessage { to: &to, kind, room: delivery.room, id: delivery.id, lifetime };
        let response = match message.send(client, url, (&self.vapid, &self.subject)).await {
            Ok(response) => response,
            Err(PushError::NoAnswer(error)) if egress::is_forbidden(&error) => {
                return Ok(Outcome::refused(egress::why(&error)));
            }
            Err(error @ PushError::NoAnswer(_)) => return Ok(Outcome::retry(error.to_string())),
            Err(error @ PushError::Encoding(_)) => return Ok(Outcome::refused(error.to_string())),
        };
        let status = response.status();
        Ok(match status.as_u16() {
            200..=299 => Outcome::done(),
            404 | 410 => {
                self.store.remove_subscription(id, None).await?;
                Outcome::gone("the device has unsubscribed").answered()
            }
            // The services' answers to a signature by another key than the subscription's.
            400 | 401 | 403 if to.vapid_key.is_none() => {
                self.store.remove_subscription(id, None).await?;
                Outcome::gone(format!("{status}: the device seems to have subscribed with another key; it is removed"))
                    .answered()
            }
            // The subscription's key is this hub's, so the signature itself is refused, with every message alike. Dead
            // deliveries would be of no use to anybody.
            401 | 403 => {
                tracing::warn!(%status, "push service refuses this hub's signature; check the clock and push.subject");
                Outcome::gone(format!("{status}: the push service refuses this hub's signature")).answered()
            }
            408 | 429 | 500..=599 => {
                Outcome::retry(status.to_string()).not_before(egress::retry_after(response.headers(), now))
            }
            _ => Outcome::refused(status.to_string()).answered(),
        })
    }
}

/// Returns the recipients of these notices, each once.
fn distinct_recipients(notices: &[Notice]) -> (Vec<UserId>, Vec<PharmacyId>) {
    let (mut people, mut pharmacies) = (BTreeSet::new(), BTreeSet::new());
    for notice in notices {
        match notice.recipient {
            Recipient::Person(user) => {
                people.insert(user);
            }
            Recipient::Pharmacy(pharmacy) => {
                pharmacies.insert(pharmacy);
            }
        }
    }
    (people.into_iter().collect(), pharmacies.into_iter().collect())
}
