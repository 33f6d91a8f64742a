//! A command's subject as its sender sees it: state, version and allowed moves.
//!
//! Decisions and snapshots both take the allowed moves from here, so a screen never offers a move that would be refused.

use std::borrow::Cow;

use super::Case;
use crate::case::call::{Call, CallMove};
use crate::case::consultation::{Conditions, ConsultationMove};
use crate::case::delivery::{Delivery, DeliveryMove};
use crate::case::dispensing::{Dispensing, DispensingMove};
use crate::case::prescription::{Prescription, PrescriptionMove};
use crate::command::Context;
use crate::id::{CallId, DeliveryId, DispensingId, PrescriptionId};
use crate::permission::View;
use crate::refusal::Refusal;
use crate::role::Role;
use crate::time::Timestamp;

/// The part of a case that a command is about. Only such a part has a version to expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Consultation,
    Prescription(PrescriptionId),
    Dispensing(DispensingId),
    Delivery(DeliveryId),
    Call(CallId),
}

/// A move of any of the machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    Consultation(ConsultationMove),
    Prescription(PrescriptionMove),
    Dispensing(DispensingMove),
    Delivery(DeliveryMove),
    Call(CallMove),
}

impl Move {
    /// The name on the wire: a command's kind, for some with the target state.
    pub(super) fn as_str(self) -> Cow<'static, str> {
        match self {
            Move::Consultation(step) => step.as_str().into(),
            Move::Prescription(step) => step.as_str().into(),
            Move::Dispensing(step) => step.as_str(),
            Move::Delivery(step) => step.as_str(),
            Move::Call(step) => step.as_str().into(),
        }
    }
}

/// The sender of a command: their role, the part of the case that they see, and when they ask.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) role: Role,
    pub(super) view: View,
    /// Some moves open or end with time.
    pub(super) now: Timestamp,
}

/// A subject as one view and role see it.
#[derive(Debug)]
pub(super) struct SubjectView {
    subject: &'static str,
    state: &'static str,
    version: u64,
    allowed: Vec<Move>,
}

impl SubjectView {
    fn new<M>(
        (subject, state, version): (&'static str, &'static str, u64),
        allowed: Vec<M>,
        wrap: fn(M) -> Move,
    ) -> Self {
        Self { subject, state, version, allowed: allowed.into_iter().map(wrap).collect() }
    }

    /// Refuses if the sender saw another version.
    fn check_version(&self, expected: Option<u64>) -> Result<(), Refusal> {
        match expected {
            Some(seen) if seen != self.version => Err(Refusal::Stale {
                subject: self.subject,
                state: self.state.to_owned(),
                version: self.version,
                allowed: self.move_names(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses a move that is not allowed.
    pub(super) fn require(&self, step: Move) -> Result<(), Refusal> {
        if self.allowed.contains(&step) { Ok(()) } else { Err(self.illegal()) }
    }

    /// Returns the refusal of a move that the current state does not allow.
    pub(super) fn illegal(&self) -> Refusal {
        Refusal::Illegal { subject: self.subject, state: self.state.to_owned(), allowed: self.move_names() }
    }

    fn move_names(&self) -> Vec<String> {
        self.allowed.iter().map(|step| step.as_str().into_owned()).collect()
    }
}

impl Case {
    /// Returns the subject as the asker sees it, if they saw its current version.
    pub(super) fn current_subject(
        &self,
        subject: Subject,
        asker: &Asker,
        context: &Context<'_>,
    ) -> Result<SubjectView, Refusal> {
        let subject = self.view_subject(subject, asker)?;
        subject.check_version(context.expect)?;
        Ok(subject)
    }

    /// Like [`Case::current_subject`], and refuses if the asker may not make this move now.
    pub(super) fn require(
        &self,
        subject: Subject,
        step: Move,
        asker: &Asker,
        context: &Context<'_>,
    ) -> Result<SubjectView, Refusal> {
        let subject = self.current_subject(subject, asker, context)?;
        subject.require(step)?;
        Ok(subject)
    }

    /// Refuses if the asker may not make this move of the room as a whole. Such moves expect no version.
    pub(super) fn require_unversioned(&self, step: ConsultationMove, asker: &Asker) -> Result<(), Refusal> {
        self.view_subject(Subject::Consultation, asker)?.require(Move::Consultation(step))
    }

    /// Returns the subject as this view and role see it. A subject outside the view does not exist.
    fn view_subject(&self, subject: Subject, asker: &Asker) -> Result<SubjectView, Refusal> {
        let Asker { role, view, now } = asker;
        match subject {
            Subject::Consultation => {
                let it = &self.consultation;
                let facts = ("consultation", it.state().as_str(), it.version);
                Ok(SubjectView::new(facts, self.consultation_moves(*role, *now), Move::Consultation))
            }
            Subject::Prescription(id) => {
                let it = self.prescription(id).ok_or(Refusal::NoSuch("prescription"))?;
                let (state, version) = match view {
                    View::Care => (it.state(), it.version),
                    View::Pharmacy(own) => {
                        let latest = self.latest_dispensing(id, *own).ok_or(Refusal::NoSuch("prescription"))?;
                        (latest.known.state, latest.known.version)
                    }
                    View::Courier(_) | View::Guest { .. } => return Err(Refusal::NoSuch("prescription")),
                };
                let facts = ("prescription", state.as_str(), version);
                Ok(SubjectView::new(facts, self.prescription_moves(it, view, *role), Move::Prescription))
            }
            Subject::Dispensing(id) => {
                let it = self.dispensing(id).filter(|it| sees_dispensing(view, it));
                let it = it.ok_or(Refusal::NoSuch("dispensing"))?;
                let facts = ("dispensing", it.state().as_str(), it.version);
                Ok(SubjectView::new(facts, self.dispensing_moves(it, *role), Move::Dispensing))
            }
            Subject::Delivery(id) => {
                let it = self.delivery(id).filter(|it| sees_delivery(view, it)).ok_or(Refusal::NoSuch("delivery"))?;
                let facts = ("delivery", it.state().as_str(), it.version);
                Ok(SubjectView::new(facts, it.allowed(*role), Move::Delivery))
            }
            Subject::Call(id) => {
                let it = self.call.as_deref().filter(|it| it.id == id && sees_calls(view));
                let it = it.ok_or(Refusal::NoSuch("call"))?;
                let facts = ("call", it.state().as_str(), it.version);
                Ok(SubjectView::new(facts, self.call_moves(it, view, *role), Move::Call))
            }
        }
    }

    /// Returns this role's moves of the consultation and the room as a whole. Allows one call at a time and few guests.
    pub(super) fn consultation_moves(&self, role: Role, now: Timestamp) -> Vec<ConsultationMove> {
        let conditions = Conditions {
            is_paid: self.is_paid(),
            is_check_in_open: self.consultation.check_in_from(&self.policy).is_none_or(|from| from <= now),
            has_break_glass: self.break_glass.iter().any(|(_, until)| *until > now),
        };
        let mut moves = self.consultation.allowed(role, conditions);
        if self.call.as_ref().is_some_and(|call| call.is_active()) {
            moves.retain(|step| *step != ConsultationMove::StartCall);
        }
        if !self.admits_another_guest() {
            moves.retain(|step| *step != ConsultationMove::InviteGuest);
        }
        moves
    }

    /// Returns this role's moves. A pharmacist has some only while their pharmacy holds the prescription.
    pub(super) fn prescription_moves(
        &self,
        prescription: &Prescription,
        view: &View,
        role: Role,
    ) -> Vec<PrescriptionMove> {
        let holds_it = match view {
            View::Care => true,
            View::Pharmacy(own) => self.holding_pharmacy(prescription) == Some(*own),
            View::Courier(_) | View::Guest { .. } => false,
        };
        if holds_it { prescription.allowed(role, self.prescription_context(prescription)) } else { Vec::new() }
    }

    pub(super) fn dispensing_moves(&self, dispensing: &Dispensing, role: Role) -> Vec<DispensingMove> {
        dispensing.allowed(role, self.active_delivery_of(dispensing.id).is_some())
    }

    /// Returns the moves of the one person who holds this role in the case. Of several guests, a view knows its own only.
    pub(super) fn call_moves(&self, call: &Call, view: &View, role: Role) -> Vec<CallMove> {
        match (role, view) {
            (Role::Patient, _) => call.allowed(role, self.patient.id),
            (Role::Doctor, _) => call.allowed(role, self.doctor.id),
            (Role::Guest, View::Guest { guest, .. }) => call.allowed(role, *guest),
            (Role::Guest | Role::Pharmacist | Role::Courier | Role::Admin | Role::Support | Role::System, _) => {
                Vec::new()
            }
        }
    }
}

fn sees_calls(view: &View) -> bool {
    matches!(view, View::Care | View::Guest { .. })
}

pub(super) fn sees_dispensing(view: &View, dispensing: &Dispensing) -> bool {
    match view {
        View::Care => true,
        View::Pharmacy(own) => dispensing.pharmacy.id == *own,
        View::Courier(_) | View::Guest { .. } => false,
    }
}

pub(super) fn sees_delivery(view: &View, delivery: &Delivery) -> bool {
    match view {
        View::Care => true,
        View::Pharmacy(own) => delivery.pharmacy == *own,
        View::Courier(own) => delivery.courier() == Some(*own),
        View::Guest { .. } => false,
    }
}
