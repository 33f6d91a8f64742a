//! The dispensing: one pharmacy's work on one prescription.

use std::borrow::Cow;

use crate::command::MoveDispensing;
use crate::event::{DispensingMoved, Event, Sent};
use crate::id::{DispensingId, PrescriptionId};
use crate::party::{HandOver, Pharmacy, Proof};
use crate::reason::HoldReason;
use crate::refusal::Refusal;
use crate::role::Role;
use crate::state::{DispensingState, PrescriptionState};
use crate::text::Text;

/// A dispensing, folded from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispensing {
    pub id: DispensingId,
    /// `seq` of the last event that changed it.
    pub version: u64,
    pub prescription: PrescriptionId,
    pub pharmacy: Pharmacy,
    pub hand_over: HandOver,
    pub stage: DispensingStage,
    /// The prescription as this pharmacy knows it. Another pharmacy may hold it by now, which this one must not learn.
    pub known: KnownPrescription,
}

/// A prescription's state and version, by the last event about it that a pharmacy saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownPrescription {
    pub state: PrescriptionState,
    pub version: u64,
}

/// The stages of a dispensing, each with the data that exists in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DispensingStage {
    Received,
    Accepted,
    Preparing,
    OnHold(HoldReason),
    Checked,
    Ready,
    /// Handed to the courier.
    Released,
    /// Handed to the patient, with proof.
    Completed,
    ReturnedToStock,
    Declined,
    Cancelled,
}

/// The moves of a dispensing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DispensingMove {
    /// A message in the dispensing thread.
    Chat,
    To(DispensingState),
}

impl DispensingMove {
    /// The kind of the command that makes the move, with the target state.
    pub fn as_str(self) -> Cow<'static, str> {
        match self {
            DispensingMove::Chat => "chat.send".into(),
            DispensingMove::To(state) => format!("dispensing.move:{}", state.as_str()).into(),
        }
    }
}

impl Dispensing {
    /// Creates the work that begins when the patient sends a prescription to a pharmacy.
    pub fn receive(sent: &Sent, seq: u64) -> Self {
        Self {
            id: sent.dispensing,
            version: seq,
            prescription: sent.prescription,
            pharmacy: sent.pharmacy.clone(),
            hand_over: sent.hand_over.clone(),
            stage: DispensingStage::Received,
            known: KnownPrescription { state: PrescriptionState::Released, version: seq },
        }
    }

    pub fn state(&self) -> DispensingState {
        match self.stage {
            DispensingStage::Received => DispensingState::Received,
            DispensingStage::Accepted => DispensingState::Accepted,
            DispensingStage::Preparing => DispensingState::Preparing,
            DispensingStage::OnHold(_) => DispensingState::OnHold,
            DispensingStage::Checked => DispensingState::Checked,
            DispensingStage::Ready => DispensingState::Ready,
            DispensingStage::Released => DispensingState::Released,
            DispensingStage::Completed => DispensingState::Completed,
            DispensingStage::ReturnedToStock => DispensingState::ReturnedToStock,
            DispensingStage::Declined => DispensingState::Declined,
            DispensingStage::Cancelled => DispensingState::Cancelled,
        }
    }

    /// Whether the pharmacy still has work to do or medicine in hand.
    pub fn is_active(&self) -> bool {
        match self.stage {
            DispensingStage::Received
            | DispensingStage::Accepted
            | DispensingStage::Preparing
            | DispensingStage::OnHold(_)
            | DispensingStage::Checked
            | DispensingStage::Ready
            | DispensingStage::Released => true,
            DispensingStage::Completed
            | DispensingStage::ReturnedToStock
            | DispensingStage::Declined
            | DispensingStage::Cancelled => false,
        }
    }

    /// Returns the states that the pharmacist can move it to now. With an active delivery, the courier's moves advance
    /// it instead.
    fn next(&self, has_delivery: bool) -> &'static [DispensingState] {
        use DispensingState as To;
        match self.stage {
            // Under review, the pharmacist must first give a verdict.
            DispensingStage::Received if self.known.state != PrescriptionState::Released => &[To::Declined],
            DispensingStage::Received => &[To::Accepted, To::Declined],
            DispensingStage::Accepted => &[To::Preparing, To::Declined],
            DispensingStage::Preparing => &[To::OnHold, To::Checked],
            DispensingStage::OnHold(_) => &[To::Preparing, To::Declined],
            DispensingStage::Checked => &[To::Ready],
            DispensingStage::Ready if has_delivery => &[],
            DispensingStage::Ready => &[To::Completed, To::ReturnedToStock],
            DispensingStage::Released
            | DispensingStage::Completed
            | DispensingStage::ReturnedToStock
            | DispensingStage::Declined
            | DispensingStage::Cancelled => &[],
        }
    }

    /// Returns the moves that this role may make now. The caller checks that a pharmacist belongs to the pharmacy.
    pub fn allowed(&self, role: Role, has_delivery: bool) -> Vec<DispensingMove> {
        match role {
            Role::Pharmacist => {
                let moves = self.next(has_delivery).iter().copied().map(DispensingMove::To);
                moves.chain([DispensingMove::Chat]).collect()
            }
            Role::Patient | Role::Doctor => vec![DispensingMove::Chat],
            Role::Courier | Role::Admin | Role::Support | Role::Guest | Role::System => vec![],
        }
    }

    /// Returns the event that moves it to `to`.
    pub fn move_to(&self, to: DispensingState, details: DispensingMoveDetails) -> Event {
        Event::DispensingMoved(DispensingMoved {
            dispensing: self.id,
            prescription: self.prescription,
            pharmacy: self.pharmacy.id,
            from: self.state(),
            to,
            hold: details.hold,
            reason: details.reason,
            proof: details.proof,
        })
    }

    /// Applies a move.
    pub fn apply_move(&mut self, moved: &DispensingMoved, seq: u64) {
        self.version = seq;
        self.stage = match moved.to {
            DispensingState::Received => DispensingStage::Received,
            DispensingState::Accepted => DispensingStage::Accepted,
            DispensingState::Preparing => DispensingStage::Preparing,
            DispensingState::OnHold => DispensingStage::OnHold(moved.hold.unwrap_or(HoldReason::Clarification)),
            DispensingState::Checked => DispensingStage::Checked,
            DispensingState::Ready => DispensingStage::Ready,
            DispensingState::Released => DispensingStage::Released,
            DispensingState::Completed => DispensingStage::Completed,
            DispensingState::ReturnedToStock => DispensingStage::ReturnedToStock,
            DispensingState::Declined => DispensingStage::Declined,
            DispensingState::Cancelled => DispensingStage::Cancelled,
        };
    }
}

/// The data that a move carries beside its target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DispensingMoveDetails {
    pub hold: Option<HoldReason>,
    pub reason: Option<Text<4000>>,
    pub proof: Option<Proof>,
}

impl DispensingMoveDetails {
    /// Checks that the command carries exactly the data that its target needs.
    pub fn check(command: &MoveDispensing) -> Result<Self, Refusal> {
        let to = command.to;
        Refusal::require(command.hold.is_some(), to == DispensingState::OnHold, "hold")?;
        Refusal::require(command.proof.is_some(), to == DispensingState::Completed, "proof")?;
        // Optional with a hold.
        if to != DispensingState::OnHold {
            let needed = matches!(to, DispensingState::Declined | DispensingState::ReturnedToStock);
            Refusal::require(command.reason.is_some(), needed, "reason")?;
        }
        Ok(Self {
            hold: command.hold,
            reason: command.reason.clone().map(Into::into),
            proof: command.proof.clone().map(Into::into),
        })
    }
}
