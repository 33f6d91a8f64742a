//! Events of the consultation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::SlotId;
use crate::party::{Party, Person, Policy, Slot};
use crate::state::ConsultationState;
use crate::text::Text;
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
    pub reason: Option<Text<4000>>,
    pub policy: Policy,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Moved")]
pub struct ConsultationMoved {
    pub from: ConsultationState,
    pub to: ConsultationState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text<4000>>,
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
    pub consent: Text<200>,
    pub identity: Text<200>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Called {
    pub until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Noted {
    pub note: Text<4000>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explained {
    pub reason: Text<4000>,
}
