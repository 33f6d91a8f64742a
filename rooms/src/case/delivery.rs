//! The delivery: one parcel from the pharmacy to the patient.

use std::borrow::Cow;
use std::time::Duration;

use crate::command::MoveDelivery;
use crate::event::{DeliveryMoved, DeliveryRequested, Event};
use crate::id::{DeliveryId, DispensingId, PharmacyId, UserId};
use crate::limits::MAX_LATE_REPORTS;
use crate::party::{Person, Proof};
use crate::permission::may_move_delivery;
use crate::refusal::Refusal;
use crate::role::Role;
use crate::state::DeliveryState;
use crate::text::Text;
use crate::time::Timestamp;

/// A delivery, folded from the log. The recipient is the room's patient; the dispensing has the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub id: DeliveryId,
    /// `seq` of the last event that changed it.
    pub version: u64,
    pub dispensing: DispensingId,
    pub pharmacy: PharmacyId,
    /// When the current state began, as reported by the person who moved it.
    pub since: Timestamp,
    pub stage: DeliveryStage,
    /// Late reports so far.
    pub late_reports: u8,
}

/// The stages of a delivery, each with the data that exists in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryStage {
    Requested,
    /// Cancelled before a courier was assigned.
    Withdrawn,
    Assigned(InTransit),
}

/// A parcel with a courier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InTransit {
    pub courier: Person,
    pub assigned_at: Timestamp,
    pub leg: Leg,
    /// Failed attempts so far.
    pub attempts: u32,
    /// The start of the delivery window that was last agreed on.
    pub window: Option<Timestamp>,
}

/// The legs of a parcel with a courier.
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

/// The failed attempts after which a parcel returns to the pharmacy.
pub const MAX_ATTEMPTS: u32 = 3;

/// The moves of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMove {
    Assign,
    To(DeliveryState),
}

impl DeliveryMove {
    /// The kind of the command that makes the move, with the target state.
    pub fn as_str(self) -> Cow<'static, str> {
        match self {
            DeliveryMove::Assign => "delivery.assign".into(),
            DeliveryMove::To(state) => format!("delivery.move:{}", state.as_str()).into(),
        }
    }
}

impl Delivery {
    /// Creates a delivery that waits for a courier.
    pub fn request(requested: &DeliveryRequested, seq: u64, at: Timestamp) -> Self {
        Self {
            id: requested.delivery,
            version: seq,
            dispensing: requested.dispensing,
            pharmacy: requested.pharmacy.id,
            since: at,
            stage: DeliveryStage::Requested,
            late_reports: 0,
        }
    }

    pub fn state(&self) -> DeliveryState {
        match &self.stage {
            DeliveryStage::Requested => DeliveryState::Requested,
            DeliveryStage::Withdrawn => DeliveryState::Cancelled,
            DeliveryStage::Assigned(transit) => match transit.leg {
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

    /// Returns the parcel's transit once a courier is assigned.
    pub fn transit(&self) -> Option<&InTransit> {
        match &self.stage {
            DeliveryStage::Assigned(transit) => Some(transit),
            DeliveryStage::Requested | DeliveryStage::Withdrawn => None,
        }
    }

    /// Returns the courier who has or had the parcel.
    pub fn courier(&self) -> Option<UserId> {
        self.transit().map(|transit| transit.courier.id)
    }

    /// Returns the failed attempts so far.
    pub fn attempts(&self) -> u32 {
        self.transit().map_or(0, |transit| transit.attempts)
    }

    /// Whether the delivery has not ended.
    pub fn is_active(&self) -> bool {
        !self.state().next().is_empty()
    }

    /// Whether it can be assigned to a courier, or to another one.
    fn is_assignable(&self) -> bool {
        matches!(self.state(), DeliveryState::Requested | DeliveryState::Assigned)
    }

    /// Returns the moves that this role may make now. The caller checks that a courier has the parcel and that a pharmacist
    /// belongs to the pharmacy.
    pub fn allowed(&self, role: Role) -> Vec<DeliveryMove> {
        let assigns = matches!(role, Role::Pharmacist | Role::System);
        let assign = (assigns && self.is_assignable()).then_some(DeliveryMove::Assign);
        let moves = self.state().next().iter().filter(|to| may_move_delivery(role, **to));
        assign.into_iter().chain(moves.copied().map(DeliveryMove::To)).collect()
    }

    /// Returns the event body for a move from the current state to `to`.
    pub fn move_to(&self, to: DeliveryState, details: DeliveryMoveDetails) -> DeliveryMoved {
        DeliveryMoved {
            delivery: self.id,
            pharmacy: self.pharmacy,
            courier: self.courier(),
            from: self.state(),
            to,
            reason: details.reason,
            proof: details.proof,
            window: details.window,
            occurred_at: details.occurred_at,
        }
    }

    /// Returns the event that cancels it, because the medicine will not leave the pharmacy.
    pub fn cancel(&self) -> Event {
        Event::DeliveryMoved(self.move_to(DeliveryState::Cancelled, DeliveryMoveDetails::default()))
    }

    /// Checks a report of a step that lies before the current state: it must name a step that the parcel can have taken since
    /// its assignment, and there may be few of them.
    pub fn check_late_report(&self, to: DeliveryState, at: Timestamp) -> Result<(), Refusal> {
        let Some(transit) = self.transit().filter(|transit| transit.assigned_at <= at) else {
            let why = "must not be before the parcel was assigned";
            return Err(Refusal::Invalid { field: "occurred_at", why });
        };
        if !(transit.leg != Leg::Assigned && DeliveryState::Assigned.leads_to(to) && to.leads_to(self.state())) {
            return Err(Refusal::Invalid {
                field: "to",
                why: "must be a step on the parcel's way to its present state",
            });
        }
        if self.late_reports >= MAX_LATE_REPORTS {
            return Err(Refusal::Invalid {
                field: "occurred_at",
                why: "is late, and the parcel has its maximum of late reports",
            });
        }
        Ok(())
    }

    /// Applies a late report.
    pub fn apply_late_report(&mut self) {
        self.late_reports = self.late_reports.saturating_add(1);
    }

    /// Applies an assignment.
    pub fn apply_assignment(&mut self, courier: &Person, seq: u64, at: Timestamp) {
        self.version = seq;
        self.since = at;
        let courier = courier.clone();
        let transit = InTransit { courier, assigned_at: at, leg: Leg::Assigned, attempts: 0, window: None };
        self.stage = DeliveryStage::Assigned(transit);
    }

    /// Applies a move.
    pub fn apply_move(&mut self, moved: &DeliveryMoved, seq: u64, at: Timestamp) {
        self.version = seq;
        self.since = moved.occurred_at.unwrap_or(at);
        let DeliveryStage::Assigned(transit) = &mut self.stage else {
            if moved.to == DeliveryState::Cancelled {
                self.stage = DeliveryStage::Withdrawn;
            }
            return;
        };
        transit.window = moved.window.or(transit.window);
        transit.leg = match moved.to {
            DeliveryState::Requested | DeliveryState::Assigned => transit.leg,
            DeliveryState::PickedUp => Leg::PickedUp,
            DeliveryState::InTransit => Leg::InTransit,
            DeliveryState::OutForDelivery => Leg::OutForDelivery,
            DeliveryState::AttemptFailed => {
                transit.attempts += 1;
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
    /// Returns the states that may follow, whoever makes the move. Only forward, but for one loop: a new attempt after a
    /// failed one.
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

    /// Whether moves lead from this state to `to`. A state leads to itself only by a loop.
    pub fn leads_to(self, to: DeliveryState) -> bool {
        let mut reached: Vec<DeliveryState> = self.next().to_vec();
        let mut at = 0;
        while let Some(state) = reached.get(at).copied() {
            let new: Vec<_> = state.next().iter().filter(|next| !reached.contains(next)).copied().collect();
            reached.extend(new);
            at += 1;
        }
        reached.contains(&to)
    }

    /// Returns the moves from this state to `to`, including `to`, for a courier whose reports skip states or arrive out of
    /// order. Passes only through states that need no data of their own. Empty if no such path exists.
    pub fn path_to(self, to: DeliveryState) -> Vec<DeliveryState> {
        use DeliveryState::*;
        if self.next().contains(&to) {
            return vec![to];
        }
        let passable = |state: &&DeliveryState| matches!(state, PickedUp | OutForDelivery);
        self.next()
            .iter()
            .filter(passable)
            .map(|next| (next, next.path_to(to)))
            .find(|(_, rest)| !rest.is_empty())
            .map(|(next, rest)| std::iter::once(*next).chain(rest).collect())
            .unwrap_or_default()
    }
}

/// The data that a move carries beside its target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryMoveDetails {
    pub reason: Option<Text<4000>>,
    pub proof: Option<Proof>,
    pub window: Option<Timestamp>,
    /// Absent if it happened now.
    pub occurred_at: Option<Timestamp>,
}

/// How far a reporter's clock may run ahead of the hub's. A move reported from within this future counts as now.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(300);

impl DeliveryMoveDetails {
    /// Checks that the command carries the data that its target needs.
    pub fn check(command: &MoveDelivery, now: Timestamp) -> Result<Self, Refusal> {
        use DeliveryState::*;
        Refusal::require(command.proof.is_some(), command.to == Delivered, "proof")?;
        Refusal::require(command.window.is_some(), command.to == Rescheduled, "window")?;
        if matches!(command.to, AttemptFailed | Cancelled | Lost | Damaged) {
            Refusal::require(command.reason.is_some(), true, "reason")?;
        }
        if command.window.is_some_and(|window| window <= now) {
            return Err(Refusal::Invalid { field: "window", why: "must be in the future" });
        }
        if command.occurred_at.is_some_and(|at| at > now.plus(MAX_CLOCK_SKEW)) {
            return Err(Refusal::Invalid { field: "occurred_at", why: "must not be in the future" });
        }
        Ok(Self {
            reason: command.reason.clone().map(Into::into),
            proof: command.proof.clone().map(Into::into),
            window: command.window,
            occurred_at: command.occurred_at.filter(|at| *at < now),
        })
    }
}
