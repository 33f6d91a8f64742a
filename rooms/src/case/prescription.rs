//! The prescription: from the draft to the last dispensed item.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a prescription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PrescriptionState {
    Draft,
    Signed,
    InReview,
    Queried,
    Rejected,
    Released,
    WithPharmacy,
    Completed,
    Cancelled,
    Expired,
    Superseded,
}

impl PrescriptionState {
    /// Every state, in the order of the field's diagram.
    pub const ALL: [PrescriptionState; 11] = [
        PrescriptionState::Draft,
        PrescriptionState::Signed,
        PrescriptionState::InReview,
        PrescriptionState::Queried,
        PrescriptionState::Rejected,
        PrescriptionState::Released,
        PrescriptionState::WithPharmacy,
        PrescriptionState::Completed,
        PrescriptionState::Cancelled,
        PrescriptionState::Expired,
        PrescriptionState::Superseded,
    ];

    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            PrescriptionState::Draft => "draft",
            PrescriptionState::Signed => "signed",
            PrescriptionState::InReview => "in_review",
            PrescriptionState::Queried => "queried",
            PrescriptionState::Rejected => "rejected",
            PrescriptionState::Released => "released",
            PrescriptionState::WithPharmacy => "with_pharmacy",
            PrescriptionState::Completed => "completed",
            PrescriptionState::Cancelled => "cancelled",
            PrescriptionState::Expired => "expired",
            PrescriptionState::Superseded => "superseded",
        }
    }
}
