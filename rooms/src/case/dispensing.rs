//! The dispensing: one pharmacy's work on one prescription.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::case::delivery::Proof;
use crate::case::prescription::PrescriptionState;
use crate::command::MoveDispensing;
use crate::event::{DispensingMoved, Event, HandOver, Pharmacy};
use crate::id::{DispensingId, PrescriptionId};
use crate::refusal::Refusal;
use crate::role::Role;
use crate::text::Prose;

/// Where the work stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DispensingState {
    Received,
    Accepted,
    Preparing,
    OnHold,
    Checked,
    Ready,
    Released,
    Completed,
    ReturnedToStock,
    Declined,
    Cancelled,
}

impl DispensingState {
    /// Every state, in the order of the field's diagram.
    pub const ALL: [DispensingState; 11] = [
        DispensingState::Received,
        DispensingState::Accepted,
        DispensingState::Preparing,
        DispensingState::OnHold,
        DispensingState::Checked,
        DispensingState::Ready,
        DispensingState::Released,
        DispensingState::Completed,
        DispensingState::ReturnedToStock,
        DispensingState::Declined,
        DispensingState::Cancelled,
    ];

    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            DispensingState::Received => "received",
            DispensingState::Accepted => "accepted",
            DispensingState::Preparing => "preparing",
            DispensingState::OnHold => "on_hold",
            DispensingState::Checked => "checked",
            DispensingState::Ready => "ready",
            DispensingState::Released => "released",
            DispensingState::Completed => "completed",
            DispensingState::ReturnedToStock => "returned_to_stock",
            DispensingState::Declined => "declined",
            DispensingState::Cancelled => "cancelled",
        }
    }
}

/// Why the work is on hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    OutOfStock,
    /// A question to the doctor, asked in the dispensing thread.
    Clarification,
    Payment,
}

/// A dispensing as far as its log tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispensing {
    pub id: DispensingId,
    /// `seq` of the last event that changed it.
    pub version: u64,
    pub prescription: PrescriptionId,
    pub pharmacy: Pharmacy,
    pub hand_over: HandOver,
    pub stage: Stage,
    /// The prescription as this pharmacy knows it. Another pharmacy may have it by now, which is not this one's affair.
    pub known: Known,
}

/// A prescription's state and version by the last event about it that a pharmacy has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub state: PrescriptionState,
    pub version: u64,
}

/// Each state with the data that exists in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Received,
    Accepted,
    Preparing,
    OnHold(HoldReason),
    Checked,
    Ready,
    /// With the courier.
    Released,
    /// In the patient's hands, with proof.
    Completed,
    ReturnedToStock,
    Declined,
    Cancelled,
}

impl Dispensing {
    pub fn state(&self) -> DispensingState {
        match self.stage {
            Stage::Received => DispensingState::Received,
            Stage::Accepted => DispensingState::Accepted,
            Stage::Preparing => DispensingState::Preparing,
            Stage::OnHold(_) => DispensingState::OnHold,
            Stage::Checked => DispensingState::Checked,
            Stage::Ready => DispensingState::Ready,
            Stage::Released => DispensingState::Released,
            Stage::Completed => DispensingState::Completed,
            Stage::ReturnedToStock => DispensingState::ReturnedToStock,
            Stage::Declined => DispensingState::Declined,
            Stage::Cancelled => DispensingState::Cancelled,
        }
    }

    /// Whether the pharmacy still has work or medicine of this.
    pub fn active(&self) -> bool {
        match self.stage {
            Stage::Received
            | Stage::Accepted
            | Stage::Preparing
            | Stage::OnHold(_)
            | Stage::Checked
            | Stage::Ready
            | Stage::Released => true,
            Stage::Completed | Stage::ReturnedToStock | Stage::Declined | Stage::Cancelled => false,
        }
    }

    /// The states its pharmacist can move it to now. `parcel`: a delivery has been asked for and not called off, so that
    /// the courier's steps move it on.
    pub fn next(&self, parcel: bool) -> &'static [DispensingState] {
        use DispensingState as To;
        match self.stage {
            // Under review the verdict comes first.
            Stage::Received if self.known.state != PrescriptionState::Released => &[To::Declined],
            Stage::Received => &[To::Accepted, To::Declined],
            Stage::Accepted => &[To::Preparing, To::Declined],
            Stage::Preparing => &[To::OnHold, To::Checked],
            Stage::OnHold(_) => &[To::Preparing, To::Declined],
            Stage::Checked => &[To::Ready],
            Stage::Ready if parcel => &[],
            Stage::Ready => &[To::Completed, To::ReturnedToStock],
            Stage::Released | Stage::Completed | Stage::ReturnedToStock | Stage::Declined | Stage::Cancelled => &[],
        }
    }

    /// What somebody in this role may do now; a pharmacist only in its pharmacy.
    pub fn allowed(&self, role: Role, parcel: bool) -> Vec<String> {
        match role {
            Role::Pharmacist => {
                let moves = self.next(parcel).iter().map(|to| format!("dispensing.move:{}", to.as_str()));
                moves.chain([CHAT.to_owned()]).collect()
            }
            Role::Patient | Role::Doctor => vec![CHAT.to_owned()],
            Role::Courier | Role::Admin | Role::Support | Role::Guest | Role::System => vec![],
        }
    }

    /// The event that moves it to `to`.
    pub fn to(&self, to: DispensingState, with: With) -> Event {
        Event::DispensingMoved(DispensingMoved {
            dispensing: self.id,
            prescription: self.prescription,
            pharmacy: self.pharmacy.id,
            from: self.state(),
            to,
            hold: with.hold,
            reason: with.reason,
            proof: with.proof,
        })
    }

    /// Takes a move.
    pub fn moved(&mut self, moved: &DispensingMoved, seq: u64) {
        self.version = seq;
        self.stage = match moved.to {
            DispensingState::Received => Stage::Received,
            DispensingState::Accepted => Stage::Accepted,
            DispensingState::Preparing => Stage::Preparing,
            DispensingState::OnHold => Stage::OnHold(moved.hold.unwrap_or(HoldReason::Clarification)),
            DispensingState::Checked => Stage::Checked,
            DispensingState::Ready => Stage::Ready,
            DispensingState::Released => Stage::Released,
            DispensingState::Completed => Stage::Completed,
            DispensingState::ReturnedToStock => Stage::ReturnedToStock,
            DispensingState::Declined => Stage::Declined,
            DispensingState::Cancelled => Stage::Cancelled,
        };
    }
}

/// Writing in the thread of this pharmacy.
const CHAT: &str = "chat.send";

/// What a move may carry beside its target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct With {
    pub hold: Option<HoldReason>,
    pub reason: Option<Prose>,
    pub proof: Option<Proof>,
}

impl With {
    /// Checks that exactly the data that belong to `to` are there.
    pub fn of(step: &MoveDispensing) -> Result<Self, Refusal> {
        let to = step.to;
        demand(step.hold.is_some(), to == DispensingState::OnHold, "hold")?;
        demand(step.proof.is_some(), to == DispensingState::Completed, "proof")?;
        match to {
            DispensingState::OnHold => {}
            to => demand(
                step.reason.is_some(),
                matches!(to, DispensingState::Declined | DispensingState::ReturnedToStock),
                "reason",
            )?,
        }
        Ok(Self { hold: step.hold, reason: step.reason.clone(), proof: step.proof.clone() })
    }
}

/// A field that a target state needs, and that no other takes.
pub(crate) fn demand(given: bool, needed: bool, field: &'static str) -> Result<(), Refusal> {
    match (given, needed) {
        (true, true) | (false, false) => Ok(()),
        (false, true) => Err(Refusal::Invalid { field, why: "is needed with this move" }),
        (true, false) => Err(Refusal::Invalid { field, why: "does not belong to this move" }),
    }
}
