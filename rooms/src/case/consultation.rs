//! The consultation: from the request to the signed note.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Event, Moved, Party, Policy, Requested, Slot};
use crate::id::UserId;
use crate::role::Role;
use crate::text::Prose;
use crate::time::Timestamp;

/// Where a consultation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConsultationState {
    Requested,
    Booked,
    Waiting,
    Called,
    InProgress,
    Interrupted,
    WrapUp,
    Completed,
    Cancelled,
    Expired,
    NoShow,
    Referred,
    EnteredInError,
}

impl ConsultationState {
    /// Every state, in the order of the field's diagram.
    pub const ALL: [ConsultationState; 13] = [
        ConsultationState::Requested,
        ConsultationState::Booked,
        ConsultationState::Waiting,
        ConsultationState::Called,
        ConsultationState::InProgress,
        ConsultationState::Interrupted,
        ConsultationState::WrapUp,
        ConsultationState::Completed,
        ConsultationState::Cancelled,
        ConsultationState::Expired,
        ConsultationState::NoShow,
        ConsultationState::Referred,
        ConsultationState::EnteredInError,
    ];

    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            ConsultationState::Requested => "requested",
            ConsultationState::Booked => "booked",
            ConsultationState::Waiting => "waiting",
            ConsultationState::Called => "called",
            ConsultationState::InProgress => "in_progress",
            ConsultationState::Interrupted => "interrupted",
            ConsultationState::WrapUp => "wrap_up",
            ConsultationState::Completed => "completed",
            ConsultationState::Cancelled => "cancelled",
            ConsultationState::Expired => "expired",
            ConsultationState::NoShow => "no_show",
            ConsultationState::Referred => "referred",
            ConsultationState::EnteredInError => "entered_in_error",
        }
    }
}

/// A consultation as far as its log tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consultation {
    /// `seq` of the last event that changed it.
    pub version: u64,
    /// The slot it was booked for; absent for a walk-in.
    pub slot: Option<Slot>,
    /// Why the patient comes.
    pub reason: Option<Prose>,
    pub phase: Phase,
}

/// Each state with the data that exists in it. An `until` takes effect by the timer's event, never by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Held for a patient who has not confirmed, or a walk-in that has not checked in.
    Requested {
        until: Timestamp,
    },
    /// The patient must check in by `until`.
    Booked {
        until: Timestamp,
    },
    /// The doctor must call by `until`.
    Waiting {
        place: Place,
        until: Timestamp,
    },
    /// The patient must answer by `until`.
    Called {
        place: Place,
        until: Timestamp,
    },
    InProgress {
        talk: Talk,
    },
    /// `missing` is absent when both sides are; the last one must be back by `until`.
    Interrupted {
        talk: Talk,
        missing: Option<Party>,
        until: Timestamp,
    },
    WrapUp {
        span: Span,
    },
    /// `error_proposed_by`: the first of the two administrators that it takes to mark it as entered in error.
    Closed {
        end: End,
        error_proposed_by: Option<UserId>,
    },
    EnteredInError,
}

/// A place in the doctor's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// When the patient checked in; the queue's order.
    pub since: Timestamp,
    /// Calls that were not answered.
    pub missed: u32,
}

/// A conversation that goes on. It keeps the place that the patient would be put back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Talk {
    pub place: Place,
    pub started_at: Timestamp,
}

/// A conversation that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
}

/// How a consultation closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Completed { span: Span, note: Prose },
    Cancelled,
    Expired,
    NoShow { missing: Party },
    Referred { span: Span },
}

/// What can be asked of the room at large: of the consultation, and of what has no part of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Confirm,
    Reschedule,
    Cancel,
    CheckIn,
    Admit,
    Enter,
    PutBack,
    Refer,
    End,
    Complete,
    MarkError,
    Chat,
    Draft,
    Export,
    OpenRecord,
}

impl Step {
    pub const ALL: [Step; 15] = [
        Step::Confirm,
        Step::Reschedule,
        Step::Cancel,
        Step::CheckIn,
        Step::Admit,
        Step::Enter,
        Step::PutBack,
        Step::Refer,
        Step::End,
        Step::Complete,
        Step::MarkError,
        Step::Chat,
        Step::Draft,
        Step::Export,
        Step::OpenRecord,
    ];

    /// The command's kind.
    pub fn key(self) -> &'static str {
        match self {
            Step::Confirm => "consultation.confirm",
            Step::Reschedule => "consultation.reschedule",
            Step::Cancel => "consultation.cancel",
            Step::CheckIn => "consultation.check_in",
            Step::Admit => "consultation.admit",
            Step::Enter => "consultation.enter",
            Step::PutBack => "consultation.put_back",
            Step::Refer => "consultation.refer",
            Step::End => "consultation.end",
            Step::Complete => "consultation.complete",
            Step::MarkError => "consultation.mark_error",
            Step::Chat => "chat.send",
            Step::Draft => "prescription.draft",
            Step::Export => "record.export",
            Step::OpenRecord => "record.open",
        }
    }
}

impl Consultation {
    /// The first state, from the room's first event at `at`.
    pub fn open(requested: &Requested, seq: u64, at: Timestamp) -> Self {
        let walk_in_until = at.plus(seconds(requested.policy.patient_grace_s));
        Self {
            version: seq,
            slot: requested.slot.clone(),
            reason: requested.reason.clone(),
            phase: Phase::Requested { until: requested.hold_until.unwrap_or(walk_in_until) },
        }
    }

    pub fn state(&self) -> ConsultationState {
        match &self.phase {
            Phase::Requested { .. } => ConsultationState::Requested,
            Phase::Booked { .. } => ConsultationState::Booked,
            Phase::Waiting { .. } => ConsultationState::Waiting,
            Phase::Called { .. } => ConsultationState::Called,
            Phase::InProgress { .. } => ConsultationState::InProgress,
            Phase::Interrupted { .. } => ConsultationState::Interrupted,
            Phase::WrapUp { .. } => ConsultationState::WrapUp,
            Phase::Closed { end: End::Completed { .. }, .. } => ConsultationState::Completed,
            Phase::Closed { end: End::Cancelled, .. } => ConsultationState::Cancelled,
            Phase::Closed { end: End::Expired, .. } => ConsultationState::Expired,
            Phase::Closed { end: End::NoShow { .. }, .. } => ConsultationState::NoShow,
            Phase::Closed { end: End::Referred { .. }, .. } => ConsultationState::Referred,
            Phase::EnteredInError => ConsultationState::EnteredInError,
        }
    }

    /// Whether somebody in this role may take this step now. `paid`: nothing is owed, or it is authorized.
    pub fn possible(&self, role: Role, step: Step, paid: bool) -> bool {
        use Phase::*;
        let care = matches!(role, Role::Patient | Role::Doctor);
        let phase = &self.phase;
        match step {
            Step::Confirm => {
                matches!(role, Role::Patient | Role::System)
                    && matches!(phase, Requested { .. })
                    && self.slot.is_some()
                    && paid
            }
            Step::Reschedule => care && matches!(phase, Booked { .. }),
            Step::Cancel => match phase {
                Requested { .. } | Booked { .. } => care || role == Role::Admin,
                Waiting { .. } => care,
                _ => false,
            },
            Step::CheckIn => {
                role == Role::Patient
                    && match phase {
                        Booked { .. } => true,
                        Requested { .. } => self.slot.is_none() && paid,
                        _ => false,
                    }
            }
            Step::Admit => role == Role::Doctor && matches!(phase, Waiting { .. }),
            Step::Enter => role == Role::Patient && matches!(phase, Called { .. }),
            Step::PutBack => {
                role == Role::Doctor && matches!(phase, Called { .. } | InProgress { .. } | Interrupted { .. })
            }
            Step::Refer => role == Role::Doctor && matches!(phase, InProgress { .. } | Interrupted { .. }),
            Step::End => care && matches!(phase, InProgress { .. } | Interrupted { .. }),
            Step::Complete => role == Role::Doctor && matches!(phase, WrapUp { .. }),
            Step::MarkError => role == Role::Admin && matches!(phase, Closed { .. }),
            Step::Chat => care,
            Step::Draft => {
                role == Role::Doctor && matches!(phase, InProgress { .. } | Interrupted { .. } | WrapUp { .. })
            }
            Step::Export => care || role == Role::Admin,
            Step::OpenRecord => role == Role::Admin,
        }
    }

    /// What somebody in this role may do now.
    pub fn allowed(&self, role: Role, paid: bool) -> Vec<String> {
        Step::ALL
            .into_iter()
            .filter(|step| self.possible(role, *step, paid))
            .map(|step| step.key().to_owned())
            .collect()
    }

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

/// The policy's spans are whole seconds.
pub(crate) fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}
