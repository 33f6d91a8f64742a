//! Decisions about a prescription. Whatever ends a prescription also ends the pharmacy's work on it.

use super::Case;
use super::subject::{Asker, Move, Subject, SubjectView};
use crate::case::consultation::{ConsultationMove, ConsultationPhase};
use crate::case::dispensing::{Dispensing, DispensingMoveDetails};
use crate::case::prescription::{Prescription, PrescriptionContext, PrescriptionMove, PrescriptionStage};
use crate::command::{
    Amend, Answer, CancelPrescription, Context, Draft, NewItem, PrescriptionRef, Review, SendPrescription,
};
use crate::event::{Amended, Answered, Drafted, Event, Reviewed, Sent, Signed};
use crate::id::{PharmacyId, PrescriptionId};
use crate::reason::ReviewVerdict;
use crate::refusal::Refusal;
use crate::state::{DispensingState, PrescriptionState};

/// The most items of one prescription.
pub const MAX_ITEMS: usize = 20;
/// The most prescriptions of one room, replaced ones included.
pub const MAX_PRESCRIPTIONS: usize = 50;
/// The most dispensings of one room: each time a prescription is sent to a pharmacy counts.
pub const MAX_DISPENSINGS: usize = 100;

impl Case {
    /// Returns the prescription, and how the asker sees it, if they may make this move.
    fn require_prescription(
        &self,
        id: PrescriptionId,
        step: PrescriptionMove,
        asker: &Asker,
        context: &Context<'_>,
    ) -> Result<(&Prescription, SubjectView), Refusal> {
        let subject = self.require(Subject::Prescription(id), Move::Prescription(step), asker, context)?;
        let prescription = self.prescription(id).ok_or(Refusal::NoSuch("prescription"))?;
        Ok((prescription, subject))
    }

    pub(super) fn draft(&self, draft: &Draft, asker: &Asker, context: &mut Context<'_>) -> Result<Vec<Event>, Refusal> {
        self.require_unversioned(ConsultationMove::Draft, asker)?;
        self.check_items(&draft.items)?;
        self.check_prescription_limit()?;
        Ok(vec![drafted((context.fresh)().into(), &draft.items, None)])
    }

    /// Changes a draft in place; any other prescription is superseded by a new draft.
    pub(super) fn amend(&self, amend: &Amend, asker: &Asker, context: &mut Context<'_>) -> Result<Vec<Event>, Refusal> {
        let (prescription, _) =
            self.require_prescription(amend.prescription, PrescriptionMove::Amend, asker, context)?;
        self.check_items(&amend.items)?;
        if let PrescriptionStage::Draft = prescription.stage {
            let items = amend.items.iter().cloned().map(Into::into).collect();
            return Ok(vec![Event::Amended(Amended { prescription: prescription.id, items })]);
        }
        self.check_prescription_limit()?;
        let holder = self.holding_pharmacy(prescription);
        let mut events = vec![prescription.move_to(PrescriptionState::Superseded, holder, None)];
        events.extend(self.stop_dispensing(prescription, None));
        events.push(drafted((context.fresh)().into(), &amend.items, Some(prescription.id)));
        Ok(events)
    }

    pub(super) fn sign(
        &self,
        sign: &PrescriptionRef,
        asker: &Asker,
        context: &Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        let (prescription, _) = self.require_prescription(sign.prescription, PrescriptionMove::Sign, asker, context)?;
        let valid_until = context.now.plus_seconds(self.policy.prescription_valid_s);
        Ok(vec![Event::Signed(Signed { prescription: prescription.id, valid_until })])
    }

    pub(super) fn cancel_prescription(
        &self,
        cancel: &CancelPrescription,
        asker: &Asker,
        context: &Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        let (prescription, _) =
            self.require_prescription(cancel.prescription, PrescriptionMove::Cancel, asker, context)?;
        let reason = Some(cancel.reason.clone().into());
        let holder = self.holding_pharmacy(prescription);
        let mut events = vec![prescription.move_to(PrescriptionState::Cancelled, holder, reason.clone())];
        events.extend(self.stop_dispensing(prescription, reason));
        Ok(events)
    }

    pub(super) fn send(
        &self,
        send: &SendPrescription,
        asker: &Asker,
        context: &mut Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        let (prescription, subject) =
            self.require_prescription(send.prescription, PrescriptionMove::Send, asker, context)?;
        let pharmacy = context.facts.pharmacy.clone().filter(|pharmacy| pharmacy.id == send.pharmacy);
        let pharmacy = pharmacy.ok_or(Refusal::NoSuch("pharmacy"))?;
        if self.holding_pharmacy(prescription) == Some(pharmacy.id) {
            return Err(Refusal::Invalid { field: "pharmacy", why: "already has this prescription" });
        }
        if self.dispensings.len() >= MAX_DISPENSINGS {
            return Err(Refusal::Invalid {
                field: "pharmacy",
                why: "cannot be chosen: this room has reached its maximum number of dispensings",
            });
        }
        let valid_until = prescription.valid_until().ok_or_else(|| subject.illegal())?;
        // A pharmacy that has not claimed it loses it to the new one.
        let mut events: Vec<Event> = self.stop_dispensing(prescription, None).collect();
        events.push(Event::Sent(Sent {
            prescription: prescription.id,
            dispensing: (context.fresh)().into(),
            pharmacy,
            hand_over: send.hand_over.clone().into(),
            patient: self.patient.clone(),
            prescriber: self.doctor.clone(),
            items: prescription.items.clone(),
            valid_until,
            review: !matches!(prescription.stage, PrescriptionStage::Released { .. }),
        }));
        Ok(events)
    }

    pub(super) fn review(&self, review: &Review, asker: &Asker, context: &Context<'_>) -> Result<Vec<Event>, Refusal> {
        let (prescription, subject) =
            self.require_prescription(review.prescription, PrescriptionMove::Review, asker, context)?;
        let dispensing = self.active_dispensing_of(prescription).ok_or_else(|| subject.illegal())?;
        if review.verdict != ReviewVerdict::Approve {
            Refusal::require(review.text.is_some(), true, "text")?;
        }
        let mut events = vec![Event::Reviewed(Reviewed {
            prescription: prescription.id,
            pharmacy: dispensing.pharmacy.id,
            verdict: review.verdict,
            text: review.text.clone().map(Into::into),
        })];
        if review.verdict == ReviewVerdict::Reject {
            let details = DispensingMoveDetails {
                reason: review.text.clone().map(Into::into),
                ..DispensingMoveDetails::default()
            };
            events.push(dispensing.move_to(DispensingState::Declined, details));
        }
        Ok(events)
    }

    pub(super) fn answer(&self, answer: &Answer, asker: &Asker, context: &Context<'_>) -> Result<Vec<Event>, Refusal> {
        let (prescription, subject) =
            self.require_prescription(answer.prescription, PrescriptionMove::Answer, asker, context)?;
        let pharmacy = self.holding_pharmacy(prescription).ok_or_else(|| subject.illegal())?;
        let text = answer.text.clone().into();
        Ok(vec![Event::Answered(Answered { prescription: prescription.id, pharmacy, text })])
    }

    /// Returns the state of the case that this prescription's moves depend on.
    pub(super) fn prescription_context(&self, prescription: &Prescription) -> PrescriptionContext {
        PrescriptionContext {
            in_error: matches!(self.consultation.phase, ConsultationPhase::EnteredInError),
            dispensing: self.active_dispensing_of(prescription).map(Dispensing::state),
        }
    }

    /// Returns the pharmacy that holds this prescription, and so must learn of its moves.
    pub(super) fn holding_pharmacy(&self, prescription: &Prescription) -> Option<PharmacyId> {
        self.active_dispensing_of(prescription).map(|dispensing| dispensing.pharmacy.id)
    }

    fn check_items(&self, items: &[NewItem]) -> Result<(), Refusal> {
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

    fn check_prescription_limit(&self) -> Result<(), Refusal> {
        if self.prescriptions.len() < MAX_PRESCRIPTIONS {
            return Ok(());
        }
        Err(Refusal::Invalid {
            field: "prescription",
            why: "cannot be added: this room has reached its maximum number of prescriptions",
        })
    }
}

fn drafted(prescription: PrescriptionId, items: &[NewItem], replaces: Option<PrescriptionId>) -> Event {
    Event::Drafted(Drafted { prescription, items: items.iter().cloned().map(Into::into).collect(), replaces })
}
