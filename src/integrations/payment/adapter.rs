//! Connects rooms to the payment provider: requests the payments that are due, and records what the provider reports.

use rooms::case::payment::PaymentAction;
use rooms::command::{Command, RecordPayment};
use rooms::id::{CommandId, RoomId};
use rooms::refusal::Refusal;
use rooms::role::Actor;
use rooms::room::snapshot::Snapshot;
use rooms::state::PaymentState;
use rooms::text::Text;
use rooms::wire::code::Code;
use uuid::Uuid;

use super::{IntentReport, IntentStatus, PaymentClient, PaymentEvent, PaymentOrder};
use crate::clock::Clock;
use crate::config::PaymentSettings;
use crate::egress::Egress;
use crate::hub::{Hub, Submission, SubmitError};
use crate::integrations::inbound::{Accepted, InboundError, InboundMessage, WebhookSecret, separate_refusal};
use crate::integrations::outcome::Outcome;
use crate::integrations::partner::PartnerError;
use crate::store::dispatches::{Dispatch, Sink, Wish};
use crate::store::outbox::CommittedChange;
use crate::store::partners::PaymentLink;

/// The name under which the provider's message ids are recorded.
const PARTNER_NAME: &str = "payment";

/// See the module.
#[derive(Clone)]
pub struct PaymentAdapter {
    hub: Hub,
    clock: Clock,
    client: PaymentClient,
    secret: WebhookSecret,
}

impl PaymentAdapter {
    pub fn new(settings: &PaymentSettings, egress: &Egress, hub: Hub, clock: Clock) -> Self {
        let client = PaymentClient::new(settings, egress, hub.store().clone(), clock.clone());
        let secret = WebhookSecret::configured_or_random(settings.webhook_secret.as_ref());
        Self { hub, clock, client, secret }
    }

    pub fn client(&self) -> &PaymentClient {
        &self.client
    }

    /// Returns the payment action that a change makes due. A room needs each action once.
    pub fn deliveries_for(&self, change: &CommittedChange) -> Option<Wish> {
        let due = change.after.as_ref()?.payment_due()?;
        Some(self.delivery(change.room, due, "provider"))
    }

    fn delivery(&self, room: RoomId, action: PaymentAction, target: &str) -> Wish {
        Wish {
            sink: Sink::Payment,
            lane: self.client.name().to_owned(),
            target: target.to_owned(),
            room,
            seq: 0,
            kind: action.as_str().to_owned(),
            body: String::new(),
            due_at: self.clock.now(),
        }
    }

    /// Requests the action if it is still due, and records the provider's answer.
    pub async fn send(&self, delivery: &Dispatch) -> Outcome {
        let Some(action) = PaymentAction::from_name(&delivery.kind) else {
            return Outcome::refused("there is no such payment action");
        };
        self.perform(delivery.room, action, delivery.id).await.unwrap_or_else(Outcome::from)
    }

    async fn perform(&self, room: RoomId, action: PaymentAction, key: Uuid) -> Result<Outcome, PartnerError> {
        let snapshot = self.snapshot(room).await?;
        let link = self.hub.store().payment_link(room).await?;
        let Some(payment) = snapshot.payment.clone() else { return Ok(Outcome::gone("nothing is to be paid")) };
        if snapshot.payment_due() != Some(action) {
            return match (payment.state, link) {
                // The payment failed while the request was under way, so the provider's new intent is of no use.
                (PaymentState::Failed, Some(link)) => self.release_or_refund(&link.reference, key).await,
                _ => Ok(Outcome::gone("it is no longer due")),
            };
        }
        let Some(link) = link else {
            return match action {
                PaymentAction::Authorize => {
                    self.authorize(PaymentOrder { room, amount: payment.amount, currency: payment.currency }, key).await
                }
                // Either the provider never received a request, or its answer arrives later and is released then.
                PaymentAction::Release => {
                    let (status, amount, currency) = (IntentStatus::Released, payment.amount, payment.currency);
                    self.record(room, &room.to_string(), &IntentReport { status, amount, currency }).await?;
                    Ok(Outcome::done().unasked())
                }
                PaymentAction::Capture | PaymentAction::Refund => {
                    Err(PartnerError::Postponed("the provider's reference is missing".to_owned()))
                }
            };
        };
        let report = match action {
            PaymentAction::Authorize => return Ok(Outcome::done().unasked()),
            PaymentAction::Capture => self.client.capture(&link.reference, key).await?,
            PaymentAction::Release => self.client.release(&link.reference, key).await?,
            PaymentAction::Refund => self.client.refund(&link.reference, key).await?,
        };
        self.record(room, &link.reference, &report).await?;
        Ok(Outcome::done())
    }

    /// Creates an intent. Releases it if the payment has failed by the time the provider answers.
    async fn authorize(&self, order: PaymentOrder, key: Uuid) -> Result<Outcome, PartnerError> {
        let intent = self.client.authorize(&order, key).await?;
        let link = PaymentLink { reference: intent.reference, checkout_url: intent.checkout_url };
        self.hub.store().save_payment_link(order.room, &link, self.clock.now()).await?;
        let payment = self.snapshot(order.room).await?.payment;
        if payment.is_some_and(|payment| payment.state == PaymentState::Failed) {
            return self.release_or_refund(&link.reference, key).await;
        }
        Ok(Outcome::done())
    }

    /// Releases the money that the provider reserved, or refunds it if it was captured.
    async fn release_or_refund(&self, reference: &str, key: Uuid) -> Result<Outcome, PartnerError> {
        let report = self.client.release(reference, key).await?;
        if report.status == IntentStatus::Captured {
            self.client.refund(reference, Uuid::new_v5(&key, b"refund")).await?;
        }
        Ok(Outcome::done())
    }

    async fn snapshot(&self, room: RoomId) -> Result<Snapshot, PartnerError> {
        let view = self.hub.read(room, &Actor::System).await.map_err(not_recorded)?;
        Ok(view.snapshot)
    }

    /// Records the provider's answer. Succeeds if the room is in that state already.
    async fn record(&self, room: RoomId, reference: &str, report: &IntentReport) -> Result<(), PartnerError> {
        match self.submit(room, reference, report).await {
            Ok(()) | Err(SubmitError::Refused(Refusal::Illegal { .. })) => Ok(()),
            Err(error) => Err(not_recorded(error)),
        }
    }

    /// Submits the payment state that follows from a report.
    async fn submit(&self, room: RoomId, reference: &str, report: &IntentReport) -> Result<(), SubmitError> {
        let to = match report.status {
            IntentStatus::Authorized => PaymentState::Authorized,
            IntentStatus::Captured => PaymentState::Captured,
            IntentStatus::Refunded => PaymentState::Refunded,
            IntentStatus::Released => self.state_after_release(room).await?,
        };
        let (amount, currency) = (report.amount, report.currency.clone());
        let reference = Text::stored(reference).expect("a checked reference is a short line");
        let command = Command::RecordPayment(RecordPayment { to, amount, currency, reference });
        let id = CommandId(self.clock.fresh_id());
        let submission = Submission { room, actor: Actor::System, id, command, expect: None };
        self.hub.submit(submission).await.map(drop)
    }

    /// Returns `Refunded` if the hub itself released an authorized payment, otherwise `Failed`.
    async fn state_after_release(&self, room: RoomId) -> Result<PaymentState, SubmitError> {
        let snapshot = self.hub.read(room, &Actor::System).await?.snapshot;
        let was_authorized = snapshot.payment.as_ref().is_some_and(|it| it.state == PaymentState::Authorized);
        let is_ours = was_authorized && snapshot.payment_due() == Some(PaymentAction::Release);
        Ok(if is_ours { PaymentState::Refunded } else { PaymentState::Failed })
    }

    /// Receives a webhook of the provider. `header`: its signature.
    pub async fn receive(&self, header: Option<&str>, body: &[u8]) -> Result<Accepted, InboundError> {
        let message = InboundMessage::verify(&self.secret, header, body, self.clock.now())?;
        let store = self.hub.store();
        if message.is_known(store, PARTNER_NAME).await? {
            return Ok(Accepted::Ignored);
        }
        let Some(event) = super::parse_event(message.body) else { return Ok(Accepted::Ignored) };
        let accepted = self.apply_event(&event).await?;
        if accepted == Accepted::Applied {
            message.record(store, PARTNER_NAME, self.clock.now()).await?;
        }
        Ok(accepted)
    }

    /// Receives an event of the sandbox through the same path as a provider's.
    pub async fn receive_from_sandbox(&self, event: &str) -> Result<Accepted, InboundError> {
        let header = self.secret.sign(event.as_bytes(), self.clock.now());
        self.receive(Some(&header), event.as_bytes()).await
    }

    async fn apply_event(&self, event: &PaymentEvent) -> Result<Accepted, InboundError> {
        let store = self.hub.store();
        let room = match store.room_of_payment(&event.reference).await? {
            Some(room) => room,
            None => match self.adopt_intent(event).await? {
                Some(room) => room,
                None => return Ok(Accepted::Ignored),
            },
        };
        match separate_refusal(self.submit(room, &event.reference, &event.report).await)? {
            Ok(()) => Ok(Accepted::Applied),
            Err(Refusal::Illegal { state, .. }) => {
                self.handle_conflict(room, &state, event).await?;
                Ok(Accepted::Ignored)
            }
            // Repeating the event would change nothing; only a person can.
            Err(refusal) => {
                let code = Code::from(&refusal).as_str();
                tracing::error!(%room, code, "provider's report does not fit the order; compare it at the provider");
                Ok(Accepted::Ignored)
            }
        }
    }

    /// Finds the room of an intent whose creation was answered too late, or not at all. Returns `None` for the intents of
    /// others: of another product on the same account, or of another hub.
    async fn adopt_intent(&self, event: &PaymentEvent) -> Result<Option<RoomId>, InboundError> {
        let Some(room) = event.room else { return Ok(None) };
        if separate_refusal(self.hub.read(room, &Actor::System).await)?.is_err() {
            return Ok(None);
        }
        let (store, link) = (self.hub.store(), PaymentLink { reference: event.reference.clone(), checkout_url: None });
        store.save_payment_link(room, &link, self.clock.now()).await?;
        if store.room_of_payment(&event.reference).await? == Some(room) {
            return Ok(Some(room));
        }
        tracing::error!(%room, "provider reports a second intent for this room; compare it at the provider");
        Ok(None)
    }

    /// Releases money that the provider holds for a payment that has failed.
    async fn handle_conflict(&self, room: RoomId, state: &str, event: &PaymentEvent) -> Result<(), InboundError> {
        let holds_money = matches!(event.report.status, IntentStatus::Authorized | IntentStatus::Captured);
        if !holds_money || state != PaymentState::Failed.as_str() {
            return Ok(());
        }
        tracing::warn!(%room, "provider holds money for a failed payment; release enqueued");
        let delivery = self.delivery(room, PaymentAction::Release, "late");
        self.hub.store().enqueue(&[delivery], self.clock.now(), || self.clock.fresh_id()).await?;
        Ok(())
    }
}

fn not_recorded(error: SubmitError) -> PartnerError {
    match error {
        SubmitError::Unavailable | SubmitError::Shed | SubmitError::StorageFull => {
            PartnerError::Postponed("the hub is temporarily unavailable".to_owned())
        }
        SubmitError::NotFound => PartnerError::Unsendable("there is no such room".to_owned()),
        SubmitError::Refused(_) | SubmitError::IdConflict => {
            PartnerError::Refused("the room refuses the provider's report".to_owned())
        }
    }
}
