//! Decisions about the payment.

use super::Case;
use crate::case::consultation::ConsultationPhase;
use crate::command::RecordPayment;
use crate::event::{Event, PaymentMoved};
use crate::id::RoomId;
use crate::party::Policy;
use crate::record::MAX_AMOUNT;
use crate::refusal::Refusal;
use crate::state::{ConsultationState, PaymentState};
use crate::text::Text;

/// Refuses a price that the canonical form of a record cannot carry.
pub(super) fn check_price(policy: &Policy) -> Result<(), Refusal> {
    if policy.price > MAX_AMOUNT {
        return Err(Refusal::Invalid { field: "price", why: "must be at most 9007199254740991" });
    }
    Ok(())
}

/// Returns the event that requests the payment; none if the consultation is free.
pub(super) fn request(room: RoomId, policy: &Policy) -> Option<Event> {
    (policy.price > 0).then(|| {
        Event::PaymentMoved(PaymentMoved {
            from: None,
            to: PaymentState::Pending,
            amount: policy.price,
            currency: policy.currency.clone(),
            reference: Text::stored(&room.to_string()).expect("an id is a short line"),
        })
    })
}

impl Case {
    /// Records a report of the payment provider.
    pub(super) fn record_payment(&self, report: &RecordPayment) -> Result<Vec<Event>, Refusal> {
        let Some(payment) = &self.payment else { return Err(Refusal::NoSuch("payment")) };
        if !payment.state.next().contains(&report.to) {
            return Err(Refusal::Illegal {
                subject: "payment",
                state: payment.state.as_str().to_owned(),
                allowed: payment.state.next().iter().map(|to| format!("payment.record:{}", to.as_str())).collect(),
            });
        }
        if report.currency != payment.currency {
            return Err(Refusal::Invalid { field: "currency", why: "must be the currency of the price" });
        }
        let price = self.policy.price;
        if report.amount > price || (report.to.covers() && report.amount != price) {
            return Err(Refusal::Invalid { field: "amount", why: "must match the price" });
        }
        let moved = Event::PaymentMoved(PaymentMoved {
            from: Some(payment.state),
            to: report.to,
            amount: report.amount,
            currency: report.currency.clone(),
            reference: report.reference.clone(),
        });
        Ok(std::iter::once(moved).chain(self.settle_request(report.to)).collect())
    }

    /// Returns what a payment means for a consultation that waits for it. A payment confirms the slot, a failure frees it.
    /// A walk-in who paid still has to check in.
    fn settle_request(&self, payment: PaymentState) -> Option<Event> {
        let consultation = &self.consultation;
        let ConsultationPhase::Requested { .. } = consultation.phase else { return None };
        match payment {
            PaymentState::Authorized | PaymentState::Captured => {
                consultation.slot.is_some().then(|| consultation.move_to(ConsultationState::Booked, None, None))
            }
            PaymentState::Failed | PaymentState::Refunded => {
                Some(consultation.move_to(ConsultationState::Expired, None, None))
            }
            PaymentState::Pending => None,
        }
    }
}
