//! The consultation: from the request to the signed note.

mod course;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::guest;
use crate::event::{Party, Requested, Slot};
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
    StartCall,
    CheckDevices,
    InviteGuest,
    Draft,
    Export,
    OpenRecord,
}

impl Step {
    pub const ALL: [Step; 18] = [
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
        Step::StartCall,
        Step::CheckDevices,
        Step::InviteGuest,
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
            Step::StartCall => "call.start",
            Step::CheckDevices => "call.check",
            Step::InviteGuest => "guest.invite",
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
            // And only while no other call is active, which the case knows.
            Step::StartCall => care && matches!(phase, InProgress { .. } | Interrupted { .. }),
            Step::CheckDevices => care && !matches!(phase, Closed { .. } | EnteredInError),
            // And only while there are few of them, which the case knows.
            Step::InviteGuest => care && guest::welcome(self.state()),
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
}

/// The policy's spans are whole seconds.
pub(crate) fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}
