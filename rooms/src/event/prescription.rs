//! Events of a prescription.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{DispensingId, PharmacyId, PrescriptionId};
use crate::party::{HandOver, Item, Person, Pharmacy};
use crate::reason::ReviewVerdict;
use crate::state::PrescriptionState;
use crate::text::Text;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drafted {
    pub prescription: PrescriptionId,
    pub items: Vec<Item>,
    /// The prescription that this one replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<PrescriptionId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Amended {
    pub prescription: PrescriptionId,
    pub items: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Signed {
    pub prescription: PrescriptionId,
    pub valid_until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sent {
    pub prescription: PrescriptionId,
    pub dispensing: DispensingId,
    pub pharmacy: Pharmacy,
    pub hand_over: HandOver,
    pub patient: Person,
    pub prescriber: Person,
    pub items: Vec<Item>,
    pub valid_until: Timestamp,
    /// Whether a pharmacist must review it first.
    pub review: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reviewed {
    pub prescription: PrescriptionId,
    pub pharmacy: PharmacyId,
    pub verdict: ReviewVerdict,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Text<4000>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answered {
    pub prescription: PrescriptionId,
    pub pharmacy: PharmacyId,
    pub text: Text<4000>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrescriptionMoved {
    pub prescription: PrescriptionId,
    pub from: PrescriptionState,
    pub to: PrescriptionState,
    /// The pharmacy that held it, and so must learn of the move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pharmacy: Option<PharmacyId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text<4000>>,
}
