//! Connects rooms to the courier partner: orders the parcels that are assigned to it, and applies its reports.

use rooms::case::delivery::DeliveryMoveDetails;
use rooms::command::{AssignDelivery, Command, MoveDelivery};
use rooms::event::Event as RoomEvent;
use rooms::id::{CommandId, DeliveryId, RoomId, UserId};
use rooms::permission::may_move_delivery;
use rooms::refusal::Refusal;
use rooms::role::{Actor, Role};
use rooms::room::snapshot::DeliveryView;
use rooms::state::DeliveryState;
use rooms::text::Text;
use uuid::Uuid;

use super::sandbox::SimulatedStep;
use super::{CourierClient, CourierEvent, CourierOrder, MOVED_EVENT, Stop};
use crate::clock::Clock;
use crate::config::CourierSettings;
use crate::egress::Egress;
use crate::hub::{Hub, Submission, SubmitError};
use crate::integrations::inbound::{Accepted, InboundError, InboundMessage, WebhookSecret, separate_refusal};
use crate::integrations::outcome::Outcome;
use crate::integrations::partner::PartnerError;
use crate::store::StoreError;
use crate::store::dispatches::{Dispatch, Sink, Wish};
use crate::store::outbox::CommittedChange;
use crate::store::users::{Status, User};

/// The name under which the partner's message ids are recorded.
const PARTNER_NAME: &str = "courier";
/// The partner's account: the same on every node and after every start, and after people in every list.
const PARTNER_ACCOUNT: UserId = UserId(Uuid::from_u128(0xffff_ffff_ffff_8fff_bfff_636f_7572_6965));
/// The destination of what the hub does itself, so that the partner's breaker does not delay it.
const HUB_DESTINATION: &str = "hub";

/// The error of a report that the room would refuse.
const STEP_DATA_ERROR: &str = "the step needs other data: check occurred_at, proof, reason, and window";

/// See the module.
#[derive(Clone)]
pub struct CourierAdapter {
    hub: Hub,
    clock: Clock,
    client: CourierClient,
    name: Text<200>,
    assign: bool,
    secret: WebhookSecret,
}

impl CourierAdapter {
    /// Returns `None` if no partner is configured.
    pub fn new(settings: &CourierSettings, egress: &Egress, hub: Hub, clock: Clock) -> Option<Self> {
        let provider = settings.provider.as_ref()?;
        let client = CourierClient::new(provider, egress, hub.store().clone(), clock.clone());
        let name = settings.name.clone().into();
        let secret = WebhookSecret::configured_or_random(settings.webhook_secret.as_ref());
        Some(Self { hub, clock, client, name, assign: settings.assign, secret })
    }

    pub fn client(&self) -> &CourierClient {
        &self.client
    }

    /// Creates the partner's account if it does not exist.
    pub async fn ensure_account(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let user = User {
            id: PARTNER_ACCOUNT,
            email: "courier@partner.invalid".to_owned(),
            name: self.name.clone(),
            role: Role::Courier,
            status: Status::Active,
            pharmacy: None,
            specialty: None,
            languages: None,
            created_at: now,
            changed_at: now,
            // Not a hash: nobody can sign in as the partner.
            password_hash: "-".to_owned(),
        };
        self.hub.store().insert_user(&user).await.map(drop)
    }

    fn actor(&self) -> Actor {
        Actor::Person { id: PARTNER_ACCOUNT, role: Role::Courier, name: self.name.clone(), pharmacy: None }
    }

    /// Returns the assignments, orders, and cancellations that follow from a change.
    pub fn deliveries_for(&self, change: &CommittedChange) -> Vec<Wish> {
        let mut deliveries = Vec::new();
        for record in &change.records {
            let (kind, lane, delivery) = match &record.event {
                RoomEvent::DeliveryRequested(requested) if self.assign => {
                    ("assign", HUB_DESTINATION, requested.delivery)
                }
                RoomEvent::DeliveryAssigned(assigned) if assigned.courier.id == PARTNER_ACCOUNT => {
                    ("order", self.client.name(), assigned.delivery)
                }
                RoomEvent::DeliveryAssigned(assigned) if assigned.former == Some(PARTNER_ACCOUNT) => {
                    ("cancel", self.client.name(), assigned.delivery)
                }
                RoomEvent::DeliveryMoved(moved)
                    if moved.courier == Some(PARTNER_ACCOUNT) && moved.to == DeliveryState::Cancelled =>
                {
                    ("cancel", self.client.name(), moved.delivery)
                }
                _ => continue,
            };
            deliveries.push(Wish {
                sink: Sink::Courier,
                lane: lane.to_owned(),
                target: delivery.to_string(),
                room: change.room,
                seq: record.seq,
                kind: kind.to_owned(),
                body: String::new(),
                due_at: self.clock.now(),
            });
        }
        deliveries
    }

    /// Assigns, orders, or cancels.
    pub async fn send(&self, dispatch: &Dispatch) -> Outcome {
        let Ok(delivery) = dispatch.target.parse::<DeliveryId>() else {
            return Outcome::refused("there is no such parcel");
        };
        let (room, key) = (dispatch.room, dispatch.id);
        let result = match dispatch.kind.as_str() {
            "assign" => self.assign(room, delivery).await,
            "order" => self.order(dispatch, delivery).await,
            "cancel" => self.cancel(room, delivery, key).await,
            _ => Err(PartnerError::Unsendable("there is no such kind of delivery".to_owned())),
        };
        result.unwrap_or_else(Outcome::from)
    }

    /// Assigns a parcel to the partner, unless it is assigned already.
    async fn assign(&self, room: RoomId, delivery: DeliveryId) -> Result<Outcome, PartnerError> {
        let parcel = self.parcel(room, delivery).await?;
        if parcel.is_none_or(|parcel| parcel.state != DeliveryState::Requested) {
            return Ok(Outcome::gone("the parcel is assigned already, or cancelled"));
        }
        let command = Command::AssignDelivery(AssignDelivery { delivery, courier: PARTNER_ACCOUNT });
        match self.submit(room, Actor::System, self.clock.fresh_id(), command).await {
            Ok(()) => Ok(Outcome::done().unasked()),
            Err(error) if error.is_retryable() => {
                Err(PartnerError::Postponed("the hub is temporarily unavailable".to_owned()))
            }
            Err(_) => Ok(Outcome::gone("the parcel is assigned already, or cancelled")),
        }
    }

    /// Orders a parcel, once however often it was given to the partner and taken away again.
    async fn order(&self, dispatch: &Dispatch, delivery: DeliveryId) -> Result<Outcome, PartnerError> {
        let (store, room, key) = (self.hub.store(), dispatch.room, dispatch.id);
        let Some(parcel) = self.parcel(room, delivery).await?.filter(is_ours) else {
            return Ok(Outcome::gone("the parcel is assigned to another courier, or cancelled"));
        };
        let is_last = |it: &Dispatch| it.kind != dispatch.kind || it.seq < dispatch.seq;
        if !store.sibling_deliveries(dispatch).await?.iter().all(is_last) {
            return Ok(Outcome::gone("the parcel was assigned to the partner again"));
        }
        if store.courier_order(delivery).await?.is_some() {
            return Ok(Outcome::gone("the parcel's first order still stands"));
        }
        let stop =
            |name: &Text<200>, address: &str| Stop { name: name.as_str().to_owned(), address: address.to_owned() };
        let order = CourierOrder {
            room,
            delivery,
            pickup: stop(&parcel.pharmacy.name, parcel.pharmacy.address.as_str()),
            dropoff: stop(&parcel.recipient.name, parcel.address.as_str()),
        };
        let reference = self.client.order(&order, key).await?;
        store.save_courier_order(room, delivery, &reference, self.clock.now()).await?;
        // Cancelled while the order was under way: the cancellation may have found no order.
        if !self.parcel(room, delivery).await?.is_some_and(|parcel| is_ours(&parcel)) {
            self.client.cancel(&reference, Uuid::new_v5(&key, b"cancel")).await?;
            store.remove_courier_order(delivery, &reference).await?;
        }
        Ok(Outcome::done())
    }

    async fn cancel(&self, room: RoomId, delivery: DeliveryId, key: Uuid) -> Result<Outcome, PartnerError> {
        let Some(reference) = self.hub.store().courier_order(delivery).await? else {
            return Ok(Outcome::gone("the parcel was never ordered"));
        };
        if self.parcel(room, delivery).await?.is_some_and(|parcel| is_ours(&parcel)) {
            return Ok(Outcome::gone("the parcel is assigned to the partner again"));
        }
        self.client.cancel(&reference, key).await?;
        self.hub.store().remove_courier_order(delivery, &reference).await?;
        Ok(Outcome::done())
    }

    async fn parcel(&self, room: RoomId, delivery: DeliveryId) -> Result<Option<DeliveryView>, PartnerError> {
        match self.hub.read(room, &Actor::System).await {
            Ok(view) => Ok(view.snapshot.deliveries.into_iter().find(|parcel| parcel.id == delivery)),
            Err(error) if error.is_retryable() => {
                Err(PartnerError::Postponed("the hub is temporarily unavailable".to_owned()))
            }
            Err(_) => Ok(None),
        }
    }

    async fn submit(&self, room: RoomId, actor: Actor, id: Uuid, command: Command) -> Result<(), SubmitError> {
        let submission = Submission { room, actor, id: CommandId(id), command, expect: None };
        self.hub.submit(submission).await.map(drop)
    }

    /// Receives a webhook of the partner. `header`: its signature.
    pub async fn receive(&self, header: Option<&str>, body: &[u8]) -> Result<Accepted, InboundError> {
        let message = InboundMessage::verify(&self.secret, header, body, self.clock.now())?;
        let store = self.hub.store();
        if message.is_known(store, PARTNER_NAME).await? {
            return Ok(Accepted::Ignored);
        }
        let accepted = match serde_json::from_slice::<MessageKind>(message.body) {
            Ok(MessageKind { kind }) if kind != MOVED_EVENT => Accepted::Ignored,
            _ => {
                let event = serde_json::from_slice(message.body)
                    .map_err(|_| InboundError::Malformed("the body is no report of a parcel"))?;
                self.apply_event(&event).await?
            }
        };
        // A report without effect may be followed by a corrected one.
        if accepted == Accepted::Applied {
            message.record(store, PARTNER_NAME, self.clock.now()).await?;
        }
        Ok(accepted)
    }

    /// Receives a step of the sandbox through the same path as a partner's, and confirms it.
    pub async fn receive_from_sandbox(&self, step: &SimulatedStep) -> Result<Accepted, InboundError> {
        let body = serde_json::to_vec(&step.event).expect("an event has string keys");
        let accepted = self.receive(Some(&self.secret.sign(&body, self.clock.now())), &body).await?;
        if let CourierClient::Sandbox(sandbox) = &self.client {
            sandbox.confirm(step).await?;
        }
        Ok(accepted)
    }

    /// Moves a parcel to the reported state, through the steps that the partner left out, and never backwards.
    async fn apply_event(&self, event: &CourierEvent) -> Result<Accepted, InboundError> {
        let CourierEvent { id, occurred_at, data, .. } = event;
        if !(may_move_delivery(Role::Courier, data.status) || may_move_delivery(Role::System, data.status)) {
            return Err(InboundError::Malformed("a courier cannot report this status"));
        }
        // Check the report before taking the steps that it left out.
        DeliveryMoveDetails::check(&command(event, data.status), self.clock.now())
            .map_err(|_| InboundError::Malformed(STEP_DATA_ERROR))?;
        // An order follows the commit of its parcel, so an unknown parcel never becomes known: it is somebody else's.
        let Some(room) = self.hub.store().room_of_delivery(data.delivery).await? else { return Ok(Accepted::Ignored) };
        // Try the reported step first: a late report is recorded as it is.
        let state = match self.step(room, event, data.status).await? {
            Ok(()) => return Ok(Accepted::Applied),
            Err(Refusal::Illegal { .. }) => self.state(room, data.delivery).await?,
            // The parcel is no longer assigned to the partner, so its reports are irrelevant.
            Err(Refusal::Forbidden | Refusal::NoSuch(_)) => return Ok(Accepted::Ignored),
            // A late report from before the assignment, of a step off the parcel's way, or one too many.
            Err(Refusal::Invalid { field: "occurred_at" | "to", .. }) => return Ok(Accepted::Ignored),
            Err(_) => return Err(InboundError::Malformed(STEP_DATA_ERROR)),
        };
        let Some(state) = state else { return Ok(Accepted::Ignored) };
        let steps = state.path_to(data.status);
        if steps.is_empty() {
            let is_over = state == data.status || state.next().is_empty();
            tracing::debug!(%room, id, %occurred_at, "courier report cannot follow yet");
            return if is_over { Ok(Accepted::Ignored) } else { Err(InboundError::TooEarly) };
        }
        for step in steps {
            // Another node may have been faster; the final state decides.
            let _ = self.step(room, event, step).await?;
        }
        match self.state(room, data.delivery).await? {
            Some(state) if state == data.status => Ok(Accepted::Applied),
            _ => Err(InboundError::Unavailable),
        }
    }

    async fn state(&self, room: RoomId, delivery: DeliveryId) -> Result<Option<DeliveryState>, InboundError> {
        let parcel = self.parcel(room, delivery).await.map_err(|_| InboundError::Unavailable)?;
        Ok(parcel.map(|parcel| parcel.state))
    }

    async fn step(
        &self,
        room: RoomId,
        event: &CourierEvent,
        to: DeliveryState,
    ) -> Result<Result<(), Refusal>, InboundError> {
        // The id follows from the report, so that a repeated one is the same command. Where couriers may not report a
        // state, such as a loss, the hub submits it.
        let id = Uuid::new_v5(&event.data.delivery.0, format!("{} {}", event.id, to.as_str()).as_bytes());
        let of_hub = may_move_delivery(Role::System, to);
        let actor = if of_hub { Actor::System } else { self.actor() };
        match self.submit(room, actor, id, Command::MoveDelivery(command(event, to))).await {
            // The partner no longer takes part in the case.
            Err(SubmitError::NotFound) => Ok(Err(Refusal::Forbidden)),
            result => separate_refusal(result),
        }
    }
}

/// Builds the command of one step. The report's details belong to its last step only.
fn command(event: &CourierEvent, to: DeliveryState) -> MoveDelivery {
    let (data, last) = (&event.data, to == event.data.status);
    MoveDelivery {
        delivery: data.delivery,
        to,
        reason: data.reason.clone().filter(|_| last),
        proof: data.proof.clone().filter(|_| last),
        window: data.window.filter(|_| last),
        occurred_at: Some(event.occurred_at),
    }
}

#[derive(serde::Deserialize)]
struct MessageKind {
    #[serde(rename = "type")]
    kind: String,
}

/// Returns whether the partner has still to pick up the parcel.
fn is_ours(parcel: &DeliveryView) -> bool {
    parcel.state == DeliveryState::Assigned
        && parcel.courier.as_ref().is_some_and(|courier| courier.id == PARTNER_ACCOUNT)
}
