//! Decisions about a dispensing. Its moves also move the prescription and the delivery.

use super::Case;
use super::subject::{Asker, Move, Subject};
use crate::case::delivery::Delivery;
use crate::case::dispensing::{Dispensing, DispensingMove, DispensingMoveDetails};
use crate::case::prescription::Prescription;
use crate::command::{Context, MoveDispensing};
use crate::event::{DeliveryRequested, Event};
use crate::id::{DispensingId, PharmacyId, PrescriptionId};
use crate::party::HandOver;
use crate::refusal::Refusal;
use crate::state::{DispensingState, PrescriptionState};
use crate::text::Text;

impl Case {
    pub(super) fn move_dispensing(
        &self,
        command: &MoveDispensing,
        asker: &Asker,
        context: &mut Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        let step = Move::Dispensing(DispensingMove::To(command.to));
        self.require(Subject::Dispensing(command.dispensing), step, asker, context)?;
        let details = DispensingMoveDetails::check(command)?;
        let dispensing = self.dispensing(command.dispensing).ok_or(Refusal::NoSuch("dispensing"))?;
        let consequence = match command.to {
            DispensingState::Accepted => self.move_prescription_of(dispensing, PrescriptionState::WithPharmacy),
            DispensingState::Completed => self.move_prescription_of(dispensing, PrescriptionState::Completed),
            DispensingState::Declined | DispensingState::ReturnedToStock => self.return_prescription_of(dispensing),
            DispensingState::Ready => self.request_delivery(dispensing, context),
            DispensingState::Received
            | DispensingState::Preparing
            | DispensingState::OnHold
            | DispensingState::Checked
            | DispensingState::Released
            | DispensingState::Cancelled => None,
        };
        Ok(std::iter::once(dispensing.move_to(command.to, details)).chain(consequence).collect())
    }

    /// Returns the active dispensing of this prescription.
    pub(super) fn active_dispensing_of(&self, prescription: &Prescription) -> Option<&Dispensing> {
        prescription.dispensing().and_then(|id| self.dispensing(id)).filter(|dispensing| dispensing.is_active())
    }

    /// Returns this pharmacy's latest dispensing of this prescription.
    pub(super) fn latest_dispensing(&self, prescription: PrescriptionId, pharmacy: PharmacyId) -> Option<&Dispensing> {
        let mut latest_first = self.dispensings.iter().rev();
        latest_first.find(|dispensing| dispensing.prescription == prescription && dispensing.pharmacy.id == pharmacy)
    }

    /// Returns the active delivery of this dispensing.
    pub(super) fn active_delivery_of(&self, dispensing: DispensingId) -> Option<&Delivery> {
        self.deliveries.iter().find(|delivery| delivery.dispensing == dispensing && delivery.is_active())
    }

    /// Moves the prescription of this dispensing, in the view of its pharmacy.
    pub(super) fn move_prescription_of(&self, dispensing: &Dispensing, to: PrescriptionState) -> Option<Event> {
        let prescription = self.prescription(dispensing.prescription)?;
        Some(prescription.move_to(to, Some(dispensing.pharmacy.id), None))
    }

    /// Returns the prescription of this dispensing to the patient, who may send it to another pharmacy.
    pub(super) fn return_prescription_of(&self, dispensing: &Dispensing) -> Option<Event> {
        let is_reviewed = matches!(
            self.prescription(dispensing.prescription)?.state(),
            PrescriptionState::Released | PrescriptionState::WithPharmacy
        );
        let to = if is_reviewed { PrescriptionState::Released } else { PrescriptionState::Signed };
        self.move_prescription_of(dispensing, to)
    }

    /// Cancels what ends with the prescription: the pharmacy's work, and a delivery that has not started.
    pub(super) fn stop_dispensing(
        &self,
        prescription: &Prescription,
        reason: Option<Text<4000>>,
    ) -> impl Iterator<Item = Event> {
        let dispensing = self.active_dispensing_of(prescription);
        let details = DispensingMoveDetails { reason, ..DispensingMoveDetails::default() };
        let stopped = dispensing.map(|dispensing| dispensing.move_to(DispensingState::Cancelled, details));
        // The doctor's reason is for the pharmacy only, not for the courier.
        let delivery = dispensing.and_then(|dispensing| self.active_delivery_of(dispensing.id)).map(Delivery::cancel);
        stopped.into_iter().chain(delivery)
    }

    fn request_delivery(&self, dispensing: &Dispensing, context: &mut Context<'_>) -> Option<Event> {
        match &dispensing.hand_over {
            HandOver::Pickup => None,
            HandOver::Delivery(address) => Some(Event::DeliveryRequested(DeliveryRequested {
                delivery: (context.fresh)().into(),
                dispensing: dispensing.id,
                pharmacy: dispensing.pharmacy.clone(),
                recipient: self.patient.clone(),
                address: address.clone(),
            })),
        }
    }
}
