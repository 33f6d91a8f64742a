//! The prescription: from the draft to the hand-over of its medicine.

use crate::event::{Drafted, Event, PrescriptionMoved};
use crate::id::{DispensingId, PharmacyId, PrescriptionId};
use crate::party::Item;
use crate::reason::ReviewVerdict;
use crate::role::Role;
use crate::state::{DispensingState, PrescriptionState};
use crate::text::Text;
use crate::time::Timestamp;

/// A prescription, folded from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prescription {
    pub id: PrescriptionId,
    /// `seq` of the last event that changed it.
    pub version: u64,
    pub items: Vec<Item>,
    /// The prescription that this one replaces.
    pub replaces: Option<PrescriptionId>,
    pub stage: PrescriptionStage,
}

/// The stages of a prescription, each with the data that exists in it. `at` is the dispensing of the pharmacy that holds
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrescriptionStage {
    Draft,
    /// Signed under a policy that requires a review, and at no pharmacy yet.
    Signed {
        valid_until: Timestamp,
    },
    InReview {
        valid_until: Timestamp,
        at: DispensingId,
    },
    Queried {
        valid_until: Timestamp,
        at: DispensingId,
    },
    /// Effective. `at` is present if a pharmacy received it and has not claimed it.
    Released {
        valid_until: Timestamp,
        at: Option<DispensingId>,
    },
    /// Claimed by the pharmacy.
    WithPharmacy {
        valid_until: Timestamp,
        at: DispensingId,
    },
    /// `valid_until` is absent if it was never signed, `at` if no pharmacy held it.
    Closed {
        end: PrescriptionEnd,
        valid_until: Option<Timestamp>,
        at: Option<DispensingId>,
    },
}

/// How a prescription closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrescriptionEnd {
    Rejected,
    Completed,
    Cancelled,
    Expired,
    Superseded,
}

/// The moves of a prescription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrescriptionMove {
    Amend,
    Sign,
    Cancel,
    Send,
    Review,
    Answer,
}

impl PrescriptionMove {
    pub const ALL: [PrescriptionMove; 6] = [
        PrescriptionMove::Amend,
        PrescriptionMove::Sign,
        PrescriptionMove::Cancel,
        PrescriptionMove::Send,
        PrescriptionMove::Review,
        PrescriptionMove::Answer,
    ];

    /// The kind of the command that makes the move.
    pub fn as_str(self) -> &'static str {
        match self {
            PrescriptionMove::Amend => "prescription.amend",
            PrescriptionMove::Sign => "prescription.sign",
            PrescriptionMove::Cancel => "prescription.cancel",
            PrescriptionMove::Send => "prescription.send",
            PrescriptionMove::Review => "prescription.review",
            PrescriptionMove::Answer => "prescription.answer",
        }
    }
}

/// The state of the case that a prescription's moves depend on, besides its own.
#[derive(Clone, Copy, Debug)]
pub struct PrescriptionContext {
    /// The consultation is entered in error, so nothing new may follow from it.
    pub in_error: bool,
    /// The state of the active dispensing, if any.
    pub dispensing: Option<DispensingState>,
}

impl Prescription {
    /// Creates a draft.
    pub fn draft(drafted: &Drafted, seq: u64) -> Self {
        Self {
            id: drafted.prescription,
            version: seq,
            items: drafted.items.clone(),
            replaces: drafted.replaces,
            stage: PrescriptionStage::Draft,
        }
    }

    pub fn state(&self) -> PrescriptionState {
        match self.stage {
            PrescriptionStage::Draft => PrescriptionState::Draft,
            PrescriptionStage::Signed { .. } => PrescriptionState::Signed,
            PrescriptionStage::InReview { .. } => PrescriptionState::InReview,
            PrescriptionStage::Queried { .. } => PrescriptionState::Queried,
            PrescriptionStage::Released { .. } => PrescriptionState::Released,
            PrescriptionStage::WithPharmacy { .. } => PrescriptionState::WithPharmacy,
            PrescriptionStage::Closed { end: PrescriptionEnd::Rejected, .. } => PrescriptionState::Rejected,
            PrescriptionStage::Closed { end: PrescriptionEnd::Completed, .. } => PrescriptionState::Completed,
            PrescriptionStage::Closed { end: PrescriptionEnd::Cancelled, .. } => PrescriptionState::Cancelled,
            PrescriptionStage::Closed { end: PrescriptionEnd::Expired, .. } => PrescriptionState::Expired,
            PrescriptionStage::Closed { end: PrescriptionEnd::Superseded, .. } => PrescriptionState::Superseded,
        }
    }

    /// Returns the dispensing of the pharmacy that holds it, or held it when it closed.
    pub fn dispensing(&self) -> Option<DispensingId> {
        match self.stage {
            PrescriptionStage::Draft | PrescriptionStage::Signed { .. } => None,
            PrescriptionStage::InReview { at, .. }
            | PrescriptionStage::Queried { at, .. }
            | PrescriptionStage::WithPharmacy { at, .. } => Some(at),
            PrescriptionStage::Released { at, .. } | PrescriptionStage::Closed { at, .. } => at,
        }
    }

    /// Returns until when a pharmacy may claim it; absent before it is signed.
    pub fn valid_until(&self) -> Option<Timestamp> {
        match self.stage {
            PrescriptionStage::Draft => None,
            PrescriptionStage::Signed { valid_until }
            | PrescriptionStage::InReview { valid_until, .. }
            | PrescriptionStage::Queried { valid_until, .. }
            | PrescriptionStage::Released { valid_until, .. }
            | PrescriptionStage::WithPharmacy { valid_until, .. } => Some(valid_until),
            PrescriptionStage::Closed { valid_until, .. } => valid_until,
        }
    }

    /// Returns when it expires. Does not apply once a pharmacy has claimed it.
    pub fn deadline(&self) -> Option<Timestamp> {
        match self.stage {
            PrescriptionStage::Draft | PrescriptionStage::WithPharmacy { .. } | PrescriptionStage::Closed { .. } => {
                None
            }
            PrescriptionStage::Signed { .. }
            | PrescriptionStage::InReview { .. }
            | PrescriptionStage::Queried { .. }
            | PrescriptionStage::Released { .. } => self.valid_until(),
        }
    }

    /// Whether this role may make this move now.
    fn permits(&self, role: Role, step: PrescriptionMove, context: PrescriptionContext) -> bool {
        match step {
            PrescriptionMove::Amend => {
                role == Role::Doctor
                    && !context.in_error
                    && match self.stage {
                        // No pharmacy has claimed a released one.
                        PrescriptionStage::Draft
                        | PrescriptionStage::Signed { .. }
                        | PrescriptionStage::Queried { .. }
                        | PrescriptionStage::Released { .. } => true,
                        PrescriptionStage::InReview { .. }
                        | PrescriptionStage::WithPharmacy { .. }
                        | PrescriptionStage::Closed { .. } => false,
                    }
            }
            PrescriptionMove::Sign => {
                role == Role::Doctor && !context.in_error && matches!(self.stage, PrescriptionStage::Draft)
            }
            PrescriptionMove::Cancel => {
                role == Role::Doctor
                    && match self.stage {
                        PrescriptionStage::Closed { .. } => false,
                        // A parcel with the courier counts as handed over.
                        PrescriptionStage::WithPharmacy { .. } => context.dispensing != Some(DispensingState::Released),
                        _ => true,
                    }
            }
            PrescriptionMove::Send => {
                role == Role::Patient
                    && !context.in_error
                    && match self.stage {
                        PrescriptionStage::Signed { .. }
                        | PrescriptionStage::InReview { .. }
                        | PrescriptionStage::Released { .. } => true,
                        PrescriptionStage::Draft
                        | PrescriptionStage::Queried { .. }
                        | PrescriptionStage::WithPharmacy { .. }
                        | PrescriptionStage::Closed { .. } => false,
                    }
            }
            PrescriptionMove::Review => {
                role == Role::Pharmacist && matches!(self.stage, PrescriptionStage::InReview { .. })
            }
            PrescriptionMove::Answer => role == Role::Doctor && matches!(self.stage, PrescriptionStage::Queried { .. }),
        }
    }

    /// Returns the moves that this role may make now.
    pub fn allowed(&self, role: Role, context: PrescriptionContext) -> Vec<PrescriptionMove> {
        PrescriptionMove::ALL.into_iter().filter(|step| self.permits(role, *step, context)).collect()
    }

    /// Returns the event that moves it to `to`. `pharmacy` holds it and must learn of the move.
    pub fn move_to(&self, to: PrescriptionState, pharmacy: Option<PharmacyId>, reason: Option<Text<4000>>) -> Event {
        Event::PrescriptionMoved(PrescriptionMoved { prescription: self.id, from: self.state(), to, pharmacy, reason })
    }

    /// Applies the doctor's signature.
    pub fn apply_signature(&mut self, valid_until: Timestamp, review: bool) {
        self.stage = if review {
            PrescriptionStage::Signed { valid_until }
        } else {
            PrescriptionStage::Released { valid_until, at: None }
        };
    }

    /// Applies the patient's choice of a pharmacy.
    pub fn apply_sending(&mut self, at: DispensingId, valid_until: Timestamp, review: bool) {
        self.stage = if review {
            PrescriptionStage::InReview { valid_until, at }
        } else {
            PrescriptionStage::Released { valid_until, at: Some(at) }
        };
    }

    /// Applies a pharmacist's verdict.
    pub fn apply_verdict(&mut self, verdict: ReviewVerdict) {
        let (PrescriptionStage::InReview { valid_until, at } | PrescriptionStage::Queried { valid_until, at }) =
            self.stage
        else {
            return;
        };
        self.stage = match verdict {
            ReviewVerdict::Approve => PrescriptionStage::Released { valid_until, at: Some(at) },
            ReviewVerdict::Query => PrescriptionStage::Queried { valid_until, at },
            ReviewVerdict::Reject => PrescriptionStage::Closed {
                end: PrescriptionEnd::Rejected,
                valid_until: Some(valid_until),
                at: Some(at),
            },
        };
    }

    /// Applies the doctor's answer to a query.
    pub fn apply_answer(&mut self) {
        if let PrescriptionStage::Queried { valid_until, at } = self.stage {
            self.stage = PrescriptionStage::InReview { valid_until, at };
        }
    }

    /// Applies a move. A move that does not fit the current state changes nothing.
    pub fn apply_move(&mut self, to: PrescriptionState) {
        let (at, valid_until) = (self.dispensing(), self.valid_until());
        let closed = |end| Some(PrescriptionStage::Closed { end, valid_until, at });
        let next = match to {
            // Returned to the patient: no pharmacy holds it.
            PrescriptionState::Signed => valid_until.map(|valid_until| PrescriptionStage::Signed { valid_until }),
            PrescriptionState::Released => {
                valid_until.map(|valid_until| PrescriptionStage::Released { valid_until, at: None })
            }
            PrescriptionState::WithPharmacy => {
                at.zip(valid_until).map(|(at, valid_until)| PrescriptionStage::WithPharmacy { valid_until, at })
            }
            PrescriptionState::Rejected => closed(PrescriptionEnd::Rejected),
            PrescriptionState::Completed => closed(PrescriptionEnd::Completed),
            PrescriptionState::Cancelled => closed(PrescriptionEnd::Cancelled),
            PrescriptionState::Expired => closed(PrescriptionEnd::Expired),
            PrescriptionState::Superseded => closed(PrescriptionEnd::Superseded),
            // Other events lead here.
            PrescriptionState::Draft | PrescriptionState::InReview | PrescriptionState::Queried => None,
        };
        if let Some(next) = next {
            self.stage = next;
        }
    }
}
