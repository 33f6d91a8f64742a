//! Events of a delivery.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{DeliveryId, DispensingId, PharmacyId, UserId};
use crate::party::{Person, Pharmacy, Proof};
use crate::state::DeliveryState;
use crate::text::Text;
use crate::time::Timestamp;

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
    /// The previous courier, who no longer has the parcel.
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
    /// The courier who has the parcel, and so must learn of the move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub courier: Option<UserId>,
    pub from: DeliveryState,
    pub to: DeliveryState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text<4000>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Timestamp>,
    /// When it happened; absent if that is the record's own time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Timestamp>,
}
