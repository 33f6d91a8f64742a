//! The prescription: from the draft to the last dispensed item.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::case::dispensing::DispensingState;
use crate::command::Verdict;
use crate::event::{Event, Item, PrescriptionMoved};
use crate::id::{DispensingId, PharmacyId, PrescriptionId};
use crate::role::Role;
use crate::text::Prose;
use crate::time::Timestamp;

/// Where a prescription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PrescriptionState {
    Draft,
    Signed,
    InReview,
    Queried,
    Rejected,
    Released,
    WithPharmacy,
    Completed,
    Cancelled,
    Expired,
    Superseded,
}

impl PrescriptionState {
    /// Every state, in the order of the field's diagram.
    pub const ALL: [PrescriptionState; 11] = [
        PrescriptionState::Draft,
        PrescriptionState::Signed,
        PrescriptionState::InReview,
        PrescriptionState::Queried,
        PrescriptionState::Rejected,
        PrescriptionState::Released,
        PrescriptionState::WithPharmacy,
        PrescriptionState::Completed,
        PrescriptionState::Cancelled,
        PrescriptionState::Expired,
        PrescriptionState::Superseded,
    ];

    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            PrescriptionState::Draft => "draft",
            PrescriptionState::Signed => "signed",
            PrescriptionState::InReview => "in_review",
            PrescriptionState::Queried => "queried",
            PrescriptionState::Rejected => "rejected",
            PrescriptionState::Released => "released",
            PrescriptionState::WithPharmacy => "with_pharmacy",
            PrescriptionState::Completed => "completed",
            PrescriptionState::Cancelled => "cancelled",
            PrescriptionState::Expired => "expired",
            PrescriptionState::Superseded => "superseded",
        }
    }
}

/// A prescription as far as its log tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prescription {
    pub id: PrescriptionId,
    /// `seq` of the last event that changed it.
    pub version: u64,
    pub items: Vec<Item>,
    /// The prescription that this one replaces.
    pub replaces: Option<PrescriptionId>,
    pub stage: Stage,
}

/// Each state with the data that exists in it. `at` is the dispensing of the pharmacy that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Draft,
    /// Signed under a policy of review, and with no pharmacy yet.
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
    /// Effective. `at` is present when a pharmacy got it and has not claimed it.
    Released {
        valid_until: Timestamp,
        at: Option<DispensingId>,
    },
    /// Claimed.
    WithPharmacy {
        valid_until: Timestamp,
        at: DispensingId,
    },
    /// `valid_until` is absent when it was never signed, `at` when no pharmacy had it.
    Closed {
        end: End,
        valid_until: Option<Timestamp>,
        at: Option<DispensingId>,
    },
}

/// How a prescription closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Rejected,
    Completed,
    Cancelled,
    Expired,
    Superseded,
}

/// What can be asked of a prescription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Amend,
    Sign,
    Cancel,
    Send,
    Review,
    Answer,
}

impl Step {
    pub const ALL: [Step; 6] = [Step::Amend, Step::Sign, Step::Cancel, Step::Send, Step::Review, Step::Answer];

    /// The command's kind.
    pub fn key(self) -> &'static str {
        match self {
            Step::Amend => "prescription.amend",
            Step::Sign => "prescription.sign",
            Step::Cancel => "prescription.cancel",
            Step::Send => "prescription.send",
            Step::Review => "prescription.review",
            Step::Answer => "prescription.answer",
        }
    }
}

/// What a prescription's steps depend on besides itself.
#[derive(Clone, Copy, Debug)]
pub struct Around {
    /// The consultation counts as never held: nothing new may follow from it.
    pub in_error: bool,
    /// Where the pharmacy that has it stands.
    pub dispensing: Option<DispensingState>,
}

impl Prescription {
    pub fn state(&self) -> PrescriptionState {
        match self.stage {
            Stage::Draft => PrescriptionState::Draft,
            Stage::Signed { .. } => PrescriptionState::Signed,
            Stage::InReview { .. } => PrescriptionState::InReview,
            Stage::Queried { .. } => PrescriptionState::Queried,
            Stage::Released { .. } => PrescriptionState::Released,
            Stage::WithPharmacy { .. } => PrescriptionState::WithPharmacy,
            Stage::Closed { end: End::Rejected, .. } => PrescriptionState::Rejected,
            Stage::Closed { end: End::Completed, .. } => PrescriptionState::Completed,
            Stage::Closed { end: End::Cancelled, .. } => PrescriptionState::Cancelled,
            Stage::Closed { end: End::Expired, .. } => PrescriptionState::Expired,
            Stage::Closed { end: End::Superseded, .. } => PrescriptionState::Superseded,
        }
    }

    /// The dispensing of the pharmacy that has it, or had it when it closed.
    pub fn at(&self) -> Option<DispensingId> {
        match self.stage {
            Stage::Draft | Stage::Signed { .. } => None,
            Stage::InReview { at, .. } | Stage::Queried { at, .. } | Stage::WithPharmacy { at, .. } => Some(at),
            Stage::Released { at, .. } | Stage::Closed { at, .. } => at,
        }
    }

    /// Until when it may be claimed; absent before it is signed.
    pub fn valid_until(&self) -> Option<Timestamp> {
        match self.stage {
            Stage::Draft => None,
            Stage::Signed { valid_until }
            | Stage::InReview { valid_until, .. }
            | Stage::Queried { valid_until, .. }
            | Stage::Released { valid_until, .. }
            | Stage::WithPharmacy { valid_until, .. } => Some(valid_until),
            Stage::Closed { valid_until, .. } => valid_until,
        }
    }

    /// When it expires by the clock: it runs until a pharmacy has claimed it.
    pub fn deadline(&self) -> Option<Timestamp> {
        match self.stage {
            Stage::Draft | Stage::WithPharmacy { .. } | Stage::Closed { .. } => None,
            Stage::Signed { .. } | Stage::InReview { .. } | Stage::Queried { .. } | Stage::Released { .. } => {
                self.valid_until()
            }
        }
    }

    /// Whether somebody in this role may take this step now.
    pub fn possible(&self, role: Role, step: Step, around: Around) -> bool {
        match step {
            Step::Amend => {
                role == Role::Doctor
                    && !around.in_error
                    && match self.stage {
                        // Released is not claimed yet.
                        Stage::Draft | Stage::Signed { .. } | Stage::Queried { .. } | Stage::Released { .. } => true,
                        Stage::InReview { .. } | Stage::WithPharmacy { .. } | Stage::Closed { .. } => false,
                    }
            }
            Step::Sign => role == Role::Doctor && !around.in_error && matches!(self.stage, Stage::Draft),
            Step::Cancel => {
                role == Role::Doctor
                    && match self.stage {
                        Stage::Closed { .. } => false,
                        // With the courier it counts as handed over.
                        Stage::WithPharmacy { .. } => around.dispensing != Some(DispensingState::Released),
                        _ => true,
                    }
            }
            Step::Send => {
                role == Role::Patient
                    && !around.in_error
                    && match self.stage {
                        Stage::Signed { .. } | Stage::InReview { .. } | Stage::Released { .. } => true,
                        Stage::Draft | Stage::Queried { .. } | Stage::WithPharmacy { .. } | Stage::Closed { .. } => {
                            false
                        }
                    }
            }
            Step::Review => role == Role::Pharmacist && matches!(self.stage, Stage::InReview { .. }),
            Step::Answer => role == Role::Doctor && matches!(self.stage, Stage::Queried { .. }),
        }
    }

    /// What somebody in this role may do now.
    pub fn allowed(&self, role: Role, around: Around) -> Vec<String> {
        Step::ALL
            .into_iter()
            .filter(|step| self.possible(role, *step, around))
            .map(|step| step.key().to_owned())
            .collect()
    }

    /// The event that moves it to `to`; `pharmacy` has it and must hear of it.
    pub fn to(&self, to: PrescriptionState, pharmacy: Option<PharmacyId>, reason: Option<Prose>) -> Event {
        Event::PrescriptionMoved(PrescriptionMoved { prescription: self.id, from: self.state(), to, pharmacy, reason })
    }

    /// Takes the doctor's signature.
    pub fn signed(&mut self, valid_until: Timestamp, review: bool) {
        self.stage = if review { Stage::Signed { valid_until } } else { Stage::Released { valid_until, at: None } };
    }

    /// Takes the patient's choice of a pharmacy.
    pub fn sent(&mut self, at: DispensingId, valid_until: Timestamp, review: bool) {
        self.stage =
            if review { Stage::InReview { valid_until, at } } else { Stage::Released { valid_until, at: Some(at) } };
    }

    /// Takes a reviewer's verdict.
    pub fn reviewed(&mut self, verdict: Verdict) {
        let (Stage::InReview { valid_until, at } | Stage::Queried { valid_until, at }) = self.stage else { return };
        self.stage = match verdict {
            Verdict::Approve => Stage::Released { valid_until, at: Some(at) },
            Verdict::Query => Stage::Queried { valid_until, at },
            Verdict::Reject => Stage::Closed { end: End::Rejected, valid_until: Some(valid_until), at: Some(at) },
        };
    }

    /// Takes the doctor's answer to a query.
    pub fn answered(&mut self) {
        if let Stage::Queried { valid_until, at } = self.stage {
            self.stage = Stage::InReview { valid_until, at };
        }
    }

    /// Takes a move. One that does not fit the present state changes nothing.
    pub fn moved(&mut self, to: PrescriptionState) {
        let (at, valid_until) = (self.at(), self.valid_until());
        let closed = |end| Some(Stage::Closed { end, valid_until, at });
        let next = match to {
            // Back in the patient's hands: no pharmacy has it.
            PrescriptionState::Signed => valid_until.map(|valid_until| Stage::Signed { valid_until }),
            PrescriptionState::Released => valid_until.map(|valid_until| Stage::Released { valid_until, at: None }),
            PrescriptionState::WithPharmacy => {
                at.zip(valid_until).map(|(at, valid_until)| Stage::WithPharmacy { valid_until, at })
            }
            PrescriptionState::Rejected => closed(End::Rejected),
            PrescriptionState::Completed => closed(End::Completed),
            PrescriptionState::Cancelled => closed(End::Cancelled),
            PrescriptionState::Expired => closed(End::Expired),
            PrescriptionState::Superseded => closed(End::Superseded),
            // Reached by events of their own.
            PrescriptionState::Draft | PrescriptionState::InReview | PrescriptionState::Queried => None,
        };
        if let Some(next) = next {
            self.stage = next;
        }
    }
}
