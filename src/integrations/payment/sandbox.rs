//! A simulated payment provider with a checkout page for people, and no money.
//!
//! A person can make it fail, respond slowly, or send every event twice, as real providers do on bad days. It reports
//! like a real one, by signed events.

use std::time::Duration;

use rooms::money::Currency;
use rooms::text::Text;
use serde_json::json;
use uuid::Uuid;

use super::{Intent, IntentReport, IntentStatus, PaymentOrder};
use crate::clock::Clock;
use crate::config::payment_units;
use crate::integrations::partner::PartnerError;
use crate::store::sandbox::{SandboxFaults, SandboxPayment, SandboxPaymentState};
use crate::store::{Store, StoreError};

/// How long a slow answer takes: as long as one attempt may.
const SLOW_ANSWER_DELAY: Duration = Duration::from_secs(10);

/// The simulated provider.
#[derive(Clone, Debug)]
pub struct SandboxPayments {
    store: Store,
    clock: Clock,
}

/// A person's choice on the checkout page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    Pay,
    Decline,
}

impl SandboxPayments {
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock }
    }

    pub async fn authorize(&self, order: &PaymentOrder) -> Result<Intent, PartnerError> {
        let (id, now) = (self.clock.fresh_id(), self.clock.now());
        let id = self.store.open_sandbox_payment(id, order.room, order.amount, &order.currency, now).await?;
        Ok(Intent { reference: id.to_string(), checkout_url: Some(format!("/sandbox/checkout/{id}")) })
    }

    pub async fn capture(&self, reference: &str) -> Result<IntentReport, PartnerError> {
        self.transition(
            reference,
            &[SandboxPaymentState::Authorized],
            SandboxPaymentState::Captured,
            IntentStatus::Captured,
        )
        .await
    }

    pub async fn release(&self, reference: &str) -> Result<IntentReport, PartnerError> {
        self.transition(
            reference,
            &[SandboxPaymentState::Open, SandboxPaymentState::Authorized],
            SandboxPaymentState::Released,
            IntentStatus::Released,
        )
        .await
    }

    pub async fn refund(&self, reference: &str) -> Result<IntentReport, PartnerError> {
        self.transition(
            reference,
            &[SandboxPaymentState::Captured],
            SandboxPaymentState::Refunded,
            IntentStatus::Refunded,
        )
        .await
    }

    /// Returns the payment of a checkout page.
    pub async fn payment(&self, id: Uuid) -> Result<Option<SandboxPayment>, StoreError> {
        self.store.sandbox_payment(id).await
    }

    /// Sets the faults that a payment simulates.
    pub async fn set_faults(&self, id: Uuid, faults: SandboxFaults) -> Result<(), StoreError> {
        self.store.set_sandbox_faults(id, faults).await.map(drop)
    }

    /// Applies a choice. Returns the event to report, or `None` if the payment was settled differently before.
    pub async fn choose(&self, payment: &SandboxPayment, choice: Choice) -> Result<Option<String>, PartnerError> {
        simulate_faults(payment).await?;
        let (to, kind, status) = match choice {
            Choice::Pay => {
                (SandboxPaymentState::Authorized, "payment_intent.amount_capturable_updated", "requires_capture")
            }
            Choice::Decline => (SandboxPaymentState::Released, "payment_intent.canceled", "canceled"),
        };
        // Repeat the event if the same choice is made again, in case it was lost.
        if !self.store.move_sandbox_payment(payment.id, SandboxPaymentState::Open, to).await? && payment.state != to {
            return Ok(None);
        }
        let currency = Currency::parse(payment.currency.as_str());
        let amount = currency.and_then(|it| payment_units::to_provider(payment.amount, it));
        let event = json!({
            "id": Uuid::new_v5(&payment.id, kind.as_bytes()),
            "type": kind,
            "data": {"object": {
                "id": payment.id,
                "amount": amount.unwrap_or(payment.amount),
                "currency": payment.currency.as_str().to_ascii_lowercase(),
                "status": status,
                "metadata": {"room": payment.room},
            }},
        });
        Ok(Some(event.to_string()))
    }

    async fn transition(
        &self,
        reference: &str,
        from: &[SandboxPaymentState],
        to: SandboxPaymentState,
        status: IntentStatus,
    ) -> Result<IntentReport, PartnerError> {
        let not_found = || PartnerError::Refused("the sandbox has no such payment".to_owned());
        let id: Uuid = reference.parse().map_err(|_| not_found())?;
        let payment = self.store.sandbox_payment(id).await?.ok_or_else(not_found)?;
        simulate_faults(&payment).await?;
        let (amount, currency): (u64, Text<200>) = (payment.amount, payment.currency.clone());
        let mut is_done = payment.state == to;
        for from in from {
            is_done = is_done || self.store.move_sandbox_payment(id, *from, to).await?;
        }
        match is_done {
            true => Ok(IntentReport { status, amount, currency }),
            false => Err(PartnerError::Refused(format!("the sandbox payment is {}", payment.state.as_str()))),
        }
    }
}

/// Simulates the faults that are set for a payment.
async fn simulate_faults(payment: &SandboxPayment) -> Result<(), PartnerError> {
    if payment.faults.slow {
        tokio::time::sleep(SLOW_ANSWER_DELAY).await;
    }
    match payment.faults.fails {
        true => Err(PartnerError::retryable("the sandbox simulates a failure")),
        false => Ok(()),
    }
}
