//! The one way out: everything that leaves the hub is a [`Dispatch`] for a [`Sink`].
//!
//! A commit is noted in its own transaction (`store::outgoing`). What follows from it for each sink is written down as
//! dispatches ([`Gateway::wishes`]), and each of them is sent at least once ([`Gateway::send`]). The jobs `outgoing` and
//! `dispatch` do the one and the other. A sink is a file beside this one, or the folder `push`.

pub mod breaker;
pub mod courier;
pub mod inbound;
pub mod lanes;
pub mod mail;
pub mod partner;
pub mod payment;
pub mod schedule;
pub mod signature;
pub mod webhook;

use std::time::Duration;

use crate::clock::Clock;
use crate::config::Config;
use crate::egress::Egress;
use crate::hub::Hub;
use crate::push::{Push, Pushed};
use crate::store::StoreError;
use crate::store::dispatches::{Dispatch, Sink, Wish};
use crate::store::outgoing::News;

use self::courier::desk::CourierDesk;
use self::lanes::Lanes;
use self::mail::desk::MailDesk;
use self::payment::desk::PaymentDesk;
use self::webhook::WebhookDesk;

/// What became of an attempt to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Done,
    /// The receiver did not answer, or cannot take it now. It is tried again, not before `after` from now.
    Retry { after: Option<Duration>, why: String },
    /// It is of no use any more: the receiver is gone for good, or the time for it is over.
    Gone { why: String },
    /// The receiver works and will never take it: a person has to look at it.
    Refused { why: String },
}

impl Outcome {
    /// It is tried again when the schedule says so.
    pub fn retry(why: impl Into<String>) -> Self {
        Outcome::Retry { after: None, why: why.into() }
    }

    pub fn gone(why: impl Into<String>) -> Self {
        Outcome::Gone { why: why.into() }
    }

    pub fn refused(why: impl Into<String>) -> Self {
        Outcome::Refused { why: why.into() }
    }

    /// Its name in the figures.
    pub fn as_str(&self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Retry { .. } => "retry",
            Outcome::Gone { .. } => "gone",
            Outcome::Refused { .. } => "refused",
        }
    }

    /// Whether the receiver works, as far as this attempt tells.
    pub fn works(&self) -> bool {
        !matches!(self, Outcome::Retry { .. })
    }
}

impl From<Pushed> for Outcome {
    fn from(pushed: Pushed) -> Self {
        match pushed {
            Pushed::Taken => Outcome::Done,
            Pushed::Later { after, why } => Outcome::Retry { after, why },
            Pushed::Over(why) => Outcome::gone(why),
            Pushed::Refused(why) => Outcome::Refused { why },
        }
    }
}

/// All sinks. What is sent where is decided here and nowhere else.
#[derive(Clone)]
pub struct Gateway {
    hub: Hub,
    push: Push,
    webhooks: WebhookDesk,
    lanes: Lanes,
    payment: PaymentDesk,
    /// Absent where no partner is set.
    courier: Option<CourierDesk>,
    /// Absent where nobody carries mail.
    mail: Option<MailDesk>,
}

impl Gateway {
    /// Puts the sinks together, as they are set.
    pub async fn open(config: &Config, hub: Hub, push: Push, egress: Egress, clock: Clock) -> anyhow::Result<Self> {
        let payment = PaymentDesk::new(&config.payment, &egress, hub.clone(), clock.clone());
        let courier = CourierDesk::new(&config.courier, &egress, hub.clone(), clock.clone());
        if let Some(courier) = &courier {
            courier.open_account().await?;
        }
        let webhooks = WebhookDesk::new(config, hub.store().clone(), clock.clone(), egress);
        let mail = MailDesk::new(config, hub.clone(), clock)?;
        Ok(Self { hub, push, webhooks, lanes: Lanes::default(), payment, courier, mail })
    }

    pub fn payment(&self) -> &PaymentDesk {
        &self.payment
    }

    pub fn courier(&self) -> Option<&CourierDesk> {
        self.courier.as_ref()
    }

    pub fn mail(&self) -> Option<&MailDesk> {
        self.mail.as_ref()
    }

    /// People's devices.
    pub fn push(&self) -> &Push {
        &self.push
    }

    /// Integrators' endpoints.
    pub fn webhooks(&self) -> &WebhookDesk {
        &self.webhooks
    }

    /// The breakers.
    pub fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// The rooms, for what a partner's answer changes in them.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// What follows from a commit at once. What people are notified of is not among it: that waits, to see whether it
    /// is needed.
    pub async fn wishes(&self, news: &News) -> Result<Vec<Wish>, StoreError> {
        let mut wishes: Vec<Wish> = self.payment.wishes(news).into_iter().collect();
        wishes.extend(self.courier.iter().flat_map(|courier| courier.wishes(news)));
        wishes.extend(self.mail.iter().flat_map(|mail| mail.wishes(news)));
        wishes.extend(self.webhooks.wishes(news).await?);
        Ok(wishes)
    }

    /// Sends one, within [`timeout`]. It may have been sent before.
    pub async fn send(&self, dispatch: &Dispatch) -> Outcome {
        match (dispatch.sink, &self.courier, &self.mail) {
            (Sink::Push, _, _) => self.push.send(dispatch).await.into(),
            (Sink::Webhook, _, _) => self.webhooks.send(dispatch).await,
            (Sink::Payment, _, _) => self.payment.send(dispatch).await,
            (Sink::Courier, Some(courier), _) => courier.send(dispatch).await,
            (Sink::Mail, _, Some(mail)) => mail.send(dispatch).await,
            (Sink::Courier | Sink::Mail, _, _) => Outcome::refused("this hub does not have this sink"),
        }
    }
}

/// How long one attempt may take.
pub fn timeout(sink: Sink) -> Duration {
    match sink {
        Sink::Push | Sink::Webhook | Sink::Payment | Sink::Courier => Duration::from_secs(10),
        Sink::Mail => Duration::from_secs(20),
    }
}
