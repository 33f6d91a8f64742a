//! Commands to a prescription.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{PharmacyId, PrescriptionId};
use crate::party::{HandOver, Item};
use crate::reason::ReviewVerdict;
use crate::text::{Line, Paragraph, Prose};

/// One medicine, as a doctor enters it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewItem {
    /// Name and strength, e.g. `Amoxicillin 500 mg`.
    pub medicine: Line,
    /// How to take it.
    pub dosage: Paragraph,
    /// Number of units to dispense, 1 to 9999.
    #[schemars(range(min = 1, max = 9999))]
    pub quantity: u16,
    /// Number of days that the supply lasts, 1 to the policy's `max_days`.
    #[schemars(range(min = 1, max = 366))]
    pub days: u16,
}

impl From<NewItem> for Item {
    fn from(NewItem { medicine, dosage, quantity, days }: NewItem) -> Self {
        Self { medicine: medicine.into(), dosage: dosage.into(), quantity, days }
    }
}

/// How the patient wants to receive the medicine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NewHandOver {
    Pickup,
    /// Delivery to this address.
    Delivery(Paragraph),
}

impl From<NewHandOver> for HandOver {
    fn from(hand_over: NewHandOver) -> Self {
        match hand_over {
            NewHandOver::Pickup => HandOver::Pickup,
            NewHandOver::Delivery(address) => HandOver::Delivery(address.into()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// 1 to 20 items.
    #[schemars(length(min = 1, max = 20))]
    pub items: Vec<NewItem>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Amend {
    pub prescription: PrescriptionId,
    /// 1 to 20 items; they replace the previous ones.
    #[schemars(length(min = 1, max = 20))]
    pub items: Vec<NewItem>,
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
    pub hand_over: NewHandOver,
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
