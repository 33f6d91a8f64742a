//! Why a command was not carried out. A refusal changes nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The engine's closed list of reasons.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The role, or the actor's part in this case, does not allow it. Also said of rooms the actor has no part in.
    #[error("your part in this case does not allow this")]
    Forbidden,
    /// The named slot, doctor, pharmacy, courier, prescription, dispensing or delivery does not exist here.
    #[error("there is no such {0}")]
    NoSuch(&'static str),
    /// The present state does not allow it.
    #[error("not possible while {subject} is {state}; possible now: {}", listed(allowed))]
    Illegal {
        subject: &'static str,
        /// The present state.
        state: String,
        /// The moves that are possible now for this actor.
        allowed: Vec<String>,
    },
    /// The sender saw an older version than the present one.
    #[error("{subject} has changed: it is {state}, version {version}; look again and repeat if it still applies")]
    Stale { subject: &'static str, state: String, version: u64, allowed: Vec<String> },
    /// A field's value breaks a rule. Says which and why, never the value.
    #[error("{field}: {why}")]
    Invalid { field: &'static str, why: &'static str },
    /// The slot is held or booked by somebody else.
    #[error("this slot is no longer free; choose another")]
    SlotTaken,
    /// The room has reached its greatest number of events.
    #[error("this room is full; no more than {max} events are kept in one room")]
    RoomFull { max: u64 },
}

fn listed(allowed: &[String]) -> String {
    if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") }
}

/// What a refusal adds to its code and its sentence, for programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Detail {
    /// The present state of what the command was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Its present version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The moves that are possible now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<String>,
    /// The field that breaks a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// When it makes sense to try again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}
