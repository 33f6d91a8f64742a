//! Deciding what is about a prescription or its dispensing. The two move together: what ends one, ends the other.

use super::Case;
use super::face::Face;
use crate::case::consultation::seconds;
use crate::case::dispensing::{Dispensing, DispensingState, With, demand};
use crate::case::prescription::{Prescription, PrescriptionState, Stage, Step};
use crate::command::{
    Amend, Answer, CancelPrescription, Context, Draft, MoveDispensing, OfPrescription, Review, SendPrescription,
    Verdict,
};
use crate::event::{Amended, Answered, DeliveryRequested, Drafted, Event, HandOver, Item, Reviewed, Sent, Signed};
use crate::id::PrescriptionId;
use crate::refusal::Refusal;
use crate::text::Prose;

/// The most items of one prescription.
pub const MAX_ITEMS: usize = 20;
/// The most prescriptions of one room, replaced ones included.
pub const MAX_PRESCRIPTIONS: usize = 50;
/// The most times that prescriptions of one room may be sent to a pharmacy.
pub const MAX_DISPENSINGS: usize = 100;

impl Case {
    pub(super) fn draft(&self, draft: &Draft, context: &mut Context<'_>) -> Result<Vec<Event>, Refusal> {
        self.check_items(&draft.items)?;
        self.check_room_for_draft()?;
        Ok(vec![drafted((context.fresh)().into(), &draft.items, None)])
    }

    pub(super) fn amend(&self, amend: &Amend, face: &Face, context: &mut Context<'_>) -> Result<Vec<Event>, Refusal> {
        face.demand(Step::Amend.key())?;
        self.check_items(&amend.items)?;
        let prescription = self.known(amend.prescription)?;
        if let Stage::Draft = prescription.stage {
            let items = amend.items.clone();
            return Ok(vec![Event::Amended(Amended { prescription: prescription.id, items })]);
        }
        self.check_room_for_draft()?;
        let mut events = vec![prescription.to(PrescriptionState::Superseded, self.holder(prescription), None)];
        events.extend(self.stop_work(prescription, None));
        events.push(drafted((context.fresh)().into(), &amend.items, Some(prescription.id)));
        Ok(events)
    }

    pub(super) fn sign(
        &self,
        sign: &OfPrescription,
        face: &Face,
        context: &Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        face.demand(Step::Sign.key())?;
        let valid_until = context.now.plus(seconds(self.policy.prescription_valid_s));
        Ok(vec![Event::Signed(Signed { prescription: sign.prescription, valid_until })])
    }

    pub(super) fn cancel_prescription(&self, cancel: &CancelPrescription, face: &Face) -> Result<Vec<Event>, Refusal> {
        face.demand(Step::Cancel.key())?;
        let prescription = self.known(cancel.prescription)?;
        let reason = Some(cancel.reason.clone());
        let mut events = vec![prescription.to(PrescriptionState::Cancelled, self.holder(prescription), reason.clone())];
        events.extend(self.stop_work(prescription, reason));
        Ok(events)
    }

    pub(super) fn send(
        &self,
        send: &SendPrescription,
        face: &Face,
        context: &mut Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        face.demand(Step::Send.key())?;
        let prescription = self.known(send.prescription)?;
        let pharmacy = context.facts.pharmacy.clone().filter(|pharmacy| pharmacy.id == send.pharmacy);
        let pharmacy = pharmacy.ok_or(Refusal::NoSuch("pharmacy"))?;
        if self.holder(prescription) == Some(pharmacy.id) {
            return Err(Refusal::Invalid { field: "pharmacy", why: "has it already" });
        }
        if self.dispensings.len() >= MAX_DISPENSINGS {
            return Err(Refusal::Invalid { field: "pharmacy", why: "this room has been to too many pharmacies" });
        }
        let valid_until = prescription.valid_until().ok_or_else(|| face.illegal())?;
        // A pharmacy that has not claimed it loses it to the new one.
        let mut events: Vec<Event> = self.stop_work(prescription, None).collect();
        events.push(Event::Sent(Sent {
            prescription: prescription.id,
            dispensing: (context.fresh)().into(),
            pharmacy,
            hand_over: send.hand_over.clone(),
            patient: self.patient.clone(),
            prescriber: self.doctor.clone(),
            items: prescription.items.clone(),
            valid_until,
            review: !matches!(prescription.stage, Stage::Released { .. }),
        }));
        Ok(events)
    }

    pub(super) fn review(&self, review: &Review, face: &Face) -> Result<Vec<Event>, Refusal> {
        face.demand(Step::Review.key())?;
        let prescription = self.known(review.prescription)?;
        let work = self.work_on(prescription).ok_or_else(|| face.illegal())?;
        if review.verdict != Verdict::Approve {
            demand(review.text.is_some(), true, "text")?;
        }
        let mut events = vec![Event::Reviewed(Reviewed {
            prescription: prescription.id,
            pharmacy: work.pharmacy.id,
            verdict: review.verdict,
            text: review.text.clone(),
        })];
        if review.verdict == Verdict::Reject {
            let with = With { reason: review.text.clone(), ..With::default() };
            events.push(work.to(DispensingState::Declined, with));
        }
        Ok(events)
    }

    pub(super) fn answer(&self, answer: &Answer, face: &Face) -> Result<Vec<Event>, Refusal> {
        face.demand(Step::Answer.key())?;
        let prescription = self.known(answer.prescription)?;
        let pharmacy = self.holder(prescription).ok_or_else(|| face.illegal())?;
        let text = answer.text.clone();
        Ok(vec![Event::Answered(Answered { prescription: prescription.id, pharmacy, text })])
    }

    pub(super) fn move_dispensing(
        &self,
        step: &MoveDispensing,
        face: &Face,
        context: &mut Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        face.demand(&format!("dispensing.move:{}", step.to.as_str()))?;
        let with = With::of(step)?;
        let work = self.dispensing(step.dispensing).ok_or(Refusal::NoSuch("dispensing"))?;
        let mut events = vec![work.to(step.to, with)];
        match step.to {
            DispensingState::Accepted => events.extend(self.follow(work, PrescriptionState::WithPharmacy)),
            DispensingState::Declined | DispensingState::ReturnedToStock => events.extend(self.give_back(work)),
            DispensingState::Completed => events.extend(self.follow(work, PrescriptionState::Completed)),
            DispensingState::Ready => events.extend(self.ask_for_delivery(work, context)),
            _ => {}
        }
        Ok(events)
    }

    /// The prescription of this work moves to `to`, and its pharmacy hears of it.
    pub(super) fn follow(&self, work: &Dispensing, to: PrescriptionState) -> Option<Event> {
        self.prescription(work.prescription).map(|prescription| prescription.to(to, Some(work.pharmacy.id), None))
    }

    /// The prescription of this work is in the patient's hands again, to be sent to another pharmacy.
    pub(super) fn give_back(&self, work: &Dispensing) -> Option<Event> {
        let reviewed = matches!(
            self.prescription(work.prescription)?.state(),
            PrescriptionState::Released | PrescriptionState::WithPharmacy
        );
        self.follow(work, if reviewed { PrescriptionState::Released } else { PrescriptionState::Signed })
    }

    /// What ends with the prescription: the pharmacy's work on it, and a parcel that has not left.
    pub(super) fn stop_work(&self, prescription: &Prescription, reason: Option<Prose>) -> impl Iterator<Item = Event> {
        let work = self.work_on(prescription);
        let with = With { reason, ..With::default() };
        let stopped = work.map(|work| work.to(DispensingState::Cancelled, with));
        // The reason is the doctor's to the pharmacy; a courier gets none.
        let parcel = work.and_then(|work| self.parcel_of(work.id)).map(|parcel| parcel.call_off());
        stopped.into_iter().chain(parcel)
    }

    fn ask_for_delivery(&self, work: &Dispensing, context: &mut Context<'_>) -> Option<Event> {
        match &work.hand_over {
            HandOver::Pickup => None,
            HandOver::Delivery(address) => Some(Event::DeliveryRequested(DeliveryRequested {
                delivery: (context.fresh)().into(),
                dispensing: work.id,
                pharmacy: work.pharmacy.clone(),
                recipient: self.patient.clone(),
                address: address.clone(),
            })),
        }
    }

    fn known(&self, id: PrescriptionId) -> Result<&Prescription, Refusal> {
        self.prescription(id).ok_or(Refusal::NoSuch("prescription"))
    }

    fn check_items(&self, items: &[Item]) -> Result<(), Refusal> {
        if items.is_empty() || items.len() > MAX_ITEMS {
            return Err(Refusal::Invalid { field: "items", why: "must be 1 to 20" });
        }
        if items.iter().any(|item| !(1..=9999).contains(&item.quantity)) {
            return Err(Refusal::Invalid { field: "quantity", why: "must be 1 to 9999" });
        }
        if items.iter().any(|item| item.days < 1 || item.days > self.policy.max_days) {
            return Err(Refusal::Invalid {
                field: "days",
                why: "must be at least 1 and at most what the policy allows",
            });
        }
        Ok(())
    }

    fn check_room_for_draft(&self) -> Result<(), Refusal> {
        if self.prescriptions.len() < MAX_PRESCRIPTIONS {
            return Ok(());
        }
        Err(Refusal::Invalid { field: "prescription", why: "this room has too many" })
    }
}

fn drafted(prescription: PrescriptionId, items: &[Item], replaces: Option<PrescriptionId>) -> Event {
    Event::Drafted(Drafted { prescription, items: items.to_vec(), replaces })
}
