//! The consultation: from the request to the signed note.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
