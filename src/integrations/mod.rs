//! Adapters to the services outside the hub, one folder each: payment, courier, mail, push; and webhooks to integrators.
//!
//! An adapter answers two questions: which deliveries follow from a committed change, and how one delivery is sent.
//! Storing deliveries, scheduling, retries, and breakers belong to `outbound`. Signed webhooks from partners to the hub
//! arrive through [`inbound`].

pub mod courier;
pub mod inbound;
pub mod mail;
mod outcome;
pub mod partner;
pub mod payment;
pub mod push;
pub mod signature;
pub mod webhook;

use crate::clock::Clock;
use crate::config::Config;
use crate::egress::Egress;
use crate::hub::Hub;
use crate::store::StoreError;
use crate::store::dispatches::{Dispatch, Sink, Wish};
use crate::store::outbox::CommittedChange;

pub use self::outcome::{AttemptResult, Evidence, Outcome};

use self::courier::adapter::CourierAdapter;
use self::mail::adapter::MailAdapter;
use self::payment::adapter::PaymentAdapter;
use self::push::adapter::PushAdapter;
use self::webhook::WebhookAdapter;

/// All configured adapters. Only this type maps a [`Sink`] to an adapter.
#[derive(Clone)]
pub struct Integrations {
    push: PushAdapter,
    webhooks: WebhookAdapter,
    payment: PaymentAdapter,
    /// Absent if no courier partner is configured.
    courier: Option<CourierAdapter>,
    /// Absent if no mail transport is configured.
    mail: Option<MailAdapter>,
}

impl Integrations {
    /// Opens the adapters that the settings name.
    pub async fn open(
        config: &Config,
        hub: Hub,
        push: PushAdapter,
        egress: Egress,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let payment = PaymentAdapter::new(&config.payment, &egress, hub.clone(), clock.clone());
        let courier = CourierAdapter::new(&config.courier, &egress, hub.clone(), clock.clone());
        if let Some(courier) = &courier {
            courier.ensure_account().await?;
        }
        let webhooks = WebhookAdapter::new(config, hub.store().clone(), clock.clone(), egress);
        let mail = MailAdapter::new(config, hub, clock)?;
        Ok(Self { push, webhooks, payment, courier, mail })
    }

    pub fn payment(&self) -> &PaymentAdapter {
        &self.payment
    }

    pub fn courier(&self) -> Option<&CourierAdapter> {
        self.courier.as_ref()
    }

    pub fn mail(&self) -> Option<&MailAdapter> {
        self.mail.as_ref()
    }

    pub fn push(&self) -> &PushAdapter {
        &self.push
    }

    pub fn webhooks(&self) -> &WebhookAdapter {
        &self.webhooks
    }

    /// Returns the deliveries that follow from a committed change at once. Push notifications are not among them:
    /// they wait out a grace period first (`outbound::grace`).
    pub async fn deliveries_for(&self, change: &CommittedChange) -> Result<Vec<Wish>, StoreError> {
        let mut deliveries: Vec<Wish> = self.payment.deliveries_for(change).into_iter().collect();
        deliveries.extend(self.courier.iter().flat_map(|courier| courier.deliveries_for(change)));
        deliveries.extend(self.mail.iter().flat_map(|mail| mail.deliveries_for(change)));
        deliveries.extend(self.webhooks.deliveries_for(change).await?);
        Ok(deliveries)
    }

    /// Makes one attempt at a delivery. An earlier attempt may have succeeded without the hub learning of it.
    pub async fn send(&self, delivery: &Dispatch) -> Outcome {
        match (delivery.sink, &self.courier, &self.mail) {
            (Sink::Push, _, _) => self.push.send(delivery).await,
            (Sink::Webhook, _, _) => self.webhooks.send(delivery).await,
            (Sink::Payment, _, _) => self.payment.send(delivery).await,
            (Sink::Courier, Some(courier), _) => courier.send(delivery).await,
            (Sink::Mail, _, Some(mail)) => mail.send(delivery).await,
            (Sink::Courier | Sink::Mail, _, _) => Outcome::refused("this hub does not have this sink"),
        }
    }
}
