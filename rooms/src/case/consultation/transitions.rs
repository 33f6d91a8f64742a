//! Transitions of the consultation: those that the clock and connections cause, and how events change its phase.

use super::{Consultation, ConsultationEnd, ConsultationPhase as Phase, Conversation, Interval, QueuePlace};
use crate::event::{ConsultationMoved, Event};
use crate::id::UserId;
use crate::party::{Party, Policy, Slot};
use crate::state::ConsultationState;
use crate::text::Text;
use crate::time::Timestamp;

impl Consultation {
    /// Returns the event that moves it to `to`.
    pub fn move_to(&self, to: ConsultationState, party: Option<Party>, reason: Option<Text<4000>>) -> Event {
        Event::ConsultationMoved(ConsultationMoved { from: self.state(), to, reason, party })
    }

    /// Returns when the current state ends by the clock.
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

    /// Returns the event that is due at `now`, if any.
    pub fn overdue(&self, now: Timestamp, policy: &Policy) -> Option<Event> {
        use ConsultationState as To;
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return None;
        }
        match &self.phase {
            Phase::Requested { .. } => Some(self.move_to(To::Expired, None, None)),
            Phase::Booked { .. } => Some(self.move_to(To::NoShow, Some(Party::Patient), None)),
            Phase::Waiting { .. } => Some(self.move_to(To::NoShow, Some(Party::Doctor), None)),
            Phase::Called { place, .. } => {
                let to = if place.missed + 1 >= policy.rings { To::NoShow } else { To::Waiting };
                Some(self.move_to(to, Some(Party::Patient), None))
            }
            Phase::Interrupted { missing, .. } => Some(self.move_to(To::WrapUp, *missing, None)),
            Phase::InProgress { .. } | Phase::WrapUp { .. } | Phase::Closed { .. } | Phase::EnteredInError => None,
        }
    }

    /// Returns the event that follows from a side's disconnect or reconnect. None outside a conversation.
    pub fn presence_changed(&self, party: Party, here: bool) -> Option<Event> {
        use ConsultationState as To;
        match (&self.phase, here) {
            (Phase::InProgress { .. }, false) => Some(self.move_to(To::Interrupted, Some(party), None)),
            // The other side disconnects too: an absent party means that both are missing.
            (Phase::Interrupted { missing: Some(other), .. }, false) if *other != party => {
                Some(self.move_to(To::Interrupted, None, None))
            }
            (Phase::Interrupted { missing: Some(missing), .. }, true) if *missing == party => {
                Some(self.move_to(To::InProgress, None, None))
            }
            (Phase::Interrupted { missing: None, .. }, true) => {
                Some(self.move_to(To::Interrupted, Some(party.other()), None))
            }
            _ => None,
        }
    }

    /// Applies a move. A move that does not fit the current phase changes only the version.
    pub fn apply_move(&mut self, moved: &ConsultationMoved, seq: u64, at: Timestamp, policy: &Policy) {
        use ConsultationState as To;
        self.version = seq;
        let closed = |end| Phase::Closed { end, error_proposed_by: None };
        let next = match (moved.to, &self.phase) {
            (To::Booked, _) => self.slot.as_ref().map(|slot| booked(slot, at, policy)),
            (To::Waiting, phase) => {
                let place = match phase {
                    Phase::Called { place, .. } if moved.party.is_some() => {
                        QueuePlace { missed: place.missed + 1, ..*place }
                    }
                    Phase::Called { place, .. } => *place,
                    Phase::InProgress { conversation } | Phase::Interrupted { conversation, .. } => {
                        QueuePlace { missed: 0, ..conversation.place }
                    }
                    _ => QueuePlace { since: at, missed: 0 },
                };
                // The doctor's grace period starts with the slot or with the wait, whichever is later.
                let from = self.slot.as_ref().map_or(at, |slot| slot.starts_at.max(at));
                Some(Phase::Waiting { place, until: from.plus_seconds(policy.doctor_grace_s) })
            }
            (To::InProgress, Phase::Called { place, .. }) => {
                Some(Phase::InProgress { conversation: Conversation { place: *place, started_at: at } })
            }
            (To::InProgress, Phase::Interrupted { conversation, .. }) => {
                Some(Phase::InProgress { conversation: *conversation })
            }
            (To::Interrupted, Phase::InProgress { conversation }) => {
                let until = at.plus_seconds(policy.interrupted_s);
                Some(Phase::Interrupted { conversation: *conversation, missing: moved.party, until })
            }
            (To::Interrupted, Phase::Interrupted { conversation, until, .. }) => {
                Some(Phase::Interrupted { conversation: *conversation, missing: moved.party, until: *until })
            }
            (To::WrapUp, phase) => phase.interval_until(at).map(|interval| Phase::WrapUp { interval }),
            (To::Referred, phase) => {
                phase.interval_until(at).map(|interval| closed(ConsultationEnd::Referred { interval }))
            }
            (To::Cancelled, _) => Some(closed(ConsultationEnd::Cancelled)),
            (To::Expired, _) => Some(closed(ConsultationEnd::Expired)),
            (To::NoShow, _) => moved.party.map(|missing| closed(ConsultationEnd::NoShow { missing })),
            (To::EnteredInError, _) => Some(Phase::EnteredInError),
            (To::Requested | To::Called | To::Completed | To::InProgress | To::Interrupted, _) => None,
        };
        if let Some(next) = next {
            self.phase = next;
        }
    }

    /// Applies a new slot at `at`. A new slot before the confirmation does not end the hold.
    pub fn apply_slot(&mut self, slot: &Slot, seq: u64, at: Timestamp, policy: &Policy) {
        self.version = seq;
        self.slot = Some(slot.clone());
        if let Phase::Booked { .. } = self.phase {
            self.phase = booked(slot, at, policy);
        }
    }

    /// Applies the doctor's call, which rings until `until`.
    pub fn apply_call(&mut self, until: Timestamp, seq: u64) {
        self.version = seq;
        if let Phase::Waiting { place, .. } = self.phase {
            self.phase = Phase::Called { place, until };
        }
    }

    /// Applies the signed note.
    pub fn apply_note(&mut self, note: &Text<4000>, seq: u64) {
        self.version = seq;
        if let Phase::WrapUp { interval } = self.phase {
            self.phase = Phase::Closed {
                end: ConsultationEnd::Completed { interval, note: note.clone() },
                error_proposed_by: None,
            };
        }
    }

    /// Applies the first administrator's proposal to mark it as entered in error.
    pub fn apply_error_proposal(&mut self, by: Option<UserId>, seq: u64) {
        self.version = seq;
        if let Phase::Closed { error_proposed_by, .. } = &mut self.phase {
            *error_proposed_by = by;
        }
    }
}

impl Phase {
    /// Returns the conversation's interval if it ends at `at`.
    fn interval_until(&self, at: Timestamp) -> Option<Interval> {
        match self {
            Phase::InProgress { conversation } | Phase::Interrupted { conversation, .. } => {
                Some(Interval { started_at: conversation.started_at, ended_at: at })
            }
            _ => None,
        }
    }
}

/// The patient's grace period starts with the slot or with the booking at `at`, whichever is later: a hold may be
/// confirmed or paid after its slot has begun.
fn booked(slot: &Slot, at: Timestamp, policy: &Policy) -> Phase {
    Phase::Booked { until: slot.starts_at.max(at).plus_seconds(policy.patient_grace_s) }
}
