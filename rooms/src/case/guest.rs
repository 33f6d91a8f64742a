//! Guests: relatives and interpreters. A link admits a guest to one consultation; earlier events stay hidden.

use std::time::Duration;

use crate::event::GuestInvited;
use crate::party::{GuestKind, Person};
use crate::time::Timestamp;

/// The most guests at a time: with both sides they fill a call.
pub const MAX_GUESTS: usize = 2;
/// The most guests that a case ever invites.
pub const MAX_INVITATIONS: usize = 20;
/// How long a link stays valid after the slot ends, or after the invitation if that is later.
pub const LINK_VALIDITY: Duration = Duration::from_secs(2 * 3600);

/// An invited guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    pub person: Person,
    pub kind: GuestKind,
    /// When the link expires.
    pub until: Timestamp,
    /// `seq` of the guest's entry, the first event that they see; absent before.
    pub entered: Option<u64>,
    /// `seq` of the last event that this guest sees; 0 before they entered.
    pub head: u64,
    pub dismissed: bool,
}

impl Guest {
    /// Creates a guest who has not entered yet.
    pub fn invited(invited: &GuestInvited) -> Self {
        Self {
            person: invited.guest.clone(),
            kind: invited.kind,
            until: invited.until,
            entered: None,
            head: 0,
            dismissed: false,
        }
    }

    /// Returns the `seq` after which this guest's view begins. A guest who has not entered sees nothing.
    pub fn after(&self) -> u64 {
        self.entered.map_or(u64::MAX, |seq| seq - 1)
    }
}
