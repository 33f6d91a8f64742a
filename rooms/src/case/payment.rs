//! The payment, as a state only: the provider moves it. What the provider should do next follows from the case.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::case::consultation::ConsultationState;
use crate::event::Party;
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
    /// The states that may follow: only forward; the provider's words may be late, so steps may be skipped.
    pub fn next(self) -> &'static [PaymentState] {
        match self {
            PaymentState::Pending => {
                &[PaymentState::Authorized, PaymentState::Captured, PaymentState::Refunded, PaymentState::Failed]
            }
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

/// What the provider is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PaymentWish {
    /// Reserve the price, with the patient's consent.
    Authorize,
    /// Take what is reserved.
    Capture,
    /// Let go of what is asked for or reserved: nothing was taken yet.
    Release,
    /// Pay back what was taken.
    Refund,
}

impl PaymentWish {
    /// The name in the database and in figures.
    pub fn as_str(self) -> &'static str {
        match self {
            PaymentWish::Authorize => "authorize",
            PaymentWish::Capture => "capture",
            PaymentWish::Release => "release",
            PaymentWish::Refund => "refund",
        }
    }

    /// The wish of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Authorize, Self::Capture, Self::Release, Self::Refund].into_iter().find(|wish| wish.as_str() == name)
    }
}

/// What is due for a payment in this state. `missing`: who did not come, if the consultation is a no-show.
///
/// The price is taken when the consultation is completed, or when the patient did not come to it. It is given back when
/// there was no consultation to pay for: cancelled, expired, without its doctor, sent elsewhere, entered in error.
pub fn due(payment: PaymentState, consultation: ConsultationState, missing: Option<Party>) -> Option<PaymentWish> {
    use ConsultationState::*;
    let owed = match consultation {
        Requested => return (payment == PaymentState::Pending).then_some(PaymentWish::Authorize),
        Booked | Waiting | Called | InProgress | Interrupted | WrapUp => return None,
        Completed => true,
        NoShow => missing == Some(Party::Patient),
        Cancelled | Expired | Referred | EnteredInError => false,
    };
    match (payment, owed) {
        (PaymentState::Authorized, true) => Some(PaymentWish::Capture),
        (PaymentState::Pending | PaymentState::Authorized, false) => Some(PaymentWish::Release),
        (PaymentState::Captured, false) => Some(PaymentWish::Refund),
        (PaymentState::Pending | PaymentState::Captured, true) | (PaymentState::Refunded | PaymentState::Failed, _) => {
            None
        }
    }
}
