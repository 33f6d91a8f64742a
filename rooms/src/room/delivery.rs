//! Decisions about a delivery. Its moves also move the dispensing and the prescription that it belongs to.

use super::Case;
use super::subject::{Asker, Move, Subject};
use crate::case::delivery::{Delivery, DeliveryMove, DeliveryMoveDetails, MAX_ATTEMPTS};
use crate::case::dispensing::DispensingMoveDetails;
use crate::command::{AssignDelivery, Context, MoveDelivery};
use crate::event::{DeliveryAssigned, Event};
use crate::party::HandOver;
use crate::permission::may_move_delivery;
use crate::refusal::Refusal;
use crate::state::{DeliveryState, DispensingState, PrescriptionState};

impl Case {
    pub(super) fn assign_delivery(
        &self,
        assign: &AssignDelivery,
        asker: &Asker,
        context: &Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        let step = Move::Delivery(DeliveryMove::Assign);
        let subject = self.require(Subject::Delivery(assign.delivery), step, asker, context)?;
        let courier = context.facts.courier.clone().filter(|courier| courier.id == assign.courier);
        let courier = courier.ok_or(Refusal::NoSuch("courier"))?;
        let delivery = self.delivery(assign.delivery).ok_or(Refusal::NoSuch("delivery"))?;
        let dispensing = self.dispensing(delivery.dispensing).ok_or(Refusal::NoSuch("dispensing"))?;
        let HandOver::Delivery(address) = &dispensing.hand_over else { return Err(subject.illegal()) };
        let former = delivery.courier();
        if former == Some(courier.id) {
            return Err(Refusal::Invalid { field: "courier", why: "already has this parcel" });
        }
        Ok(vec![Event::DeliveryAssigned(DeliveryAssigned {
            delivery: delivery.id,
            dispensing: dispensing.id,
            courier,
            former,
            pharmacy: dispensing.pharmacy.clone(),
            recipient: self.patient.clone(),
            address: address.clone(),
        })])
    }

    pub(super) fn move_delivery(
        &self,
        command: &MoveDelivery,
        asker: &Asker,
        context: &Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        let subject = self.current_subject(Subject::Delivery(command.delivery), asker, context)?;
        let delivery = self.delivery(command.delivery).ok_or(Refusal::NoSuch("delivery"))?;
        // A report of something before the current state began is recorded, but moves nothing.
        let late = command.occurred_at.filter(|at| *at < delivery.since);
        if let Some(at) = late.filter(|_| may_move_delivery(asker.role, command.to)) {
            delivery.check_late_report(command.to, at)?;
            let details = DeliveryMoveDetails::check(command, context.now)?;
            return Ok(vec![Event::DeliveryReported(delivery.move_to(command.to, details))]);
        }
        subject.require(Move::Delivery(DeliveryMove::To(command.to)))?;
        let details = DeliveryMoveDetails::check(command, context.now)?;
        let mut events = vec![Event::DeliveryMoved(delivery.move_to(command.to, details))];
        if command.to == DeliveryState::AttemptFailed && delivery.attempts() + 1 >= MAX_ATTEMPTS {
            let mut returning = delivery.move_to(DeliveryState::Returning, DeliveryMoveDetails::default());
            returning.from = DeliveryState::AttemptFailed;
            events.push(Event::DeliveryMoved(returning));
        }
        events.extend(self.delivery_consequences(delivery, command));
        Ok(events)
    }

    /// Returns the moves of the dispensing and the prescription that follow from a move of the delivery.
    fn delivery_consequences(&self, delivery: &Delivery, command: &MoveDelivery) -> Vec<Event> {
        let Some(dispensing) = self.dispensing(delivery.dispensing) else { return Vec::new() };
        let none = DispensingMoveDetails::default();
        let (dispensing_move, prescription_move) = match command.to {
            DeliveryState::PickedUp => (dispensing.move_to(DispensingState::Released, none), None),
            DeliveryState::Delivered => {
                let details = DispensingMoveDetails { proof: command.proof.clone().map(Into::into), ..none };
                (
                    dispensing.move_to(DispensingState::Completed, details),
                    self.move_prescription_of(dispensing, PrescriptionState::Completed),
                )
            }
            DeliveryState::Restocked | DeliveryState::Disposed => {
                (dispensing.move_to(DispensingState::ReturnedToStock, none), self.return_prescription_of(dispensing))
            }
            DeliveryState::Lost | DeliveryState::Damaged => {
                let details = DispensingMoveDetails { reason: command.reason.clone().map(Into::into), ..none };
                (dispensing.move_to(DispensingState::Cancelled, details), self.return_prescription_of(dispensing))
            }
            DeliveryState::Requested
            | DeliveryState::Assigned
            | DeliveryState::InTransit
            | DeliveryState::OutForDelivery
            | DeliveryState::AttemptFailed
            | DeliveryState::Rescheduled
            | DeliveryState::Returning
            | DeliveryState::Returned
            | DeliveryState::Cancelled => return Vec::new(),
        };
        std::iter::once(dispensing_move).chain(prescription_move).collect()
    }
}
