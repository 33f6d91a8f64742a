//! What is asked of prescriptions, dispensings and deliveries.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::case::delivery::{DeliveryState, Proof};
use crate::case::dispensing::{DispensingState, HoldReason};
use crate::event::{HandOver, Item};
use crate::id::{DeliveryId, DispensingId, PharmacyId, PrescriptionId, UserId};
use crate::text::Prose;
use crate::time::Timestamp;

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
    /// 1 to 20 items; they replace the former ones.
    #[schemars(length(min = 1, max = 20))]
    pub items: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfPrescription {
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
    pub verdict: Verdict,
    /// The question or the reason; needed for every verdict but `approve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Prose>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Approve,
    Query,
    Reject,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    pub prescription: PrescriptionId,
    pub text: Prose,
}

/// A step of the pharmacy's work. `to` names the state to reach; which data belongs to which state is checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveDispensing {
    pub dispensing: DispensingId,
    pub to: DispensingState,
    /// Why it is on hold; only with `on_hold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldReason>,
    /// A reason in words: needed with `declined` and `returned_to_stock`, free with `on_hold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Prose>,
    /// How the patient proved who they are; needed with `completed` (hand-over at the counter).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssignDelivery {
    pub delivery: DeliveryId,
    pub courier: UserId,
}

/// A step of a parcel. `to` names the state to reach; which data belongs to which state is checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveDelivery {
    pub delivery: DeliveryId,
    pub to: DeliveryState,
    /// Needed with `attempt_failed`, `cancelled`, `lost` and `damaged`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Prose>,
    /// Needed with `delivered`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// The new window's begin; needed with `rescheduled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Timestamp>,
    /// When it happened, if that was earlier than now. Older than the present state: recorded, not applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Timestamp>,
}
