//! Refusals: why the engine rejects a command. A refused command changes nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::RoomId;
use crate::time::Timestamp;

/// The engine's closed list of reasons.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The actor's role, or their part in this case, does not allow it. Also hides rooms that the actor has no part in.
    #[error("your part in this case does not allow this")]
    Forbidden,
    /// The slot, doctor, pharmacy, courier, prescription, dispensing or delivery that the command names does not exist.
    #[error("there is no such {0}")]
    NoSuch(&'static str),
    /// The current state does not allow it.
    #[error("not possible while {subject} is {state}; possible now: {}", listed(allowed))]
    Illegal {
        subject: &'static str,
        /// The current state.
        state: String,
        /// The moves that the actor may make now.
        allowed: Vec<String>,
    },
    /// The sender saw an older version than the current one.
    #[error(
        "{subject} has changed: it is {state}, version {version}; fetch it and repeat if the command still applies"
    )]
    Stale { subject: &'static str, state: String, version: u64, allowed: Vec<String> },
    /// A field breaks a rule. `why` completes the sentence that begins with the field's name, and never quotes its value.
    #[error("{field} {why}")]
    Invalid { field: &'static str, why: &'static str },
    /// Somebody else holds or booked the slot.
    #[error("this slot is no longer free; book another slot")]
    SlotTaken,
    /// The patient holds as many slots as one may.
    #[error("you hold {max} slots already; confirm or cancel one of them first")]
    TooManyHolds { max: u32 },
    /// The patient has as many bookings, or waits with as many doctors, as one may.
    #[error("you have {max} open bookings already; cancel one of them first")]
    TooManyBookings { max: u32 },
    /// The patient has another booking at that time.
    #[error("you have another booking at that time; cancel or reschedule it, or book another slot")]
    BookingOverlap { room: RoomId },
    /// The patient waits with this doctor already.
    #[error("you wait with this doctor already; go back to that consultation")]
    AlreadyWaiting { room: RoomId },
    /// The doctor is not connected, so nobody would see who waits.
    #[error("the doctor is not here now; book a slot")]
    DoctorAway,
    /// The patient checks in before the check-in opens.
    #[error("check-in opens at {opens_at}")]
    TooEarly { opens_at: Timestamp },
    /// The room has no space left except for closing, cancelling, exporting and break-glass.
    #[error("this room is full: after {max} events it can only be closed, cancelled, exported or opened for reading")]
    RoomFull { max: u64 },
    /// The actor has used up what one person may write in this room.
    #[error("you have reached the maximum of {max} {what} in this room; you can still close and cancel")]
    BudgetSpent { what: &'static str, max: u64 },
}

impl Refusal {
    /// Checks that a move carries `field` exactly if the move's target needs it.
    pub(crate) fn require(present: bool, needed: bool, field: &'static str) -> Result<(), Refusal> {
        match (present, needed) {
            (true, true) | (false, false) => Ok(()),
            (false, true) => Err(Refusal::Invalid { field, why: "is required for this move" }),
            (true, false) => Err(Refusal::Invalid { field, why: "does not belong to this move" }),
        }
    }
}

fn listed(allowed: &[String]) -> String {
    if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") }
}

/// The machine-readable part of a refusal, beside its code and sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Detail {
    /// The current state of the command's subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The current version of the command's subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The moves that are possible now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<String>,
    /// The field that breaks a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The caller's consultation that stands against the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomId>,
    /// When the command becomes possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens_at: Option<Timestamp>,
    /// How long to wait before the next try, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}
