//! Events of the consultation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::SlotId;
use crate::party::{Party, Person, Policy, Slot};
use crate::state::ConsultationState;
use crate::text::{Line, Prose};
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requested {
    pub patient: Person,
    pub doctor: Person,
    /// Absent for a walk-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// When the hold on the slot ends; absent for a walk-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Prose>,
    pub policy: Policy,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Moved")]
pub struct ConsultationMoved {
    pub from: ConsultationState,
    pub to: ConsultationState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Prose>,
    /// The missing side: with `no_show`, with `interrupted` (absent if both are missing), and with `waiting` after a call
    /// that the patient did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<Party>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rescheduled {
    pub from: SlotId,
    pub slot: Slot,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckedIn {
    pub consent: Line,
    pub identity: Line,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Called {
    pub until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Noted {
    pub note: Prose,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explained {
    pub reason: Prose,
}
