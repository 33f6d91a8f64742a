//! Commands to a delivery.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::proof::NewProof;
use crate::id::{DeliveryId, UserId};
use crate::state::DeliveryState;
use crate::text::Prose;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssignDelivery {
    pub delivery: DeliveryId,
    pub courier: UserId,
}

/// A move of a parcel. `to` names the target state; the fields must be those that this state requires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveDelivery {
    pub delivery: DeliveryId,
    pub to: DeliveryState,
    /// Required with `attempt_failed`, `cancelled`, `lost` and `damaged`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Prose>,
    /// Required with `delivered`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<NewProof>,
    /// The start of the new window; required with `rescheduled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Timestamp>,
    /// When it happened, if before now. A time before the current state began is recorded but not applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Timestamp>,
}
