//! Payments: asked of a provider, and heard from it.
//!
//! The providers do the same three things: make an intent that a patient pays on a page of theirs, take or give back the
//! money when told, and say by webhooks what happened. What they say is a [`Fact`]; what it means is the room's to decide.

pub mod desk;
pub mod sandbox;
mod stripe;

use rooms::id::RoomId;
use rooms::text::Line;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use self::sandbox::Sandbox;
use self::stripe::{IntentBody, Stripe, currency};
use super::partner::{Failure, Partner, reference};
use crate::clock::Clock;
use crate::config::{PaymentProvider, PaymentSettings};
use crate::egress::Egress;
use crate::store::Store;

/// What is to be paid.
#[derive(Clone, Debug)]
pub struct Order {
    pub room: RoomId,
    /// In minor units of `currency`.
    pub amount: u64,
    pub currency: Line,
}

/// What a provider made of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The provider's id.
    pub reference: String,
    /// Where the patient pays; absent if the provider named no page.
    pub checkout_url: Option<String>,
}

/// Where money stands with a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Reserved.
    Authorized,
    /// Taken.
    Captured,
    /// Let go; nothing was taken.
    Released,
    /// Paid back.
    Refunded,
}

/// What a provider says of an intent that it was asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub standing: Standing,
    pub amount: u64,
    pub currency: Line,
}

/// What a provider says of its own accord.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    pub reference: String,
    /// The room, if the provider repeats what it was told.
    pub room: Option<RoomId>,
    pub said: Said,
}

/// The provider that is set.
#[derive(Clone, Debug)]
pub enum Payments {
    Sandbox(Sandbox),
    Stripe(Stripe),
}

impl Payments {
    pub fn new(settings: &PaymentSettings, egress: &Egress, store: Store, clock: Clock) -> Self {
        match &settings.provider {
            PaymentProvider::Sandbox => Self::Sandbox(Sandbox::new(store, clock)),
            PaymentProvider::Http { url, key, checkout_url } => {
                let partner = Partner::new(egress, clock, url.clone(), key.clone());
                Self::Stripe(Stripe::new(partner, checkout_url.clone()))
            }
        }
    }

    /// The name of its lane.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sandbox(_) => "sandbox",
            Self::Stripe(_) => "http",
        }
    }

    /// Makes an intent that reserves the price when the patient pays. With the same key again: the same intent.
    pub async fn authorize(&self, order: &Order, key: Uuid) -> Result<Intent, Failure> {
        match self {
            Self::Sandbox(sandbox) => sandbox.authorize(order).await,
            Self::Stripe(stripe) => stripe.authorize(order, key).await,
        }
    }

    /// Takes what is reserved.
    pub async fn capture(&self, reference: &str, key: Uuid) -> Result<Said, Failure> {
        match self {
            Self::Sandbox(sandbox) => sandbox.capture(reference).await,
            Self::Stripe(stripe) => stripe.capture(reference, key).await,
        }
    }

    /// Lets go of what is asked for or reserved.
    pub async fn release(&self, reference: &str, key: Uuid) -> Result<Said, Failure> {
        match self {
            Self::Sandbox(sandbox) => sandbox.release(reference).await,
            Self::Stripe(stripe) => stripe.release(reference, key).await,
        }
    }

    /// Pays back what was taken.
    pub async fn refund(&self, reference: &str, key: Uuid) -> Result<Said, Failure> {
        match self {
            Self::Sandbox(sandbox) => sandbox.refund(reference).await,
            Self::Stripe(stripe) => stripe.refund(reference, key).await,
        }
    }
}

/// The envelope of a provider's event.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Value,
}

/// A refund is told of the charge, not of the intent.
#[derive(Deserialize)]
struct Charge {
    payment_intent: String,
    amount_refunded: u64,
    currency: String,
}

/// Reads an event: what it says of a payment, or nothing if it is about something else. `Err` if it is not what the API says.
pub fn read(body: &[u8]) -> Result<Option<Fact>, Failure> {
    let garbage = |_| Failure::later("the event is not what the API says");
    let event: Event = serde_json::from_slice(body).map_err(garbage)?;
    let standing = match event.kind.as_str() {
        "payment_intent.amount_capturable_updated" => Standing::Authorized,
        "payment_intent.succeeded" => Standing::Captured,
        "payment_intent.canceled" => Standing::Released,
        "charge.refunded" => Standing::Refunded,
        // Among them that a card was declined: the patient may try another one until the hold ends.
        _ => return Ok(None),
    };
    if standing == Standing::Refunded {
        let charge: Charge = serde_json::from_value(event.data.object).map_err(garbage)?;
        let said = Said { standing, amount: charge.amount_refunded, currency: currency(&charge.currency)? };
        return Ok(Some(Fact { reference: reference(&charge.payment_intent)?, room: None, said }));
    }
    let intent: IntentBody = serde_json::from_value(event.data.object).map_err(garbage)?;
    let amount = if standing == Standing::Captured { intent.amount_received } else { intent.amount };
    let said = Said { standing, amount, currency: currency(&intent.currency)? };
    Ok(Some(Fact { reference: reference(&intent.id)?, room: intent.metadata.room.map(RoomId), said }))
}
