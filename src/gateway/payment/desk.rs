//! Between the rooms and the provider: what is due is asked for, and what the provider says is recorded.

use rooms::case::payment::PaymentAction;
use rooms::command::{Command, RecordPayment};
use rooms::id::{CommandId, RoomId};
use rooms::refusal::Refusal;
use rooms::role::Actor;
use rooms::room::snapshot::Snapshot;
use rooms::state::PaymentState;
use rooms::text::Line;
use uuid::Uuid;

use super::{Fact, Order, Payments, Said, Standing};
use crate::clock::Clock;
use crate::config::PaymentSettings;
use crate::egress::Egress;
use crate::gateway::Outcome;
use crate::gateway::inbound::{Deaf, Heard, Message, Secret, unless_refused};
use crate::gateway::partner::Failure;
use crate::hub::{Hub, Submission, SubmitError};
use crate::store::dispatches::{Dispatch, Sink, Wish};
use crate::store::outgoing::News;
use crate::store::partners::PaymentLink;

/// The name under which the provider's messages are noted.
const PARTNER: &str = "payment";

/// See the module.
#[derive(Clone)]
pub struct PaymentDesk {
    hub: Hub,
    clock: Clock,
    payments: Payments,
    secret: Secret,
}

impl PaymentDesk {
    pub fn new(settings: &PaymentSettings, egress: &Egress, hub: Hub, clock: Clock) -> Self {
        let payments = Payments::new(settings, egress, hub.store().clone(), clock.clone());
        Self { hub, clock, payments, secret: Secret::or_fresh(settings.webhook_secret.as_ref()) }
    }

    pub fn payments(&self) -> &Payments {
        &self.payments
    }

    /// What follows from a commit. A room wishes for each thing once.
    pub fn wishes(&self, news: &News) -> Option<Wish> {
        let due = news.after.as_ref()?.payment_due()?;
        Some(self.wish(news.room, due, "provider"))
    }

    fn wish(&self, room: RoomId, due: PaymentAction, target: &str) -> Wish {
        Wish {
            sink: Sink::Payment,
            lane: self.payments.name().to_owned(),
            target: target.to_owned(),
            room,
            seq: 0,
            kind: due.as_str().to_owned(),
            body: String::new(),
            due_at: self.clock.now(),
        }
    }

    /// Asks the provider for what is still due, and records what it says.
    pub async fn send(&self, dispatch: &Dispatch) -> Outcome {
        let Some(wish) = PaymentAction::from_name(&dispatch.kind) else {
            return Outcome::refused("there is no such wish");
        };
        self.fulfil(dispatch.room, wish, dispatch.id).await.unwrap_or_else(Outcome::from)
    }

    async fn fulfil(&self, room: RoomId, wish: PaymentAction, key: Uuid) -> Result<Outcome, Failure> {
        let snapshot = self.look(room).await?;
        let link = self.hub.store().payment_link(room).await?;
        let Some(payment) = snapshot.payment.clone() else { return Ok(Outcome::gone("nothing is to be paid")) };
        if snapshot.payment_due() != Some(wish) {
            return match (payment.state, link) {
                // Given up while the provider was being asked: what it has made since is of no use.
                (PaymentState::Failed, Some(link)) => self.let_go(&link.reference, key).await,
                _ => Ok(Outcome::gone("it is no longer due")),
            };
        }
        let Some(link) = link else {
            return match wish {
                PaymentAction::Authorize => {
                    self.authorize(Order { room, amount: payment.amount, currency: payment.currency }, key).await
                }
                // The provider was never asked, or its answer comes after this and is released then.
                PaymentAction::Release => {
                    let (amount, currency) = (payment.amount, payment.currency);
                    self.record(room, &room.to_string(), &Said { standing: Standing::Released, amount, currency })
                        .await?;
                    Ok(Outcome::Done)
                }
                PaymentAction::Capture | PaymentAction::Refund => {
                    Err(Failure::later("the provider's reference is missing"))
                }
            };
        };
        let said = match wish {
            PaymentAction::Authorize => return Ok(Outcome::Done),
            PaymentAction::Capture => self.payments.capture(&link.reference, key).await?,
            PaymentAction::Release => self.payments.release(&link.reference, key).await?,
            PaymentAction::Refund => self.payments.refund(&link.reference, key).await?,
        };
        self.record(room, &link.reference, &said).await?;
        Ok(Outcome::Done)
    }

    /// Makes an intent. If it is of no use any more when the answer comes, it is released.
    async fn authorize(&self, order: Order, key: Uuid) -> Result<Outcome, Failure> {
        let intent = self.payments.authorize(&order, key).await?;
        let link = PaymentLink { reference: intent.reference, checkout_url: intent.checkout_url };
        self.hub.store().link_payment(order.room, &link, self.clock.now()).await?;
        let payment = self.look(order.room).await?.payment;
        if payment.is_some_and(|payment| payment.state == PaymentState::Failed) {
            return self.let_go(&link.reference, key).await;
        }
        Ok(Outcome::Done)
    }

    /// Gives back whatever the provider holds.
    async fn let_go(&self, reference: &str, key: Uuid) -> Result<Outcome, Failure> {
        let said = self.payments.release(reference, key).await?;
        if said.standing == Standing::Captured {
            self.payments.refund(reference, Uuid::new_v5(&key, b"refund")).await?;
        }
        Ok(Outcome::Done)
    }

    async fn look(&self, room: RoomId) -> Result<Snapshot, Failure> {
        let look = self.hub.read(room, &Actor::System).await.map_err(unwritten)?;
        Ok(look.snapshot)
    }

    /// Records what the provider answered. That the room knows it already is no failure.
    async fn record(&self, room: RoomId, reference: &str, said: &Said) -> Result<(), Failure> {
        match self.submit(room, reference, said).await {
            Ok(_) | Err(SubmitError::Refused(Refusal::Illegal { .. })) => Ok(()),
            Err(error) => Err(unwritten(error)),
        }
    }

    /// The state that the payment is in afterwards, as far as the provider's word goes.
    async fn submit(&self, room: RoomId, reference: &str, said: &Said) -> Result<(), SubmitError> {
        let to = match said.standing {
            Standing::Authorized => PaymentState::Authorized,
            Standing::Captured => PaymentState::Captured,
            Standing::Refunded => PaymentState::Refunded,
            Standing::Released => self.released(room).await?,
        };
        let (amount, currency) = (said.amount, said.currency.clone());
        let reference = Line::parse(reference).expect("a checked reference is a short line");
        let command = Command::RecordPayment(RecordPayment { to, amount, currency, reference });
        let id = CommandId(self.clock.fresh_id());
        let submission = Submission { room, actor: Actor::System, id, command, expect: None };
        self.hub.submit(submission).await.map(drop)
    }

    /// What a released payment is: refunded if it was authorized and the hub let it go, else it failed.
    async fn released(&self, room: RoomId) -> Result<PaymentState, SubmitError> {
        let snapshot = self.hub.read(room, &Actor::System).await?.snapshot;
        let was_authorized = snapshot.payment.as_ref().is_some_and(|it| it.state == PaymentState::Authorized);
        let is_ours = was_authorized && snapshot.payment_due() == Some(PaymentAction::Release);
        Ok(if is_ours { PaymentState::Refunded } else { PaymentState::Failed })
    }

    /// Takes a message of the provider's. `header`: its signature.
    pub async fn hear(&self, header: Option<&str>, body: &[u8]) -> Result<Heard, Deaf> {
        let message = Message::open(&self.secret, header, body, self.clock.now())?;
        let store = self.hub.store();
        if message.is_known(store, PARTNER).await? {
            return Ok(Heard::Absorbed);
        }
        let fact = super::read(message.body).map_err(|_| Deaf::Malformed("no event of a payment intent"))?;
        let heard = match fact {
            Some(fact) => self.believe(&fact).await?,
            None => Heard::Absorbed,
        };
        message.note(store, PARTNER, self.clock.now()).await?;
        Ok(heard)
    }

    /// Takes an event of the sandbox, by the same way.
    pub async fn hear_sandbox(&self, event: &str) -> Result<Heard, Deaf> {
        let header = self.secret.sign(event.as_bytes(), self.clock.now());
        self.hear(Some(&header), event.as_bytes()).await
    }

    async fn believe(&self, fact: &Fact) -> Result<Heard, Deaf> {
        let store = self.hub.store();
        let room = match store.room_of_payment(&fact.reference).await? {
            Some(room) => room,
            // The answer that names the intent is on its way, or was lost.
            None => {
                let room = fact.room.ok_or(Deaf::Unknown)?;
                let link = PaymentLink { reference: fact.reference.clone(), checkout_url: None };
                unless_refused(self.hub.read(room, &Actor::System).await)?.map_err(|_| Deaf::Unknown)?;
                store.link_payment(room, &link, self.clock.now()).await?;
                if store.room_of_payment(&fact.reference).await? != Some(room) {
                    return Err(Deaf::Malformed("the room has another payment"));
                }
                room
            }
        };
        match unless_refused(self.submit(room, &fact.reference, &fact.said).await)? {
            Ok(()) => Ok(Heard::Taken),
            Err(Refusal::Illegal { state, .. }) => {
                self.mistrust(room, &state, fact).await?;
                Ok(Heard::Absorbed)
            }
            Err(Refusal::NoSuch(_)) => Err(Deaf::Unknown),
            Err(_) => Err(Deaf::Malformed("the amount or the currency is not the one that was asked for")),
        }
    }

    /// Money that a provider reserves for a payment that failed is let go.
    async fn mistrust(&self, room: RoomId, state: &str, fact: &Fact) -> Result<(), Deaf> {
        let holds = matches!(fact.said.standing, Standing::Authorized | Standing::Captured);
        if !holds || state != PaymentState::Failed.as_str() {
            return Ok(());
        }
        tracing::warn!(%room, "the provider holds money for a payment that failed; it is released");
        let wish = self.wish(room, PaymentAction::Release, "late");
        self.hub.store().enqueue(&[wish], self.clock.now(), || self.clock.fresh_id()).await?;
        Ok(())
    }
}

fn unwritten(error: SubmitError) -> Failure {
    match error {
        SubmitError::Unavailable | SubmitError::Shed | SubmitError::StorageFull => {
            Failure::later("the hub cannot do this now")
        }
        SubmitError::NotFound => Failure::Refused("there is no such room".to_owned()),
        SubmitError::Refused(_) | SubmitError::IdConflict => {
            Failure::Refused("the room refuses what the provider says".to_owned())
        }
    }
}
