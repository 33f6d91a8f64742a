//! Events of guests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::UserId;
use crate::party::{GuestKind, Person};
use crate::reason::DismissReason;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Invited")]
pub struct GuestInvited {
    pub guest: Person,
    pub kind: GuestKind,
    pub until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Entered")]
pub struct GuestEntered {
    pub guest: Person,
    pub kind: GuestKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Dismissed")]
pub struct GuestDismissed {
    pub guest: UserId,
    pub why: DismissReason,
}
