//! The consultation: from the request to the signed note.

mod transitions;

use crate::event::Requested;
use crate::id::UserId;
use crate::party::{Party, Policy, Slot};
use crate::role::Role;
use crate::state::ConsultationState;
use crate::text::Text;
use crate::time::Timestamp;

/// A consultation, folded from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consultation {
    /// `seq` of the last event that changed it.
    pub version: u64,
    /// The slot it was booked for; absent for a walk-in.
    pub slot: Option<Slot>,
    /// The reason for the visit.
    pub reason: Option<Text<4000>>,
    pub phase: ConsultationPhase,
}

/// The phases of a consultation, each with the data that exists in it. An `until` takes effect by the timer's event,
/// never by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsultationPhase {
    /// Held for a patient who has not confirmed, or for a walk-in who has not checked in.
    Requested {
        until: Timestamp,
    },
    /// The patient must check in by `until`.
    Booked {
        until: Timestamp,
    },
    /// The doctor must call by `until`.
    Waiting {
        place: QueuePlace,
        until: Timestamp,
    },
    /// The patient must answer by `until`.
    Called {
        place: QueuePlace,
        until: Timestamp,
    },
    InProgress {
        conversation: Conversation,
    },
    /// The missing side must reconnect by `until`. `missing` is absent if both sides are missing.
    Interrupted {
        conversation: Conversation,
        missing: Option<Party>,
        until: Timestamp,
    },
    WrapUp {
        interval: Interval,
    },
    /// `error_proposed_by`: the first of the two administrators that an entry in error requires.
    Closed {
        end: ConsultationEnd,
        error_proposed_by: Option<UserId>,
    },
    EnteredInError,
}

/// What a move depends on beside the role and the phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// Nothing is due, or the payment is authorized.
    pub is_paid: bool,
    pub is_check_in_open: bool,
    /// An administrator has the record open.
    pub has_break_glass: bool,
}

/// A place in the doctor's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuePlace {
    /// When the patient checked in. Orders the queue.
    pub since: Timestamp,
    /// The doctor's calls that the patient did not answer.
    pub missed: u32,
}

/// A running conversation. Keeps the place in the queue that the patient may be returned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversation {
    pub place: QueuePlace,
    pub started_at: Timestamp,
}

/// The time between start and end of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
}

/// How a consultation closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsultationEnd {
    Completed { interval: Interval, note: Text<4000> },
    Cancelled,
    Expired,
    NoShow { missing: Party },
    Referred { interval: Interval },
}

/// The moves of the consultation, and of the room as a whole: moves that belong to no other machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsultationMove {
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

impl ConsultationMove {
    pub const ALL: [ConsultationMove; 18] = [
        ConsultationMove::Confirm,
        ConsultationMove::Reschedule,
        ConsultationMove::Cancel,
        ConsultationMove::CheckIn,
        ConsultationMove::Admit,
        ConsultationMove::Enter,
        ConsultationMove::PutBack,
        ConsultationMove::Refer,
        ConsultationMove::End,
        ConsultationMove::Complete,
        ConsultationMove::MarkError,
        ConsultationMove::Chat,
        ConsultationMove::StartCall,
        ConsultationMove::CheckDevices,
        ConsultationMove::InviteGuest,
        ConsultationMove::Draft,
        ConsultationMove::Export,
        ConsultationMove::OpenRecord,
    ];

    /// The kind of the command that makes the move.
    pub fn as_str(self) -> &'static str {
        match self {
            ConsultationMove::Confirm => "consultation.confirm",
            ConsultationMove::Reschedule => "consultation.reschedule",
            ConsultationMove::Cancel => "consultation.cancel",
            ConsultationMove::CheckIn => "consultation.check_in",
            ConsultationMove::Admit => "consultation.admit",
            ConsultationMove::Enter => "consultation.enter",
            ConsultationMove::PutBack => "consultation.put_back",
            ConsultationMove::Refer => "consultation.refer",
            ConsultationMove::End => "consultation.end",
            ConsultationMove::Complete => "consultation.complete",
            ConsultationMove::MarkError => "consultation.mark_error",
            ConsultationMove::Chat => "chat.send",
            ConsultationMove::StartCall => "call.start",
            ConsultationMove::CheckDevices => "call.check",
            ConsultationMove::InviteGuest => "guest.invite",
            ConsultationMove::Draft => "prescription.draft",
            ConsultationMove::Export => "record.export",
            ConsultationMove::OpenRecord => "record.open",
        }
    }
}

impl Consultation {
    /// Opens the consultation with the room's first event, at `at`.
    pub fn open(requested: &Requested, seq: u64, at: Timestamp) -> Self {
        let walk_in_until = at.plus_seconds(requested.policy.patient_grace_s);
        Self {
            version: seq,
            slot: requested.slot.clone(),
            reason: requested.reason.clone(),
            phase: ConsultationPhase::Requested { until: requested.hold_until.unwrap_or(walk_in_until) },
        }
    }

    pub fn state(&self) -> ConsultationState {
        use ConsultationPhase::*;
        match &self.phase {
            Requested { .. } => ConsultationState::Requested,
            Booked { .. } => ConsultationState::Booked,
            Waiting { .. } => ConsultationState::Waiting,
            Called { .. } => ConsultationState::Called,
            InProgress { .. } => ConsultationState::InProgress,
            Interrupted { .. } => ConsultationState::Interrupted,
            WrapUp { .. } => ConsultationState::WrapUp,
            Closed { end: ConsultationEnd::Completed { .. }, .. } => ConsultationState::Completed,
            Closed { end: ConsultationEnd::Cancelled, .. } => ConsultationState::Cancelled,
            Closed { end: ConsultationEnd::Expired, .. } => ConsultationState::Expired,
            Closed { end: ConsultationEnd::NoShow { .. }, .. } => ConsultationState::NoShow,
            Closed { end: ConsultationEnd::Referred { .. }, .. } => ConsultationState::Referred,
            EnteredInError => ConsultationState::EnteredInError,
        }
    }

    /// Returns when the check-in of a booking opens; none if it is open at any time.
    pub fn check_in_from(&self, policy: &Policy) -> Option<Timestamp> {
        let ConsultationPhase::Booked { .. } = self.phase else { return None };
        self.slot.as_ref().zip(policy.check_in_s).map(|(slot, before)| slot.starts_at.minus_seconds(before))
    }

    /// Whether this role may make this move now.
    fn permits(&self, role: Role, step: ConsultationMove, conditions: Conditions) -> bool {
        use ConsultationPhase::*;
        let Conditions { is_paid: paid, is_check_in_open, has_break_glass } = conditions;
        let is_side = matches!(role, Role::Patient | Role::Doctor);
        let phase = &self.phase;
        match step {
            ConsultationMove::Confirm => {
                matches!(role, Role::Patient | Role::System)
                    && matches!(phase, Requested { .. })
                    && self.slot.is_some()
                    && paid
            }
            ConsultationMove::Reschedule => is_side && matches!(phase, Booked { .. }),
            ConsultationMove::Cancel => match phase {
                Requested { .. } | Booked { .. } => is_side || role == Role::Admin,
                Waiting { .. } => is_side,
                _ => false,
            },
            ConsultationMove::CheckIn => {
                role == Role::Patient
                    && match phase {
                        Booked { .. } => is_check_in_open,
                        Requested { .. } => self.slot.is_none() && paid,
                        _ => false,
                    }
            }
            ConsultationMove::Admit => role == Role::Doctor && matches!(phase, Waiting { .. }),
            ConsultationMove::Enter => role == Role::Patient && matches!(phase, Called { .. }),
            ConsultationMove::PutBack => {
                role == Role::Doctor && matches!(phase, Called { .. } | InProgress { .. } | Interrupted { .. })
            }
            ConsultationMove::Refer => role == Role::Doctor && matches!(phase, InProgress { .. } | Interrupted { .. }),
            ConsultationMove::End => is_side && matches!(phase, InProgress { .. } | Interrupted { .. }),
            ConsultationMove::Complete => role == Role::Doctor && matches!(phase, WrapUp { .. }),
            ConsultationMove::MarkError => role == Role::Admin && matches!(phase, Closed { .. }),
            ConsultationMove::Chat => is_side,
            // The case also allows one call at a time only.
            ConsultationMove::StartCall => is_side && matches!(phase, InProgress { .. } | Interrupted { .. }),
            ConsultationMove::CheckDevices => is_side && !matches!(phase, Closed { .. } | EnteredInError),
            // The case also limits the number of guests.
            ConsultationMove::InviteGuest => is_side && self.state().admits_guests(),
            ConsultationMove::Draft => {
                role == Role::Doctor && matches!(phase, InProgress { .. } | Interrupted { .. } | WrapUp { .. })
            }
            ConsultationMove::Export => is_side || (role == Role::Admin && has_break_glass),
            ConsultationMove::OpenRecord => role == Role::Admin,
        }
    }

    /// Returns the moves that this role may make now.
    pub fn allowed(&self, role: Role, conditions: Conditions) -> Vec<ConsultationMove> {
        ConsultationMove::ALL.into_iter().filter(|step| self.permits(role, *step, conditions)).collect()
    }
}
