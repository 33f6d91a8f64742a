//! The payment, as a state only: the provider moves it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    Pending,
    Authorized,
    Captured,
    Refunded,
    Failed,
}

impl PaymentState {
    /// Every state, in the order of the field's diagram.
    pub const ALL: [PaymentState; 5] = [
        PaymentState::Pending,
        PaymentState::Authorized,
        PaymentState::Captured,
        PaymentState::Refunded,
        PaymentState::Failed,
    ];

    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            PaymentState::Pending => "pending",
            PaymentState::Authorized => "authorized",
            PaymentState::Captured => "captured",
            PaymentState::Refunded => "refunded",
            PaymentState::Failed => "failed",
        }
    }
}
