//! Commands to a prescription.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{PharmacyId, PrescriptionId};
use crate::party::{HandOver, Item};
use crate::reason::ReviewVerdict;
use crate::text::Prose;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// 1 to 20 items.
    #[schemars(length(min = 1, max = 20))]
    pub items: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Amend {
    pub prescription: PrescriptionId,
    /// 1 to 20 items; they replace the previous ones.
    #[schemars(length(min = 1, max = 20))]
    pub items: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OfPrescription")]
pub struct PrescriptionRef {
    pub prescription: PrescriptionId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelPrescription {
    pub prescription: PrescriptionId,
    pub reason: Prose,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SendPrescription {
    pub prescription: PrescriptionId,
    pub pharmacy: PharmacyId,
    pub hand_over: HandOver,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Review {
    pub prescription: PrescriptionId,
    pub verdict: ReviewVerdict,
    /// The question or the reason; required for every verdict but `approve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Prose>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    pub prescription: PrescriptionId,
    pub text: Prose,
}
