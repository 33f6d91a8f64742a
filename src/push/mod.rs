//! Notifications on people's devices, by Web Push: who is told what, whether it is needed, and sending it.
//!
//! An event first waits for its people to confirm it by a session that is open. Only for those who did not, and who
//! want to hear of it, it becomes a delivery per device.

mod kind;
mod message;
mod told;
mod vapid;

use std::collections::{BTreeSet, HashMap};

use reqwest::Url;
use rooms::id::{PharmacyId, UserId};
use rooms::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::told::{Notice, Told, notices};
pub use self::vapid::{Vapid, VapidError};

use self::message::{Answer, Message, SendError, are_keys};

use crate::clock::Clock;
use crate::config::{PushService, PushSettings};
use crate::egress::{self, Egress, Forbidden};
use crate::store::devices::{Device, NoticeKind, Subscription};
use crate::store::dispatches::{Dispatch, Sink, Wish};
use crate::store::{Store, StoreError};

/// Bytes of an endpoint's address.
const MAX_ENDPOINT: usize = 1000;

/// The way to devices; cheap to clone.
#[derive(Clone)]
pub struct Push {
    store: Store,
    clock: Clock,
    egress: Egress,
    vapid: Vapid,
    subject: String,
    services: Vec<PushService>,
}

/// What a delivery carries.
#[derive(Serialize, Deserialize)]
struct Body {
    expires_at: Timestamp,
}

/// What became of a notification.
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed {
    Taken,
    Later {
        after: Option<std::time::Duration>,
        why: String,
    },
    /// The device is gone, or it is too late.
    Over(&'static str),
    Refused(String),
}

/// Why a device is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    #[error("is not the address of a push service that this hub may call (push.services)")]
    Service,
    #[error("{0}")]
    Forbidden(#[from] Forbidden),
    #[error("are not a device's keys: p256dh is a point of P-256, auth has 16 bytes, both in base64url")]
    Keys,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Push {
    /// Reads or makes the key.
    pub fn open(settings: &PushSettings, store: Store, clock: Clock, egress: Egress) -> Result<Self, VapidError> {
        let vapid = Vapid::open(settings)?;
        let (subject, services) = (settings.subject.clone(), settings.services.clone());
        Ok(Self { store, clock, egress, vapid, subject, services })
    }

    /// What browsers subscribe with.
    pub fn key(&self) -> &str {
        self.vapid.public()
    }

    /// Takes note of a device. Returns the id it is known by.
    pub async fn subscribe(&self, device: &Subscription) -> Result<Uuid, SubscribeError> {
        let (service, url) = self.service_of(&device.endpoint).ok_or(SubscribeError::Service)?;
        if !matches!(service, PushService::Origin(_)) {
            egress::check_resolved(&url).await?;
        }
        if !are_keys(&device.p256dh, &device.auth) {
            return Err(SubscribeError::Keys);
        }
        // As the parser writes it, so that no other one takes it for something else.
        let device = Subscription { endpoint: url.into(), ..device.clone() };
        Ok(self.store.save_subscription(&device, self.clock.now()).await?)
    }

    /// The service that an endpoint belongs to, if it may be called.
    fn service_of(&self, endpoint: &str) -> Option<(&PushService, Url)> {
        let url = Url::parse(endpoint).ok().filter(|_| endpoint.len() <= MAX_ENDPOINT)?;
        let service = self.services.iter().find(|service| service.has(&url))?;
        Some((service, url))
    }

    /// The deliveries that these notices come to now: to those who did not confirm them and want to hear of them.
    pub async fn wishes(&self, notices: &[Notice]) -> Result<Vec<Wish>, StoreError> {
        let now = self.clock.now();
        let (people, pharmacies) = addressees(notices);
        let mut devices: HashMap<Told, Vec<Device>> = HashMap::new();
        for device in self.store.devices_of_people(&people).await? {
            devices.entry(Told::Person(UserId(device.of))).or_default().push(device);
        }
        for device in self.store.devices_of_pharmacies(&pharmacies).await? {
            devices.entry(Told::Pharmacy(PharmacyId(device.of))).or_default().push(device);
        }
        let mut needed = Vec::new();
        for notice in notices.iter().filter(|notice| notice.expires_at > now) {
            for device in devices.get(&notice.told).into_iter().flatten() {
                if device.preferences.allow(notice.kind, now) {
                    needed.push((notice, device));
                }
            }
        }
        let readers: BTreeSet<_> = needed.iter().map(|(notice, device)| (notice.room, device.user)).collect();
        let readers: Vec<_> = readers.into_iter().collect();
        let confirmed: HashMap<_, _> = self.store.delivered(&readers).await?.into_iter().collect();
        needed
            .retain(|(notice, device)| confirmed.get(&(notice.room, device.user)).is_none_or(|seq| *seq < notice.seq));
        Ok(needed.into_iter().filter_map(|(notice, device)| self.wish(notice, device, now)).collect())
    }

    fn wish(&self, notice: &Notice, device: &Device, now: Timestamp) -> Option<Wish> {
        // A service that was taken off the list since is not called any more.
        let (service, _) = self.service_of(&device.endpoint)?;
        let body = Body { expires_at: notice.expires_at };
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
    pub async fn send(&self, dispatch: &Dispatch) -> Pushed {
        match self.try_send(dispatch).await {
            Ok(pushed) => pushed,
            Err(error) => Pushed::Later { after: None, why: error.to_string() },
        }
    }

    async fn try_send(&self, dispatch: &Dispatch) -> Result<Pushed, StoreError> {
        let broken = || StoreError::Unexpected("a notification that cannot be read".into());
        let now = self.clock.now();
        let body: Body = serde_json::from_str(&dispatch.body).map_err(|_| broken())?;
        let kind = NoticeKind::ALL.into_iter().find(|kind| kind.as_str() == dispatch.kind).ok_or_else(broken)?;
        let id = dispatch.target.parse().map_err(|_| broken())?;
        let life = body.expires_at.since(now);
        if life.is_zero() {
            return Ok(Pushed::Over("its time is over"));
        }
        let Some(to) = self.store.subscription(id).await? else {
            return Ok(Pushed::Over("the device is signed out"));
        };
        let Some((service, url)) = self.service_of(&to.endpoint) else {
            return Ok(Pushed::Over("its push service may not be called"));
        };
        let client = match service {
            PushService::Origin(_) => self.egress.configured(),
            PushService::Host(_) | PushService::Below(_) if egress::check(&url).is_ok() => self.egress.public(),
            PushService::Host(_) | PushService::Below(_) => {
                return Ok(Pushed::Refused("its address is not public".to_owned()));
            }
        };
        let message = Message { to: &to, kind, room: dispatch.room, id: dispatch.id, life };
        Ok(match message.send(client, url, (&self.vapid, &self.subject), now).await {
            Ok(Answer::Taken) => Pushed::Taken,
            Ok(Answer::Ended) => {
                self.store.remove_subscription(id, None).await?;
                Pushed::Over("the device has unsubscribed")
            }
            Ok(Answer::Later { after, status }) => Pushed::Later { after, why: status.to_string() },
            Ok(Answer::Refused(status)) => Pushed::Refused(status.to_string()),
            Err(SendError::NoAnswer(error)) if egress::is_forbidden(&error) => {
                Pushed::Refused(egress::why(&error).to_owned())
            }
            Err(error @ SendError::NoAnswer(_)) => Pushed::Later { after: None, why: error.to_string() },
            Err(error @ SendError::Message(_)) => Pushed::Refused(error.to_string()),
        })
    }
}

/// Everybody that these notices are for, each once.
fn addressees(notices: &[Notice]) -> (Vec<UserId>, Vec<PharmacyId>) {
    let (mut people, mut pharmacies) = (BTreeSet::new(), BTreeSet::new());
    for notice in notices {
        match notice.told {
            Told::Person(user) => {
                people.insert(user);
            }
            Told::Pharmacy(pharmacy) => {
                pharmacies.insert(pharmacy);
            }
        }
    }
    (people.into_iter().collect(), pharmacies.into_iter().collect())
}
