//! A provider that is only played: a checkout page that a person can use, and no money.
//!
//! It can be told to fail, to be slow and to say everything twice, so that what a real provider does on a bad day can
//! be seen on any day. What it says, it says as a real one: by signed events.

use std::time::Duration;

use rooms::text::Line;
use serde_json::json;
use uuid::Uuid;

use super::{Intent, Order, Said, Standing};
use crate::clock::Clock;
use crate::gateway::partner::Failure;
use crate::store::sandbox::{PlayState, PlayedPayment, Whims};
use crate::store::{Store, StoreError};

/// How slow "slow" is: as long as the hub's patience.
const SLOW: Duration = Duration::from_secs(10);

/// The provider.
#[derive(Clone, Debug)]
pub struct Sandbox {
    store: Store,
    clock: Clock,
}

/// What a person does on the checkout page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    Pay,
    Decline,
}

impl Sandbox {
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock }
    }

    pub async fn authorize(&self, order: &Order) -> Result<Intent, Failure> {
        let (id, now) = (self.clock.fresh_id(), self.clock.now());
        let id = self.store.play_payment(id, order.room, order.amount, &order.currency, now).await?;
        Ok(Intent { reference: id.to_string(), checkout_url: Some(format!("/sandbox/checkout/{id}")) })
    }

    pub async fn capture(&self, reference: &str) -> Result<Said, Failure> {
        self.change(reference, &[PlayState::Authorized], PlayState::Captured, Standing::Captured).await
    }

    pub async fn release(&self, reference: &str) -> Result<Said, Failure> {
        self.change(reference, &[PlayState::Open, PlayState::Authorized], PlayState::Released, Standing::Released).await
    }

    pub async fn refund(&self, reference: &str) -> Result<Said, Failure> {
        self.change(reference, &[PlayState::Captured], PlayState::Refunded, Standing::Refunded).await
    }

    /// The payment of a checkout page.
    pub async fn payment(&self, id: Uuid) -> Result<Option<PlayedPayment>, StoreError> {
        self.store.played_payment(id).await
    }

    /// Tells a payment what to do wrong.
    pub async fn tell(&self, id: Uuid, whims: Whims) -> Result<(), StoreError> {
        self.store.set_whims(id, whims).await.map(drop)
    }

    /// What a person chose on the page. Answers the event that tells of it; nothing if it was settled before otherwise.
    pub async fn choose(&self, payment: &PlayedPayment, choice: Choice) -> Result<Option<String>, Failure> {
        obey(payment).await?;
        let (to, kind, status) = match choice {
            Choice::Pay => (PlayState::Authorized, "payment_intent.amount_capturable_updated", "requires_capture"),
            Choice::Decline => (PlayState::Released, "payment_intent.canceled", "canceled"),
        };
        // Asked again after the event was lost, it tells it again.
        if !self.store.move_played_payment(payment.id, PlayState::Open, to).await? && payment.state != to {
            return Ok(None);
        }
        let event = json!({
            "id": Uuid::new_v5(&payment.id, kind.as_bytes()),
            "type": kind,
            "data": {"object": {
                "id": payment.id,
                "amount": payment.amount,
                "currency": payment.currency.as_str().to_ascii_lowercase(),
                "status": status,
                "metadata": {"room": payment.room},
            }},
        });
        Ok(Some(event.to_string()))
    }

    async fn change(
        &self,
        reference: &str,
        from: &[PlayState],
        to: PlayState,
        standing: Standing,
    ) -> Result<Said, Failure> {
        let none = || Failure::Refused("the sandbox knows no such payment".to_owned());
        let id: Uuid = reference.parse().map_err(|_| none())?;
        let payment = self.store.played_payment(id).await?.ok_or_else(none)?;
        obey(&payment).await?;
        let (amount, currency): (u64, Line) = (payment.amount, payment.currency.clone());
        let mut done = payment.state == to;
        for from in from {
            done = done || self.store.move_played_payment(id, *from, to).await?;
        }
        match done {
            true => Ok(Said { standing, amount, currency }),
            false => Err(Failure::Refused(format!("the played payment is {}", payment.state.as_str()))),
        }
    }
}

/// Does wrong what the payment was told to do wrong.
async fn obey(payment: &PlayedPayment) -> Result<(), Failure> {
    if payment.whims.slow {
        tokio::time::sleep(SLOW).await;
    }
    match payment.whims.fails {
        true => Err(Failure::later("the sandbox was told to fail")),
        false => Ok(()),
    }
}
