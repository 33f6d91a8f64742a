//! What events say about a medicine on its way: prescribed, dispensed, delivered.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Person, Pharmacy};
use crate::case::delivery::{DeliveryState, Proof};
use crate::case::dispensing::{DispensingState, HoldReason};
use crate::case::prescription::PrescriptionState;
use crate::command::Verdict;
use crate::id::{DeliveryId, DispensingId, PharmacyId, PrescriptionId, UserId};
use crate::text::{Line, Prose, Text};
use crate::time::Timestamp;

/// One medicine of a prescription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Name and strength, e.g. `Amoxicillin 500 mg`.
    pub medicine: Line,
    /// How to take it.
    pub dosage: Text<400>,
    /// Number of units to hand out, 1 to 9999.
    #[schemars(range(min = 1, max = 9999))]
    pub quantity: u16,
    /// For how many days, 1 to the policy's `max_days`.
    #[schemars(range(min = 1, max = 366))]
    pub days: u16,
}

/// How the patient gets the medicine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HandOver {
    Pickup,
    /// To this address.
    Delivery(Text<400>),
}

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
    /// Whether it waits for a review first.
    pub review: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reviewed {
    pub prescription: PrescriptionId,
    pub pharmacy: PharmacyId,
    pub verdict: Verdict,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Prose>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answered {
    pub prescription: PrescriptionId,
    pub pharmacy: PharmacyId,
    pub text: Prose,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrescriptionMoved {
    pub prescription: PrescriptionId,
    pub from: PrescriptionState,
    pub to: PrescriptionState,
    /// The pharmacy that had it, and so must hear of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pharmacy: Option<PharmacyId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Prose>,
}

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
    pub reason: Option<Prose>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryRequested {
    pub delivery: DeliveryId,
    pub dispensing: DispensingId,
    pub pharmacy: Pharmacy,
    pub recipient: Person,
    pub address: Text<400>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryAssigned {
    pub delivery: DeliveryId,
    pub dispensing: DispensingId,
    pub courier: Person,
    /// The courier who had it before and does not have it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<UserId>,
    pub pharmacy: Pharmacy,
    pub recipient: Person,
    pub address: Text<400>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryMoved {
    pub delivery: DeliveryId,
    pub pharmacy: PharmacyId,
    /// The courier who has it, and so must hear of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub courier: Option<UserId>,
    pub from: DeliveryState,
    pub to: DeliveryState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Prose>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Timestamp>,
    /// When it happened; absent when that was the record's own time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Timestamp>,
}
