//! Between the rooms and the courier partner: parcels that are given to it are ordered, and its reports move them.

use rooms::case::delivery::DeliveryMoveDetails;
use rooms::command::{AssignDelivery, Command, MoveDelivery};
use rooms::event::Event as RoomEvent;
use rooms::id::{CommandId, DeliveryId, RoomId, UserId};
use rooms::permission::may_move_delivery;
use rooms::refusal::Refusal;
use rooms::role::{Actor, Role};
use rooms::room::snapshot::DeliveryView;
use rooms::state::DeliveryState;
use rooms::text::Line;
use uuid::Uuid;

use super::sandbox::Played;
use super::{Couriers, Event, MOVED, Order, Stop};
use crate::clock::Clock;
use crate::config::CourierSettings;
use crate::egress::Egress;
use crate::gateway::Outcome;
use crate::gateway::inbound::{Deaf, Heard, Message, Secret, unless_refused};
use crate::gateway::partner::Failure;
use crate::hub::{Hub, Submission, SubmitError};
use crate::store::StoreError;
use crate::store::dispatches::{Dispatch, Sink, Wish};
use crate::store::outgoing::News;
use crate::store::people::{Status, User};

/// The name under which the partner's messages are noted.
const PARTNER: &str = "courier";
/// The partner's account: the same on every node and after every start, and behind people in every list.
const ACCOUNT: UserId = UserId(Uuid::from_u128(0xffff_ffff_ffff_8fff_bfff_636f_7572_6965));
/// The lane of what the hub does by itself, which no partner's failure holds up.
const OWN: &str = "hub";

/// What is wrong with a report that the room would refuse.
const OTHER_DATA: &str = "the step needs other data: see occurred_at, proof, reason and window";

/// See the module.
#[derive(Clone)]
pub struct CourierDesk {
    hub: Hub,
    clock: Clock,
    couriers: Couriers,
    name: Line,
    assign: bool,
    secret: Secret,
}

impl CourierDesk {
    /// None if no partner is set.
    pub fn new(settings: &CourierSettings, egress: &Egress, hub: Hub, clock: Clock) -> Option<Self> {
        let provider = settings.provider.as_ref()?;
        let couriers = Couriers::new(provider, egress, hub.store().clone(), clock.clone());
        let name = Line::parse(&settings.name).expect("checked with the settings");
        let secret = Secret::or_fresh(settings.webhook_secret.as_ref());
        Some(Self { hub, clock, couriers, name, assign: settings.assign, secret })
    }

    pub fn couriers(&self) -> &Couriers {
        &self.couriers
    }

    /// Makes the partner's account, if it is not there.
    pub async fn open_account(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let user = User {
            id: ACCOUNT,
            email: "courier@partner.invalid".to_owned(),
            name: self.name.clone(),
            role: Role::Courier,
            status: Status::Active,
            pharmacy: None,
            specialty: None,
            languages: None,
            created_at: now,
            changed_at: now,
            // No hash: nobody signs in as the partner.
            password_hash: "-".to_owned(),
        };
        self.hub.store().insert_user(&user).await.map(drop)
    }

    fn actor(&self) -> Actor {
        Actor::Person { id: ACCOUNT, role: Role::Courier, name: self.name.clone(), pharmacy: None }
    }

    /// What follows from a commit.
    pub fn wishes(&self, news: &News) -> Vec<Wish> {
        let mut wishes = Vec::new();
        for record in &news.records {
            let (kind, lane, delivery) = match &record.event {
                RoomEvent::DeliveryRequested(requested) if self.assign => ("assign", OWN, requested.delivery),
                RoomEvent::DeliveryAssigned(assigned) if assigned.courier.id == ACCOUNT => {
                    ("order", self.couriers.name(), assigned.delivery)
                }
                RoomEvent::DeliveryAssigned(assigned) if assigned.former == Some(ACCOUNT) => {
                    ("cancel", self.couriers.name(), assigned.delivery)
                }
                RoomEvent::DeliveryMoved(moved)
                    if moved.courier == Some(ACCOUNT) && moved.to == DeliveryState::Cancelled =>
                {
                    ("cancel", self.couriers.name(), moved.delivery)
                }
                _ => continue,
            };
            wishes.push(Wish {
                sink: Sink::Courier,
                lane: lane.to_owned(),
                target: delivery.to_string(),
                room: news.room,
                seq: record.seq,
                kind: kind.to_owned(),
                body: String::new(),
                due_at: self.clock.now(),
            });
        }
        wishes
    }

    /// Does one of them.
    pub async fn send(&self, dispatch: &Dispatch) -> Outcome {
        let Ok(delivery) = dispatch.target.parse::<DeliveryId>() else {
            return Outcome::refused("there is no such parcel");
        };
        let (room, key) = (dispatch.room, dispatch.id);
        let done = match dispatch.kind.as_str() {
            "assign" => self.give(room, delivery).await,
            "order" => self.order(room, delivery, key).await,
            "cancel" => self.cancel(room, delivery, key).await,
            _ => Err(Failure::Refused("there is no such wish".to_owned())),
        };
        done.unwrap_or_else(Outcome::from)
    }

    /// Gives a parcel to the partner, unless somebody has it.
    async fn give(&self, room: RoomId, delivery: DeliveryId) -> Result<Outcome, Failure> {
        let parcel = self.parcel(room, delivery).await?;
        if parcel.is_none_or(|parcel| parcel.state != DeliveryState::Requested) {
            return Ok(Outcome::gone("the parcel is with somebody, or called off"));
        }
        let command = Command::AssignDelivery(AssignDelivery { delivery, courier: ACCOUNT });
        match self.submit(room, Actor::System, self.clock.fresh_id(), command).await {
            Ok(_) => Ok(Outcome::Done),
            Err(error) if error.is_retryable() => Err(Failure::later("the hub cannot do this now")),
            Err(_) => Ok(Outcome::gone("the parcel is with somebody, or called off")),
        }
    }

    async fn order(&self, room: RoomId, delivery: DeliveryId, key: Uuid) -> Result<Outcome, Failure> {
        let Some(parcel) = self.parcel(room, delivery).await?.filter(is_ours) else {
            return Ok(Outcome::gone("the parcel is with somebody else, or called off"));
        };
        let stop = |name: &Line, address: &str| Stop { name: name.as_str().to_owned(), address: address.to_owned() };
        let order = Order {
            room,
            delivery,
            pickup: stop(&parcel.pharmacy.name, parcel.pharmacy.address.as_str()),
            dropoff: stop(&parcel.recipient.name, parcel.address.as_str()),
        };
        let reference = self.couriers.order(&order, key).await?;
        self.hub.store().link_order(room, delivery, &reference, self.clock.now()).await?;
        // Called off while the partner was being asked: the calling off may have found no order.
        if !self.parcel(room, delivery).await?.is_some_and(|parcel| is_ours(&parcel)) {
            self.couriers.cancel(&reference, Uuid::new_v5(&key, b"cancel")).await?;
        }
        Ok(Outcome::Done)
    }

    async fn cancel(&self, room: RoomId, delivery: DeliveryId, key: Uuid) -> Result<Outcome, Failure> {
        let Some(reference) = self.hub.store().order_of(delivery).await? else {
            return Ok(Outcome::gone("it was never ordered"));
        };
        if self.parcel(room, delivery).await?.is_some_and(|parcel| is_ours(&parcel)) {
            return Ok(Outcome::gone("the parcel is the partner's again"));
        }
        self.couriers.cancel(&reference, key).await?;
        Ok(Outcome::Done)
    }

    async fn parcel(&self, room: RoomId, delivery: DeliveryId) -> Result<Option<DeliveryView>, Failure> {
        match self.hub.read(room, &Actor::System).await {
            Ok(look) => Ok(look.snapshot.deliveries.into_iter().find(|parcel| parcel.id == delivery)),
            Err(error) if error.is_retryable() => Err(Failure::later("the hub cannot do this now")),
            Err(_) => Ok(None),
        }
    }

    async fn submit(&self, room: RoomId, actor: Actor, id: Uuid, command: Command) -> Result<(), SubmitError> {
        let submission = Submission { room, actor, id: CommandId(id), command, expect: None };
        self.hub.submit(submission).await.map(drop)
    }

    /// Takes a message of the partner's. `header`: its signature.
    pub async fn hear(&self, header: Option<&str>, body: &[u8]) -> Result<Heard, Deaf> {
        let message = Message::open(&self.secret, header, body, self.clock.now())?;
        let store = self.hub.store();
        if message.is_known(store, PARTNER).await? {
            return Ok(Heard::Absorbed);
        }
        let heard = match serde_json::from_slice::<Kind>(message.body) {
            Ok(Kind { kind }) if kind != MOVED => Heard::Absorbed,
            _ => {
                let event =
                    serde_json::from_slice(message.body).map_err(|_| Deaf::Malformed("no report of a parcel"))?;
                self.believe(&event).await?
            }
        };
        message.note(store, PARTNER, self.clock.now()).await?;
        Ok(heard)
    }

    /// Lets the sandbox tell of a step, by the same way.
    pub async fn hear_sandbox(&self, played: &Played) -> Result<Heard, Deaf> {
        let body = serde_json::to_vec(&played.event).expect("an event has string keys");
        let heard = self.hear(Some(&self.secret.sign(&body, self.clock.now())), &body).await?;
        if let Couriers::Sandbox(sandbox) = &self.couriers {
            sandbox.told(played).await?;
        }
        Ok(heard)
    }

    /// Moves a parcel as the partner says: on by the steps that were left out, and never back.
    async fn believe(&self, event: &Event) -> Result<Heard, Deaf> {
        let Event { id, occurred_at, data, .. } = event;
        if !(may_move_delivery(Role::Courier, data.status) || may_move_delivery(Role::System, data.status)) {
            return Err(Deaf::Malformed("no courier brings that state about"));
        }
        // Before the steps that were left out are taken.
        DeliveryMoveDetails::check(&command(event, data.status), self.clock.now())
            .map_err(|_| Deaf::Malformed(OTHER_DATA))?;
        let room = self.hub.store().room_of_delivery(data.delivery).await?.ok_or(Deaf::Unknown)?;
        // The whole report first: what is late is recorded as it is.
        let refused = match self.step(room, event, data.status).await? {
            Ok(()) => return Ok(Heard::Taken),
            Err(Refusal::Illegal { .. }) => self.state(room, data.delivery).await?,
            // Relieved of the parcel: what the partner still says of it concerns nobody.
            Err(Refusal::Forbidden | Refusal::NoSuch(_)) => return Ok(Heard::Absorbed),
            Err(_) => return Err(Deaf::Malformed(OTHER_DATA)),
        };
        let Some(state) = refused else { return Ok(Heard::Absorbed) };
        let way = state.path_to(data.status);
        if way.is_empty() {
            let is_over = state == data.status || state.next().is_empty();
            tracing::debug!(%room, id, %occurred_at, "a courier's report cannot follow now");
            return if is_over { Ok(Heard::Absorbed) } else { Err(Deaf::Early) };
        }
        for step in way {
            // Another node may have been faster; then the rest decides.
            let _ = self.step(room, event, step).await?;
        }
        match self.state(room, data.delivery).await? {
            Some(state) if state == data.status => Ok(Heard::Taken),
            _ => Err(Deaf::Busy),
        }
    }

    async fn state(&self, room: RoomId, delivery: DeliveryId) -> Result<Option<DeliveryState>, Deaf> {
        let parcel = self.parcel(room, delivery).await.map_err(|_| Deaf::Busy)?;
        Ok(parcel.map(|parcel| parcel.state))
    }

    async fn step(&self, room: RoomId, event: &Event, to: DeliveryState) -> Result<Result<(), Refusal>, Deaf> {
        // The same report is the same command; a partner's own word that a parcel is lost is taken by the hub.
        let id = Uuid::new_v5(&event.data.delivery.0, format!("{} {}", event.id, to.as_str()).as_bytes());
        let of_hub = may_move_delivery(Role::System, to);
        let actor = if of_hub { Actor::System } else { self.actor() };
        match self.submit(room, actor, id, Command::MoveDelivery(command(event, to))).await {
            // No part in the case any more.
            Err(SubmitError::NotFound) => Ok(Err(Refusal::Forbidden)),
            result => unless_refused(result),
        }
    }
}

/// The step to `to` on the way of a report; what the report says more belongs to its last one.
fn command(event: &Event, to: DeliveryState) -> MoveDelivery {
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
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

/// Whether the partner is to fetch it.
fn is_ours(parcel: &DeliveryView) -> bool {
    parcel.state == DeliveryState::Assigned && parcel.courier.as_ref().is_some_and(|courier| courier.id == ACCOUNT)
}
