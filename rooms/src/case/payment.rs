//! The payment, as a state only: the provider moves it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::Line;

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

/// A payment: what was last said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    pub state: PaymentState,
    /// In minor units of `currency`.
    pub amount: u64,
    pub currency: Line,
}

impl PaymentState {
    /// The states that may follow: only forward; the provider may skip the authorization.
    pub fn next(self) -> &'static [PaymentState] {
        match self {
            PaymentState::Pending => &[PaymentState::Authorized, PaymentState::Captured, PaymentState::Failed],
            PaymentState::Authorized => &[PaymentState::Captured, PaymentState::Refunded, PaymentState::Failed],
            PaymentState::Captured => &[PaymentState::Refunded],
            PaymentState::Refunded | PaymentState::Failed => &[],
        }
    }

    /// Whether the consultation may go on as paid for.
    pub fn covers(self) -> bool {
        match self {
            PaymentState::Authorized | PaymentState::Captured => true,
            PaymentState::Pending | PaymentState::Refunded | PaymentState::Failed => false,
        }
    }
}
