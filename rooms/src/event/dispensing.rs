//! Events of a dispensing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{DispensingId, PharmacyId, PrescriptionId};
use crate::party::Proof;
use crate::reason::HoldReason;
use crate::state::DispensingState;
use crate::text::Text;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DispensingMoved {
    pub dispensing: DispensingId,
    pub prescription: PrescriptionId,
    pub pharmacy: PharmacyId,
    pub from: DispensingState,
    pub to: DispensingState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldReason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text<4000>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}
