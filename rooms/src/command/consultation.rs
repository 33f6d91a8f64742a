//! Commands to the consultation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{SlotId, UserId};
use crate::party::Party;
use crate::text::{Line, Prose};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The slot to hold. Either this or `doctor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<SlotId>,
    /// The doctor to walk in to, without a slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doctor: Option<UserId>,
    /// The reason for the visit, in the patient's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Prose>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reschedule {
    pub slot: SlotId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    pub reason: Prose,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckIn {
    /// The version of the consent text that the patient agreed to; must be the policy's current one.
    pub consent: Line,
    /// How the patient's identity was confirmed, e.g. `account` or `id_card`.
    pub identity: Line,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Note {
    pub note: Prose,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PresenceChange {
    pub party: Party,
    pub here: bool,
}
