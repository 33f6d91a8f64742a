//! The payment: a state that the payment provider moves. The case determines what the provider does next.

use crate::event::PaymentMoved;
use crate::party::Party;
use crate::state::{ConsultationState, PaymentState};
use crate::text::Text;

/// A payment, as the provider last reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    pub state: PaymentState,
    /// In minor units of `currency`.
    pub amount: u64,
    pub currency: Text<200>,
}

impl From<&PaymentMoved> for Payment {
    fn from(moved: &PaymentMoved) -> Self {
        Self { state: moved.to, amount: moved.amount, currency: moved.currency.clone() }
    }
}

impl PaymentState {
    /// Returns the states that may follow. Only forward; the provider's reports may be late, so states may be skipped.
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

    /// Whether the payment covers the consultation.
    pub fn covers(self) -> bool {
        match self {
            PaymentState::Authorized | PaymentState::Captured => true,
            PaymentState::Pending | PaymentState::Refunded | PaymentState::Failed => false,
        }
    }
}

/// The next action of the payment provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PaymentAction {
    /// Reserve the price, with the patient's consent.
    Authorize,
    /// Collect the reserved amount.
    Capture,
    /// Cancel a request or reservation; nothing was collected yet.
    Release,
    /// Pay back the collected amount.
    Refund,
}

impl PaymentAction {
    /// The name in the database and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            PaymentAction::Authorize => "authorize",
            PaymentAction::Capture => "capture",
            PaymentAction::Release => "release",
            PaymentAction::Refund => "refund",
        }
    }

    /// Finds the action with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Authorize, Self::Capture, Self::Release, Self::Refund].into_iter().find(|action| action.as_str() == name)
    }
}

/// Returns the action that is due for a payment in this state. `missing` is the side that missed a no-show.
///
/// The price is collected when the consultation is completed or the patient is a no-show. It is released or refunded when
/// there was nothing to pay for: cancelled, expired, doctor missing, referred, entered in error.
pub fn due_action(
    payment: PaymentState,
    consultation: ConsultationState,
    missing: Option<Party>,
) -> Option<PaymentAction> {
    use ConsultationState::*;
    let owed = match consultation {
        Requested => return (payment == PaymentState::Pending).then_some(PaymentAction::Authorize),
        Booked | Waiting | Called | InProgress | Interrupted | WrapUp => return None,
        Completed => true,
        NoShow => missing == Some(Party::Patient),
        Cancelled | Expired | Referred | EnteredInError => false,
    };
    match (payment, owed) {
        (PaymentState::Authorized, true) => Some(PaymentAction::Capture),
        (PaymentState::Pending | PaymentState::Authorized, false) => Some(PaymentAction::Release),
        (PaymentState::Captured, false) => Some(PaymentAction::Refund),
        (PaymentState::Pending | PaymentState::Captured, true) | (PaymentState::Refunded | PaymentState::Failed, _) => {
            None
        }
    }
}
