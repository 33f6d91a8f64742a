//! The delivery: one parcel from the pharmacy to the patient.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::role::Role;
use crate::text::Line;

/// Where a parcel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    Requested,
    Assigned,
    PickedUp,
    InTransit,
    OutForDelivery,
    AttemptFailed,
    Rescheduled,
    Delivered,
    Returning,
    Returned,
    Restocked,
    Disposed,
    Cancelled,
    Lost,
    Damaged,
}

impl DeliveryState {
    /// Every state, in the order of the field's diagram.
    pub const ALL: [DeliveryState; 15] = [
        DeliveryState::Requested,
        DeliveryState::Assigned,
        DeliveryState::PickedUp,
        DeliveryState::InTransit,
        DeliveryState::OutForDelivery,
        DeliveryState::AttemptFailed,
        DeliveryState::Rescheduled,
        DeliveryState::Delivered,
        DeliveryState::Returning,
        DeliveryState::Returned,
        DeliveryState::Restocked,
        DeliveryState::Disposed,
        DeliveryState::Cancelled,
        DeliveryState::Lost,
        DeliveryState::Damaged,
    ];

    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Requested => "requested",
            DeliveryState::Assigned => "assigned",
            DeliveryState::PickedUp => "picked_up",
            DeliveryState::InTransit => "in_transit",
            DeliveryState::OutForDelivery => "out_for_delivery",
            DeliveryState::AttemptFailed => "attempt_failed",
            DeliveryState::Rescheduled => "rescheduled",
            DeliveryState::Delivered => "delivered",
            DeliveryState::Returning => "returning",
            DeliveryState::Returned => "returned",
            DeliveryState::Restocked => "restocked",
            DeliveryState::Disposed => "disposed",
            DeliveryState::Cancelled => "cancelled",
            DeliveryState::Lost => "lost",
            DeliveryState::Damaged => "damaged",
        }
    }
}

/// How a hand-over was proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    pub kind: ProofKind,
    /// The code, the signature's or the photo's reference; never a picture itself.
    pub reference: Line,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProofKind {
    Code,
    Signature,
    IdCard,
    Photo,
}

/// Whether somebody in this role may ever move a parcel to this state.
pub fn may_ever(role: Role, to: DeliveryState) -> bool {
    use DeliveryState::*;
    match to {
        // Reached by other commands: a dispensing that is ready, and `delivery.assign`.
        Requested | Assigned => false,
        PickedUp | InTransit | OutForDelivery | AttemptFailed | Delivered | Returning => role == Role::Courier,
        Rescheduled => matches!(role, Role::Courier | Role::Patient | Role::Pharmacist),
        Returned => matches!(role, Role::Courier | Role::Pharmacist),
        Restocked | Disposed => role == Role::Pharmacist,
        Cancelled => matches!(role, Role::Patient | Role::Pharmacist),
        Lost | Damaged => role == Role::Admin,
    }
}
