//! The delivery: one parcel from the pharmacy to the patient.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::case::dispensing::demand;
use crate::command::MoveDelivery;
use crate::event::{DeliveryMoved, Event, Person};
use crate::id::{DeliveryId, DispensingId, PharmacyId, UserId};
use crate::refusal::Refusal;
use crate::role::Role;
use crate::text::{Line, Prose};
use crate::time::Timestamp;

/// Where a parcel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    Requested,
    Assigned,
    PickedUp,
    InTransit,
    OutForDelivery,
    AttemptFailed,
    Rescheduled,
    Delivered,
    Returning,
    Returned,
    Restocked,
    Disposed,
    Cancelled,
    Lost,
    Damaged,
}

impl DeliveryState {
    /// Every state, in the order of the field's diagram.
    pub const ALL: [DeliveryState; 15] = [
        DeliveryState::Requested,
        DeliveryState::Assigned,
        DeliveryState::PickedUp,
        DeliveryState::InTransit,
        DeliveryState::OutForDelivery,
        DeliveryState::AttemptFailed,
        DeliveryState::Rescheduled,
        DeliveryState::Delivered,
        DeliveryState::Returning,
        DeliveryState::Returned,
        DeliveryState::Restocked,
        DeliveryState::Disposed,
        DeliveryState::Cancelled,
        DeliveryState::Lost,
        DeliveryState::Damaged,
    ];

    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Requested => "requested",
            DeliveryState::Assigned => "assigned",
            DeliveryState::PickedUp => "picked_up",
            DeliveryState::InTransit => "in_transit",
            DeliveryState::OutForDelivery => "out_for_delivery",
            DeliveryState::AttemptFailed => "attempt_failed",
            DeliveryState::Rescheduled => "rescheduled",
            DeliveryState::Delivered => "delivered",
            DeliveryState::Returning => "returning",
            DeliveryState::Returned => "returned",
            DeliveryState::Restocked => "restocked",
            DeliveryState::Disposed => "disposed",
            DeliveryState::Cancelled => "cancelled",
            DeliveryState::Lost => "lost",
            DeliveryState::Damaged => "damaged",
        }
    }
}

/// How a hand-over was proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    pub kind: ProofKind,
    /// The code, the signature's or the photo's reference; never a picture itself.
    pub reference: Line,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProofKind {
    Code,
    Signature,
    IdCard,
    Photo,
}

/// A parcel as far as its log tells. The recipient is the room's patient, the address that of its dispensing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub id: DeliveryId,
    /// `seq` of the last event that changed it.
    pub version: u64,
    pub dispensing: DispensingId,
    pub pharmacy: PharmacyId,
    /// When it came into its present state, by the account of who moved it.
    pub since: Timestamp,
    pub stage: Stage,
}

/// Each state with the data that exists in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    Requested,
    /// Called off before a courier had it.
    Withdrawn,
    Given(Given),
}

/// A parcel that a courier was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub courier: Person,
    pub leg: Leg,
    /// Failed attempts so far.
    pub attempts: u32,
    /// The begin of the window that was last agreed on.
    pub window: Option<Timestamp>,
}

/// Where a parcel is that a courier was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    Assigned,
    PickedUp,
    InTransit,
    OutForDelivery,
    AttemptFailed,
    Rescheduled,
    Delivered,
    Returning,
    Returned,
    Restocked,
    Disposed,
    Cancelled,
    Lost,
    Damaged,
}

/// After this many failed attempts a parcel goes back.
pub const MAX_ATTEMPTS: u32 = 3;

impl Delivery {
    pub fn state(&self) -> DeliveryState {
        match &self.stage {
            Stage::Requested => DeliveryState::Requested,
            Stage::Withdrawn => DeliveryState::Cancelled,
            Stage::Given(given) => match given.leg {
                Leg::Assigned => DeliveryState::Assigned,
                Leg::PickedUp => DeliveryState::PickedUp,
                Leg::InTransit => DeliveryState::InTransit,
                Leg::OutForDelivery => DeliveryState::OutForDelivery,
                Leg::AttemptFailed => DeliveryState::AttemptFailed,
                Leg::Rescheduled => DeliveryState::Rescheduled,
                Leg::Delivered => DeliveryState::Delivered,
                Leg::Returning => DeliveryState::Returning,
                Leg::Returned => DeliveryState::Returned,
                Leg::Restocked => DeliveryState::Restocked,
                Leg::Disposed => DeliveryState::Disposed,
                Leg::Cancelled => DeliveryState::Cancelled,
                Leg::Lost => DeliveryState::Lost,
                Leg::Damaged => DeliveryState::Damaged,
            },
        }
    }

    pub fn given(&self) -> Option<&Given> {
        match &self.stage {
            Stage::Given(given) => Some(given),
            Stage::Requested | Stage::Withdrawn => None,
        }
    }

    /// Who has or had it.
    pub fn courier(&self) -> Option<UserId> {
        self.given().map(|given| given.courier.id)
    }

    /// Failed attempts so far.
    pub fn attempts(&self) -> u32 {
        self.given().map_or(0, |given| given.attempts)
    }

    /// Whether the parcel's way is not over.
    pub fn active(&self) -> bool {
        !self.state().next().is_empty()
    }

    /// Whether a courier may be given it, or another one.
    pub fn assignable(&self) -> bool {
        matches!(self.state(), DeliveryState::Requested | DeliveryState::Assigned)
    }

    /// Whether somebody in this role may move it to `to` now; a courier only their own, a pharmacist in its pharmacy.
    pub fn possible(&self, role: Role, to: DeliveryState) -> bool {
        may_ever(role, to) && self.state().next().contains(&to)
    }

    /// What somebody in this role may do now.
    pub fn allowed(&self, role: Role) -> Vec<String> {
        let assigns = matches!(role, Role::Pharmacist | Role::System);
        let assign = (assigns && self.assignable()).then(|| "delivery.assign".to_owned());
        let moves = self.state().next().iter().filter(|to| may_ever(role, **to));
        assign.into_iter().chain(moves.map(|to| format!("delivery.move:{}", to.as_str()))).collect()
    }

    /// What is said of a move from the present state to `to`.
    pub fn to(&self, to: DeliveryState, with: With) -> DeliveryMoved {
        DeliveryMoved {
            delivery: self.id,
            pharmacy: self.pharmacy,
            courier: self.courier(),
            from: self.state(),
            to,
            reason: with.reason,
            proof: with.proof,
            window: with.window,
            occurred_at: with.occurred_at,
        }
    }

    /// It is called off, because the medicine will not leave the pharmacy.
    pub fn call_off(&self) -> Event {
        Event::DeliveryMoved(self.to(DeliveryState::Cancelled, With::default()))
    }

    /// Takes an assignment.
    pub fn assigned(&mut self, courier: &Person, seq: u64, at: Timestamp) {
        self.version = seq;
        self.since = at;
        self.stage = Stage::Given(Given { courier: courier.clone(), leg: Leg::Assigned, attempts: 0, window: None });
    }

    /// Takes a move.
    pub fn moved(&mut self, moved: &DeliveryMoved, seq: u64, at: Timestamp) {
        self.version = seq;
        self.since = moved.occurred_at.unwrap_or(at);
        let Stage::Given(given) = &mut self.stage else {
            if moved.to == DeliveryState::Cancelled {
                self.stage = Stage::Withdrawn;
            }
            return;
        };
        given.window = moved.window.or(given.window);
        given.leg = match moved.to {
            DeliveryState::Requested | DeliveryState::Assigned => given.leg,
            DeliveryState::PickedUp => Leg::PickedUp,
            DeliveryState::InTransit => Leg::InTransit,
            DeliveryState::OutForDelivery => Leg::OutForDelivery,
            DeliveryState::AttemptFailed => {
                given.attempts += 1;
                Leg::AttemptFailed
            }
            DeliveryState::Rescheduled => Leg::Rescheduled,
            DeliveryState::Delivered => Leg::Delivered,
            DeliveryState::Returning => Leg::Returning,
            DeliveryState::Returned => Leg::Returned,
            DeliveryState::Restocked => Leg::Restocked,
            DeliveryState::Disposed => Leg::Disposed,
            DeliveryState::Cancelled => Leg::Cancelled,
            DeliveryState::Lost => Leg::Lost,
            DeliveryState::Damaged => Leg::Damaged,
        };
    }
}

impl DeliveryState {
    /// The states that may follow, whoever moves it. Only forward, but for one loop: after a failed attempt a new one.
    pub fn next(self) -> &'static [DeliveryState] {
        use DeliveryState::*;
        match self {
            Requested => &[Cancelled],
            Assigned => &[PickedUp, Cancelled],
            PickedUp => &[InTransit, OutForDelivery, Lost, Damaged],
            InTransit => &[OutForDelivery, Lost, Damaged],
            OutForDelivery => &[Delivered, AttemptFailed, Lost, Damaged],
            AttemptFailed => &[Rescheduled, Returning, Lost, Damaged],
            Rescheduled => &[OutForDelivery, Lost, Damaged],
            Returning => &[Returned, Lost, Damaged],
            Returned => &[Restocked, Disposed],
            Delivered | Restocked | Disposed | Cancelled | Lost | Damaged => &[],
        }
    }

    /// The steps from here to `to`, `to` itself included, for a courier whose reports skip some or arrive out of order;
    /// between them only such as need no word of their own. Empty where none leads there.
    pub fn way(self, to: DeliveryState) -> Vec<DeliveryState> {
        use DeliveryState::*;
        if self.next().contains(&to) {
            return vec![to];
        }
        let through = |step: &&DeliveryState| matches!(step, PickedUp | OutForDelivery);
        self.next()
            .iter()
            .filter(through)
            .map(|step| (step, step.way(to)))
            .find(|(_, rest)| !rest.is_empty())
            .map(|(step, rest)| std::iter::once(*step).chain(rest).collect())
            .unwrap_or_default()
    }
}

/// What a move may carry beside its target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct With {
    pub reason: Option<Prose>,
    pub proof: Option<Proof>,
    pub window: Option<Timestamp>,
    /// Absent when it happened now.
    pub occurred_at: Option<Timestamp>,
}

/// How far a reporter's clock may be ahead of the hub's, in seconds: what happened "later" than now, happened now.
const AHEAD_S: u64 = 300;

impl With {
    /// Checks that the data that belong to the move's target are there.
    pub fn of(step: &MoveDelivery, now: Timestamp) -> Result<Self, Refusal> {
        use DeliveryState::*;
        demand(step.proof.is_some(), step.to == Delivered, "proof")?;
        demand(step.window.is_some(), step.to == Rescheduled, "window")?;
        if matches!(step.to, AttemptFailed | Cancelled | Lost | Damaged) {
            demand(step.reason.is_some(), true, "reason")?;
        }
        if step.window.is_some_and(|window| window <= now) {
            return Err(Refusal::Invalid { field: "window", why: "must be in the future" });
        }
        if step.occurred_at.is_some_and(|at| at > now.plus(std::time::Duration::from_secs(AHEAD_S))) {
            return Err(Refusal::Invalid { field: "occurred_at", why: "must not be in the future" });
        }
        Ok(Self {
            reason: step.reason.clone(),
            proof: step.proof.clone(),
            window: step.window,
            occurred_at: step.occurred_at.filter(|at| *at < now),
        })
    }
}

/// Whether somebody in this role may ever move a parcel to this state.
pub fn may_ever(role: Role, to: DeliveryState) -> bool {
    use DeliveryState::*;
    match to {
        // Reached by other commands: a dispensing that is ready, and `delivery.assign`.
        Requested | Assigned => false,
        PickedUp | InTransit | OutForDelivery | AttemptFailed | Delivered | Returning => role == Role::Courier,
        Rescheduled => matches!(role, Role::Courier | Role::Patient | Role::Pharmacist),
        Returned => matches!(role, Role::Courier | Role::Pharmacist),
        Restocked | Disposed => role == Role::Pharmacist,
        Cancelled => matches!(role, Role::Patient | Role::Pharmacist),
        Lost | Damaged => matches!(role, Role::Admin | Role::System),
    }
}
