//! The dispensing: one pharmacy's work on one prescription.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the work stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DispensingState {
    Received,
    Accepted,
    Preparing,
    OnHold,
    Checked,
    Ready,
    Released,
    Completed,
    ReturnedToStock,
    Declined,
    Cancelled,
}

impl DispensingState {
    /// Every state, in the order of the field's diagram.
    pub const ALL: [DispensingState; 11] = [
        DispensingState::Received,
        DispensingState::Accepted,
        DispensingState::Preparing,
        DispensingState::OnHold,
        DispensingState::Checked,
        DispensingState::Ready,
        DispensingState::Released,
        DispensingState::Completed,
        DispensingState::ReturnedToStock,
        DispensingState::Declined,
        DispensingState::Cancelled,
    ];

    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            DispensingState::Received => "received",
            DispensingState::Accepted => "accepted",
            DispensingState::Preparing => "preparing",
            DispensingState::OnHold => "on_hold",
            DispensingState::Checked => "checked",
            DispensingState::Ready => "ready",
            DispensingState::Released => "released",
            DispensingState::Completed => "completed",
            DispensingState::ReturnedToStock => "returned_to_stock",
            DispensingState::Declined => "declined",
            DispensingState::Cancelled => "cancelled",
        }
    }
}

/// Why the work is on hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    OutOfStock,
    /// A question to the doctor, asked in the dispensing thread.
    Clarification,
    Payment,
}
