//! Guests: a relative or an interpreter, who comes by a link for one consultation and sees nothing from before.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::consultation::ConsultationState;
use crate::event::Person;
use crate::id::UserId;
use crate::text::Line;
use crate::time::Timestamp;

/// Guests at a time: with both sides they fill a call.
pub const MAX_GUESTS: usize = 2;
/// Guests that a case ever has.
pub const MAX_INVITED: usize = 20;
/// How long a link is good after the slot, or after the invitation where that is later.
pub const GOOD_FOR: Duration = Duration::from_secs(2 * 3600);

/// What brings a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GuestKind {
    Relative,
    Interpreter,
}

/// Why a guest's part is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DismissReason {
    /// The patient or the doctor took the invitation back.
    Removed,
    /// The link's time was over.
    Expired,
    /// The talk was over.
    Consultation,
}

/// Somebody who was invited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    pub person: Person,
    pub kind: GuestKind,
    /// The link is good until then.
    pub until: Timestamp,
    /// `seq` of the event of coming in, the first that this guest sees; absent before.
    pub entered: Option<u64>,
    /// `seq` of the last event that this guest sees; 0 before coming in.
    pub head: u64,
    pub dismissed: bool,
}

impl Guest {
    /// What `sees` begins behind: nothing is seen before coming in.
    pub fn after(&self) -> u64 {
        self.entered.map_or(u64::MAX, |seq| seq - 1)
    }
}

/// Whether a consultation in this state has guests: until the talk is over.
pub fn welcome(state: ConsultationState) -> bool {
    use ConsultationState::{Booked, Called, InProgress, Interrupted, Requested, Waiting};
    matches!(state, Requested | Booked | Waiting | Called | InProgress | Interrupted)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteGuest {
    pub name: Line,
    pub kind: GuestKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfGuest {
    pub guest: UserId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invited {
    pub guest: Person,
    pub kind: GuestKind,
    pub until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entered {
    pub guest: Person,
    pub kind: GuestKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dismissed {
    pub guest: UserId,
    pub why: DismissReason,
}
