//! The course of a consultation: what the clock and connections make of it, and how events change it.

use super::{Consultation, ConsultationState, End, Phase, Place, Span, Talk, seconds};
use crate::event::{Event, Moved, Party, Policy, Slot};
use crate::id::UserId;
use crate::text::Prose;
use crate::time::Timestamp;

impl Consultation {
    /// The event that moves it to `to`.
    pub fn to(&self, to: ConsultationState, party: Option<Party>, reason: Option<Prose>) -> Event {
        Event::Moved(Moved { from: self.state(), to, reason, party })
    }

    /// When the present state ends by the clock.
    pub fn deadline(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::Requested { until }
            | Phase::Booked { until }
            | Phase::Waiting { until, .. }
            | Phase::Called { until, .. }
            | Phase::Interrupted { until, .. } => Some(*until),
            Phase::InProgress { .. } | Phase::WrapUp { .. } | Phase::Closed { .. } | Phase::EnteredInError => None,
        }
    }

    /// What the clock makes of it at `now`.
    pub fn overdue(&self, now: Timestamp, policy: &Policy) -> Option<Event> {
        use ConsultationState as To;
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return None;
        }
        match &self.phase {
            Phase::Requested { .. } => Some(self.to(To::Expired, None, None)),
            Phase::Booked { .. } => Some(self.to(To::NoShow, Some(Party::Patient), None)),
            Phase::Waiting { .. } => Some(self.to(To::NoShow, Some(Party::Doctor), None)),
            Phase::Called { place, .. } => {
                let to = if place.missed + 1 >= policy.rings { To::NoShow } else { To::Waiting };
                Some(self.to(to, Some(Party::Patient), None))
            }
            Phase::Interrupted { missing, .. } => Some(self.to(To::WrapUp, *missing, None)),
            Phase::InProgress { .. } | Phase::WrapUp { .. } | Phase::Closed { .. } | Phase::EnteredInError => None,
        }
    }

    /// What it means that a side's connection is gone for good, or back. Nothing unless they are talking.
    pub fn presence(&self, party: Party, here: bool) -> Option<Event> {
        use ConsultationState as To;
        match (&self.phase, here) {
            (Phase::InProgress { .. }, false) => Some(self.to(To::Interrupted, Some(party), None)),
            // The other side drops too: both are missing, which an absent party says.
            (Phase::Interrupted { missing: Some(other), .. }, false) if *other != party => {
                Some(self.to(To::Interrupted, None, None))
            }
            (Phase::Interrupted { missing: Some(gone), .. }, true) if *gone == party => {
                Some(self.to(To::InProgress, None, None))
            }
            (Phase::Interrupted { missing: None, .. }, true) => {
                let still = match party {
                    Party::Patient => Party::Doctor,
                    Party::Doctor => Party::Patient,
                };
                Some(self.to(To::Interrupted, Some(still), None))
            }
            _ => None,
        }
    }

    /// Takes a move. One that does not fit the present state changes nothing but the version.
    pub fn moved(&mut self, moved: &Moved, seq: u64, at: Timestamp, policy: &Policy) {
        use ConsultationState as To;
        self.version = seq;
        let closed = |end| Phase::Closed { end, error_proposed_by: None };
        let next = match (moved.to, &self.phase) {
            (To::Booked, _) => self.slot.as_ref().map(|slot| booked(slot, policy)),
            (To::Waiting, phase) => {
                let place = match phase {
                    Phase::Called { place, .. } if moved.party.is_some() => {
                        Place { missed: place.missed + 1, ..*place }
                    }
                    Phase::Called { place, .. } => *place,
                    Phase::InProgress { talk } | Phase::Interrupted { talk, .. } => Place { missed: 0, ..talk.place },
                    _ => Place { since: at, missed: 0 },
                };
                // The doctor is late from the slot's begin or from when the patient came to wait, whichever is later.
                let from = self.slot.as_ref().map_or(at, |slot| slot.starts_at.max(at));
                Some(Phase::Waiting { place, until: from.plus(seconds(policy.doctor_grace_s)) })
            }
            (To::InProgress, Phase::Called { place, .. }) => {
                Some(Phase::InProgress { talk: Talk { place: *place, started_at: at } })
            }
            (To::InProgress, Phase::Interrupted { talk, .. }) => Some(Phase::InProgress { talk: *talk }),
            (To::Interrupted, Phase::InProgress { talk }) => {
                let until = at.plus(seconds(policy.interrupted_s));
                Some(Phase::Interrupted { talk: *talk, missing: moved.party, until })
            }
            (To::Interrupted, Phase::Interrupted { talk, until, .. }) => {
                Some(Phase::Interrupted { talk: *talk, missing: moved.party, until: *until })
            }
            (To::WrapUp, phase) => phase.span(at).map(|span| Phase::WrapUp { span }),
            (To::Referred, phase) => phase.span(at).map(|span| closed(End::Referred { span })),
            (To::Cancelled, _) => Some(closed(End::Cancelled)),
            (To::Expired, _) => Some(closed(End::Expired)),
            (To::NoShow, _) => moved.party.map(|missing| closed(End::NoShow { missing })),
            (To::EnteredInError, _) => Some(Phase::EnteredInError),
            (To::Requested | To::Called | To::Completed | To::InProgress | To::Interrupted, _) => None,
        };
        if let Some(next) = next {
            self.phase = next;
        }
    }

    /// Takes another slot. One taken before the confirmation does not end the hold.
    pub fn rescheduled(&mut self, slot: &Slot, seq: u64, policy: &Policy) {
        self.version = seq;
        self.slot = Some(slot.clone());
        if let Phase::Booked { .. } = self.phase {
            self.phase = booked(slot, policy);
        }
    }

    /// It rings until `until`.
    pub fn called(&mut self, until: Timestamp, seq: u64) {
        self.version = seq;
        if let Phase::Waiting { place, .. } = self.phase {
            self.phase = Phase::Called { place, until };
        }
    }

    /// The note is signed.
    pub fn noted(&mut self, note: &Prose, seq: u64) {
        self.version = seq;
        if let Phase::WrapUp { span } = self.phase {
            self.phase = Phase::Closed { end: End::Completed { span, note: note.clone() }, error_proposed_by: None };
        }
    }

    /// A first administrator calls it an error.
    pub fn error_proposed(&mut self, by: Option<UserId>, seq: u64) {
        self.version = seq;
        if let Phase::Closed { error_proposed_by, .. } = &mut self.phase {
            *error_proposed_by = by;
        }
    }
}

impl Phase {
    /// The conversation, were it to end at `at`.
    fn span(&self, at: Timestamp) -> Option<Span> {
        match self {
            Phase::InProgress { talk } | Phase::Interrupted { talk, .. } => {
                Some(Span { started_at: talk.started_at, ended_at: at })
            }
            _ => None,
        }
    }
}

fn booked(slot: &Slot, policy: &Policy) -> Phase {
    Phase::Booked { until: slot.starts_at.plus(seconds(policy.patient_grace_s)) }
}
