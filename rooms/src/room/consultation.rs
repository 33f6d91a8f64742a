//! Decisions about the consultation.

use super::Case;
use super::subject::{Asker, Move, Subject};
use crate::case::consultation::{ConsultationMove, ConsultationPhase};
use crate::command::{CheckIn, Context, Note, Reason, Request, Reschedule};
use crate::event::{Called, CheckedIn, Event, Explained, Noted, Requested, Rescheduled};
use crate::id::RoomId;
use crate::party::{Person, Slot};
use crate::refusal::Refusal;
use crate::state::ConsultationState;
use crate::text::{Line, Text};
use crate::time::Timestamp;

/// Returns the first events of a room.
pub(super) fn open(
    room: RoomId,
    request: &Request,
    patient: Person,
    context: &Context<'_>,
) -> Result<Vec<Event>, Refusal> {
    let policy = context.policy;
    let (doctor, slot) = match (request.slot, request.doctor) {
        (Some(id), None) => {
            let slot = context.facts.slot.clone().filter(|slot| slot.id == id).ok_or(Refusal::NoSuch("slot"))?;
            check_not_started(&slot, context.now)?;
            (slot.doctor.clone(), Some(slot))
        }
        (None, Some(id)) => {
            let doctor = context.facts.doctor.clone().filter(|doctor| doctor.id == id);
            (doctor.ok_or(Refusal::NoSuch("doctor"))?, None)
        }
        (Some(_), Some(_)) | (None, None) => {
            return Err(Refusal::Invalid {
                field: "slot",
                why: "must be given without a doctor, or a doctor without a slot",
            });
        }
    };
    super::payment::check_price(policy)?;
    let hold_until = slot.is_some().then(|| context.now.plus_seconds(policy.hold_s));
    let reason = request.reason.clone().map(Into::into);
    let requested = Requested { patient, doctor, slot, hold_until, reason, policy: policy.clone() };
    let payment = super::payment::request(room, policy);
    Ok(std::iter::once(Event::Requested(requested)).chain(payment).collect())
}

fn check_not_started(slot: &Slot, now: Timestamp) -> Result<(), Refusal> {
    if slot.starts_at > now {
        Ok(())
    } else {
        Err(Refusal::Invalid { field: "slot", why: "must start in the future; choose a later slot" })
    }
}

impl Case {
    fn require_consultation(
        &self,
        step: ConsultationMove,
        asker: &Asker,
        context: &Context<'_>,
    ) -> Result<(), Refusal> {
        self.require(Subject::Consultation, Move::Consultation(step), asker, context).map(drop)
    }

    /// Decides a move that carries no data beside an optional reason.
    pub(super) fn move_consultation(
        &self,
        step: ConsultationMove,
        to: ConsultationState,
        reason: Option<&Text<4000>>,
        asker: &Asker,
        context: &Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        self.require_consultation(step, asker, context)?;
        Ok(vec![self.consultation.move_to(to, None, reason.cloned())])
    }

    pub(super) fn reschedule(
        &self,
        reschedule: &Reschedule,
        asker: &Asker,
        context: &Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        self.require_consultation(ConsultationMove::Reschedule, asker, context)?;
        let slot = context.facts.slot.clone().filter(|slot| slot.id == reschedule.slot);
        let slot = slot.ok_or(Refusal::NoSuch("slot"))?;
        let from = self.consultation.slot.as_ref().map(|slot| slot.id).ok_or(Refusal::NoSuch("slot"))?;
        if slot.doctor.id != self.doctor.id {
            return Err(Refusal::Invalid { field: "slot", why: "must belong to the same doctor" });
        }
        if slot.id == from {
            return Err(Refusal::Invalid { field: "slot", why: "must differ from the current slot" });
        }
        check_not_started(&slot, context.now)?;
        Ok(vec![Event::Rescheduled(Rescheduled { from, slot })])
    }

    /// Checking in is two events: the consent and identity, and the move into the queue.
    pub(super) fn check_in(
        &self,
        check_in: &CheckIn,
        asker: &Asker,
        context: &Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        if let Some(opens_at) = self.consultation.check_in_from(&self.policy).filter(|from| *from > context.now) {
            return Err(Refusal::TooEarly { opens_at });
        }
        self.require_consultation(ConsultationMove::CheckIn, asker, context)?;
        // The policy of an old room may be in another Unicode form.
        if Line::parse(self.policy.consent.as_str()).as_ref() != Ok(&check_in.consent) {
            return Err(Refusal::Invalid { field: "consent", why: "must be the current version of the consent text" });
        }
        let (consent, identity) = (check_in.consent.clone().into(), check_in.identity.clone().into());
        let waiting = self.consultation.move_to(ConsultationState::Waiting, None, None);
        Ok(vec![Event::CheckedIn(CheckedIn { consent, identity }), waiting])
    }

    pub(super) fn admit(&self, asker: &Asker, context: &Context<'_>) -> Result<Vec<Event>, Refusal> {
        self.require_consultation(ConsultationMove::Admit, asker, context)?;
        Ok(vec![Event::Called(Called { until: context.now.plus_seconds(self.policy.ring_s) })])
    }

    pub(super) fn complete(&self, note: &Note, asker: &Asker, context: &Context<'_>) -> Result<Vec<Event>, Refusal> {
        self.require_consultation(ConsultationMove::Complete, asker, context)?;
        Ok(vec![Event::Noted(Noted { note: note.note.clone().into() })])
    }

    /// The first administrator proposes, a second one confirms.
    pub(super) fn mark_error(&self, why: &Reason, asker: &Asker, context: &Context<'_>) -> Result<Vec<Event>, Refusal> {
        self.require_consultation(ConsultationMove::MarkError, asker, context)?;
        let reason = why.reason.clone().into();
        let event = match &self.consultation.phase {
            ConsultationPhase::Closed { error_proposed_by: Some(first), .. } => {
                if context.actor.user() == Some(*first) {
                    return Err(Refusal::Invalid {
                        field: "actor",
                        why: "must be another administrator than the first",
                    });
                }
                self.consultation.move_to(ConsultationState::EnteredInError, None, Some(reason))
            }
            _ => Event::ErrorProposed(Explained { reason }),
        };
        Ok(vec![event])
    }
}
