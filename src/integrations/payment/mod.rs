//! Payment providers: the requests they fulfil and the events they report.
//!
//! Every provider does three things: it creates an intent that the patient pays on the provider's page, captures or
//! refunds the money on request, and reports by webhook what happened. A report is a [`PaymentEvent`]; the room decides
//! what follows from it.

pub mod adapter;
pub mod sandbox;
mod stripe;

use rooms::id::RoomId;
use rooms::money::Currency;
use rooms::text::Text;
use serde_json::Value;
use uuid::Uuid;

use self::sandbox::SandboxPayments;
use self::stripe::Stripe;
use super::partner::{PartnerClient, PartnerError, reference};
use crate::clock::Clock;
use crate::config::{PaymentProvider, PaymentSettings, payment_units};
use crate::egress::Egress;
use crate::store::Store;

/// A payment to be made.
#[derive(Clone, Debug)]
pub struct PaymentOrder {
    pub room: RoomId,
    /// In minor units of `currency`.
    pub amount: u64,
    pub currency: Text<200>,
}

/// A provider's payment intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The provider's id.
    pub reference: String,
    /// The page where the patient pays; absent if the provider named none.
    pub checkout_url: Option<String>,
}

/// The state of an intent at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntentStatus {
    /// The money is reserved.
    Authorized,
    /// The money is collected.
    Captured,
    /// The reservation is cancelled; no money was collected.
    Released,
    /// The money is returned.
    Refunded,
}

/// A provider's report about one intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentReport {
    pub status: IntentStatus,
    /// In minor units of `currency`.
    pub amount: u64,
    pub currency: Text<200>,
}

impl IntentReport {
    /// Converts what the provider reports: its amount in its own units, and the currency in small letters.
    fn from_provider(status: IntentStatus, amount: u64, currency: &str) -> Result<Self, PartnerError> {
        let unusable = || PartnerError::retryable("the provider's amount or currency is unusable");
        let currency = Currency::parse(&currency.to_ascii_uppercase()).ok_or_else(unusable)?;
        let amount = payment_units::from_provider(amount, currency).ok_or_else(unusable)?;
        let currency = Text::stored(currency.code()).map_err(|_| unusable())?;
        Ok(Self { status, amount, currency })
    }
}

/// A report that a provider sends by webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentEvent {
    pub reference: String,
    /// The room, if the provider returns the metadata of the order.
    pub room: Option<RoomId>,
    pub report: IntentReport,
}

/// The client of the configured provider.
#[derive(Clone, Debug)]
pub enum PaymentClient {
    Sandbox(SandboxPayments),
    Stripe(Stripe),
}

impl PaymentClient {
    pub fn new(settings: &PaymentSettings, egress: &Egress, store: Store, clock: Clock) -> Self {
        match &settings.provider {
            PaymentProvider::Sandbox => Self::Sandbox(SandboxPayments::new(store, clock)),
            PaymentProvider::Http { url, key, checkout_url } => {
                let partner = PartnerClient::new(egress, clock, url.clone(), key.clone());
                Self::Stripe(Stripe::new(partner, checkout_url.clone()))
            }
        }
    }

    /// Returns the name of its destination.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sandbox(_) => "sandbox",
            Self::Stripe(_) => "http",
        }
    }

    /// Creates an intent that reserves the price once the patient pays. The same key returns the same intent.
    pub async fn authorize(&self, order: &PaymentOrder, key: Uuid) -> Result<Intent, PartnerError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.authorize(order).await,
            Self::Stripe(stripe) => stripe.authorize(order, key).await,
        }
    }

    /// Collects the reserved money.
    pub async fn capture(&self, reference: &str, key: Uuid) -> Result<IntentReport, PartnerError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.capture(reference).await,
            Self::Stripe(stripe) => stripe.capture(reference, key).await,
        }
    }

    /// Cancels an intent, and with it any reservation.
    pub async fn release(&self, reference: &str, key: Uuid) -> Result<IntentReport, PartnerError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.release(reference).await,
            Self::Stripe(stripe) => stripe.release(reference, key).await,
        }
    }

    /// Returns collected money.
    pub async fn refund(&self, reference: &str, key: Uuid) -> Result<IntentReport, PartnerError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.refund(reference).await,
            Self::Stripe(stripe) => stripe.refund(reference, key).await,
        }
    }
}

/// Parses a webhook. Returns `None` if it reports nothing that the hub applies: another kind of event, an object of another
/// product on the same account, a part of the amount, or an object without the fields that the hub needs.
///
/// A signed event is never an error: the provider would repeat it for days and then disable the endpoint.
pub fn parse_event(body: &[u8]) -> Option<PaymentEvent> {
    let event: Value = serde_json::from_slice(body).ok()?;
    let object = event.pointer("/data/object")?;
    let text = |name: &str| object.get(name)?.as_str();
    let (status, id, amount) = match event.get("type")?.as_str()? {
        // The amount that can be captured may also change because it was captured.
        "payment_intent.amount_capturable_updated" if text("status").is_none_or(|it| it == "requires_capture") => {
            (IntentStatus::Authorized, "id", "amount")
        }
        "payment_intent.succeeded" => (IntentStatus::Captured, "id", "amount_received"),
        "payment_intent.canceled" => (IntentStatus::Released, "id", "amount"),
        // The object is a charge. `refunded` is false after a partial refund.
        "charge.refunded" if object.get("refunded").and_then(Value::as_bool) != Some(false) => {
            (IntentStatus::Refunded, "payment_intent", "amount_refunded")
        }
        // Includes declined cards: the patient may try another one until the booking hold expires.
        _ => return None,
    };
    let number = |name: &str| object.get(name)?.as_u64();
    let amount = number(amount)?;
    if status == IntentStatus::Refunded && number("amount").is_some_and(|whole| amount < whole) {
        return None;
    }
    let report = IntentReport::from_provider(status, amount, text("currency")?).ok()?;
    let room = object.pointer("/metadata/room").and_then(Value::as_str).and_then(|room| room.parse().ok());
    Some(PaymentEvent { reference: reference(text(id)?).ok()?, room, report })
}
