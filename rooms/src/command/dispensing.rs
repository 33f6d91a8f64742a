//! Commands to a dispensing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::proof::NewProof;
use crate::id::DispensingId;
use crate::reason::HoldReason;
use crate::state::DispensingState;
use crate::text::Prose;

/// A move of the pharmacy's work. `to` names the target state; the fields must be those that this state requires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveDispensing {
    pub dispensing: DispensingId,
    pub to: DispensingState,
    /// Why it is on hold; only with `on_hold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldReason>,
    /// A reason in words; required with `declined` and `returned_to_stock`, optional with `on_hold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Prose>,
    /// How the patient proved their identity at the counter; required with `completed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<NewProof>,
}
