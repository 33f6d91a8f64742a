//! Deciding what is about a delivery. A parcel's way also moves the dispensing and the prescription it belongs to.

use super::Case;
use super::face::Face;
use crate::case::delivery::{Delivery, DeliveryState, MAX_ATTEMPTS, With, may_ever};
use crate::case::dispensing::{DispensingState, With as DispensingWith};
use crate::case::prescription::PrescriptionState;
use crate::command::{AssignDelivery, Context, MoveDelivery};
use crate::event::{DeliveryAssigned, Event, HandOver};
use crate::refusal::Refusal;
use crate::role::Role;

impl Case {
    pub(super) fn assign(
        &self,
        assign: &AssignDelivery,
        face: &Face,
        context: &Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        face.demand("delivery.assign")?;
        let courier = context.facts.courier.clone().filter(|courier| courier.id == assign.courier);
        let courier = courier.ok_or(Refusal::NoSuch("courier"))?;
        let parcel = self.delivery(assign.delivery).ok_or(Refusal::NoSuch("delivery"))?;
        let work = self.dispensing(parcel.dispensing).ok_or(Refusal::NoSuch("dispensing"))?;
        let HandOver::Delivery(address) = &work.hand_over else { return Err(face.illegal()) };
        let former = parcel.courier();
        if former == Some(courier.id) {
            return Err(Refusal::Invalid { field: "courier", why: "has it already" });
        }
        Ok(vec![Event::DeliveryAssigned(DeliveryAssigned {
            delivery: parcel.id,
            dispensing: work.id,
            courier,
            former,
            pharmacy: work.pharmacy.clone(),
            recipient: self.patient.clone(),
            address: address.clone(),
        })])
    }

    pub(super) fn move_delivery(
        &self,
        step: &MoveDelivery,
        role: Role,
        face: &Face,
        context: &Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        let parcel = self.delivery(step.delivery).ok_or(Refusal::NoSuch("delivery"))?;
        // A report of something before the present state is kept, and moves nothing.
        if step.occurred_at.is_some_and(|at| at < parcel.since) && may_ever(role, step.to) {
            let with = With::of(step, context.now)?;
            return Ok(vec![Event::DeliveryReported(parcel.to(step.to, with))]);
        }
        face.demand(&format!("delivery.move:{}", step.to.as_str()))?;
        let with = With::of(step, context.now)?;
        let mut events = vec![Event::DeliveryMoved(parcel.to(step.to, with))];
        if step.to == DeliveryState::AttemptFailed && parcel.attempts() + 1 >= MAX_ATTEMPTS {
            let mut back = parcel.to(DeliveryState::Returning, With::default());
            back.from = DeliveryState::AttemptFailed;
            events.push(Event::DeliveryMoved(back));
        }
        events.extend(self.beyond(parcel, step));
        Ok(events)
    }

    /// What a parcel's step means for the dispensing and the prescription.
    fn beyond(&self, parcel: &Delivery, step: &MoveDelivery) -> Vec<Event> {
        let Some(work) = self.dispensing(parcel.dispensing) else { return Vec::new() };
        let plain = DispensingWith::default();
        match step.to {
            DeliveryState::PickedUp => vec![work.to(DispensingState::Released, plain)],
            DeliveryState::Delivered => {
                let with = DispensingWith { proof: step.proof.clone(), ..plain };
                let done = work.to(DispensingState::Completed, with);
                std::iter::once(done).chain(self.follow(work, PrescriptionState::Completed)).collect()
            }
            DeliveryState::Restocked | DeliveryState::Disposed => {
                std::iter::once(work.to(DispensingState::ReturnedToStock, plain)).chain(self.give_back(work)).collect()
            }
            DeliveryState::Lost | DeliveryState::Damaged => {
                let with = DispensingWith { reason: step.reason.clone(), ..plain };
                let stopped = work.to(DispensingState::Cancelled, with);
                std::iter::once(stopped).chain(self.give_back(work)).collect()
            }
            _ => Vec::new(),
        }
    }
}
