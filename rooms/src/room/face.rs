//! What a command is about, as its sender may know it: state, version and the moves that are open to them.
//!
//! Decisions and snapshots both take the open moves from here, so that a screen never offers what would be refused.

use super::Case;
use crate::case::consultation::Step;
use crate::case::delivery::Delivery;
use crate::case::dispensing::Dispensing;
use crate::case::prescription::Prescription;
use crate::command::Command;
use crate::id::{CallId, DeliveryId, DispensingId, PrescriptionId};
use crate::permission::View;
use crate::refusal::Refusal;
use crate::role::Role;

/// The part of a case that a command is about; only such a part has a version to expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Consultation,
    Prescription(PrescriptionId),
    Dispensing(DispensingId),
    Delivery(DeliveryId),
    Call(CallId),
}

/// A subject as one part of the case sees it.
#[derive(Debug)]
pub(super) struct Face {
    name: &'static str,
    state: &'static str,
    version: u64,
    /// Kinds and move targets that are open to the one who asks.
    allowed: Vec<String>,
}

impl Subject {
    /// None for what is about the room at large, or about the world.
    pub(super) fn of(command: &Command) -> Option<Self> {
        match command {
            Command::Request(_)
            | Command::Confirm(_)
            | Command::Reschedule(_)
            | Command::Cancel(_)
            | Command::CheckIn(_)
            | Command::Admit(_)
            | Command::Enter(_)
            | Command::PutBack(_)
            | Command::Refer(_)
            | Command::End(_)
            | Command::Complete(_)
            | Command::MarkError(_) => Some(Subject::Consultation),
            Command::Amend(amend) => Some(Subject::Prescription(amend.prescription)),
            Command::Sign(sign) => Some(Subject::Prescription(sign.prescription)),
            Command::CancelPrescription(cancel) => Some(Subject::Prescription(cancel.prescription)),
            Command::Send(send) => Some(Subject::Prescription(send.prescription)),
            Command::Review(review) => Some(Subject::Prescription(review.prescription)),
            Command::Answer(answer) => Some(Subject::Prescription(answer.prescription)),
            Command::MoveDispensing(step) => Some(Subject::Dispensing(step.dispensing)),
            Command::AssignDelivery(assign) => Some(Subject::Delivery(assign.delivery)),
            Command::MoveDelivery(step) => Some(Subject::Delivery(step.delivery)),
            Command::JoinCall(of) | Command::DeclineCall(of) => Some(Subject::Call(of.call)),
            Command::LeaveCall(leave) => Some(Subject::Call(leave.call)),
            Command::CallMedia(change) => Some(Subject::Call(change.call)),
            Command::InviteGuest(_)
            | Command::EnterAsGuest(_)
            | Command::DismissGuest(_)
            | Command::Presence(_)
            | Command::Timer(_)
            | Command::RecordPayment(_)
            | Command::Chat(_)
            | Command::StartCall(_)
            | Command::ReportCall(_)
            | Command::CheckDevices(_)
            | Command::Draft(_)
            | Command::Export(_)
            | Command::OpenRecord(_) => None,
        }
    }
}

impl Face {
    /// Refuses when the sender saw another version.
    pub(super) fn expect(&self, version: Option<u64>) -> Result<(), Refusal> {
        match version {
            Some(seen) if seen != self.version => Err(Refusal::Stale {
                subject: self.name,
                state: self.state.to_owned(),
                version: self.version,
                allowed: self.allowed.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Refuses what is not among the open moves.
    pub(super) fn demand(&self, key: &str) -> Result<(), Refusal> {
        if self.allowed.iter().any(|open| open == key) { Ok(()) } else { Err(self.illegal()) }
    }

    /// The refusal of a move that the present state does not allow.
    pub(super) fn illegal(&self) -> Refusal {
        Refusal::Illegal { subject: self.name, state: self.state.to_owned(), allowed: self.allowed.clone() }
    }
}

impl Case {
    /// The subject as this view and role see it; what lies outside the view does not exist.
    pub(super) fn face(&self, subject: Subject, view: &View, role: Role) -> Result<Face, Refusal> {
        match subject {
            Subject::Consultation => Ok(Face {
                name: "consultation",
                state: self.consultation.state().as_str(),
                version: self.consultation.version,
                allowed: self.at_large_allowed(role),
            }),
            Subject::Prescription(id) => self.prescription_face(id, view, role),
            Subject::Dispensing(id) => {
                let work = self.dispensing(id).filter(|work| sees_dispensing(view, work));
                let work = work.ok_or(Refusal::NoSuch("dispensing"))?;
                Ok(Face {
                    name: "dispensing",
                    state: work.state().as_str(),
                    version: work.version,
                    allowed: self.dispensing_allowed(work, role),
                })
            }
            Subject::Call(id) => self.call_face(id, view, role),
            Subject::Delivery(id) => {
                let parcel = self.delivery(id).filter(|parcel| sees_delivery(view, parcel));
                let parcel = parcel.ok_or(Refusal::NoSuch("delivery"))?;
                Ok(Face {
                    name: "delivery",
                    state: parcel.state().as_str(),
                    version: parcel.version,
                    allowed: parcel.allowed(role),
                })
            }
        }
    }

    /// What is open to this role at large: one call at a time, and few guests.
    pub(super) fn at_large_allowed(&self, role: Role) -> Vec<String> {
        let mut allowed = self.consultation.allowed(role, self.paid());
        if self.call.as_ref().is_some_and(|call| call.active()) {
            allowed.retain(|key| key != Step::StartCall.key());
        }
        if !self.may_invite() {
            allowed.retain(|key| key != Step::InviteGuest.key());
        }
        allowed
    }

    fn call_face(&self, id: CallId, view: &View, role: Role) -> Result<Face, Refusal> {
        let sees = matches!(view, View::Care | View::Guest { .. });
        let call = self.call.as_deref().filter(|call| call.id == id && sees).ok_or(Refusal::NoSuch("call"))?;
        Ok(Face {
            name: "call",
            state: call.state().as_str(),
            version: call.version,
            allowed: self.call_allowed(call, view, role),
        })
    }

    fn prescription_face(&self, id: PrescriptionId, view: &View, role: Role) -> Result<Face, Refusal> {
        let none = Refusal::NoSuch("prescription");
        let Some(prescription) = self.prescription(id) else { return Err(none) };
        let (state, version) = match view {
            View::Care => (prescription.state(), prescription.version),
            View::Pharmacy(own) => {
                let known = self.latest_work(id, *own).ok_or(none)?.known;
                (known.state, known.version)
            }
            View::Courier(_) | View::Guest { .. } => return Err(none),
        };
        let allowed = self.prescription_allowed(prescription, view, role);
        Ok(Face { name: "prescription", state: state.as_str(), version, allowed })
    }

    /// What is open to this role; to a pharmacist only while the prescription is at their pharmacy.
    pub(super) fn prescription_allowed(&self, prescription: &Prescription, view: &View, role: Role) -> Vec<String> {
        let has_it = match view {
            View::Care => true,
            View::Pharmacy(own) => self.holder(prescription) == Some(*own),
            View::Courier(_) | View::Guest { .. } => false,
        };
        if has_it { prescription.allowed(role, self.around(prescription)) } else { Vec::new() }
    }

    pub(super) fn dispensing_allowed(&self, work: &Dispensing, role: Role) -> Vec<String> {
        work.allowed(role, self.parcel_of(work.id).is_some())
    }

    pub(super) fn delivery(&self, id: DeliveryId) -> Option<&Delivery> {
        self.deliveries.iter().find(|parcel| parcel.id == id)
    }
}

pub(super) fn sees_dispensing(view: &View, work: &Dispensing) -> bool {
    match view {
        View::Care => true,
        View::Pharmacy(own) => work.pharmacy.id == *own,
        View::Courier(_) | View::Guest { .. } => false,
    }
}

pub(super) fn sees_delivery(view: &View, parcel: &Delivery) -> bool {
    match view {
        View::Care => true,
        View::Pharmacy(own) => parcel.pharmacy == *own,
        View::Courier(own) => parcel.courier() == Some(*own),
        View::Guest { .. } => false,
    }
}
