//! The call: who rings, who is in it, whether they see and hear each other, and why it ended.
//!
//! Media goes from peer to peer and never passes here; how the peers find each other is in [`wire::call`](crate::wire::call)
//! and leaves no trace in the log.

mod words;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::words::{
    Cause, Check, Checked, Connected, EndReason, Ended, Finding, Interrupted, Joined, LeaveCall, LeaveReason, Left,
    Media, MediaChange, OfCall, Path, Protocol, Quality, ReportCall, Reported, StartCall, Started,
};
use crate::id::{CallId, UserId};
use crate::role::Role;
use crate::time::Timestamp;

/// The greatest number of people in one call: each sends to each.
pub const MAX_MEMBERS: usize = 4;
/// How often the media of one call may come and go until it is no longer written down.
pub const MAX_CHANGES: u16 = 200;
/// How many reports on its quality one call may have.
pub const MAX_REPORTS: u8 = 16;

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    Ringing,
    Connecting,
    Connected,
    Reconnecting,
    Ended,
}

impl CallState {
    /// Every state, in the order of the field's diagram.
    pub const ALL: [CallState; 5] =
        [CallState::Ringing, CallState::Connecting, CallState::Connected, CallState::Reconnecting, CallState::Ended];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            CallState::Ringing => "ringing",
            CallState::Connecting => "connecting",
            CallState::Connected => "connected",
            CallState::Reconnecting => "reconnecting",
            CallState::Ended => "ended",
        }
    }
}

/// The latest call of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub id: CallId,
    /// `seq` of the last event that changed it.
    pub version: u64,
    pub media: Media,
    /// Who rang.
    pub by: UserId,
    /// Everybody who ever was in it; at most [`MAX_MEMBERS`].
    pub members: Vec<Member>,
    pub stage: Stage,
    pub changes: u16,
    pub reports: u8,
}

/// Somebody's part in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub user: UserId,
    /// Neither the patient nor the doctor.
    pub guest: bool,
    /// In it now.
    pub here: bool,
    /// Sends and gets media.
    pub up: bool,
}

/// Each stage with the data that exists in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Ringing {
        until: Timestamp,
    },
    /// `was_up`: everybody had media at some time.
    Talking {
        since: Timestamp,
        was_up: bool,
    },
    Ended,
}

/// What can be asked of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallStep {
    Join,
    Decline,
    Leave,
    Media,
}

impl CallStep {
    pub const ALL: [CallStep; 4] = [CallStep::Join, CallStep::Decline, CallStep::Leave, CallStep::Media];

    /// The command's kind.
    pub fn key(self) -> &'static str {
        match self {
            CallStep::Join => "call.join",
            CallStep::Decline => "call.decline",
            CallStep::Leave => "call.leave",
            CallStep::Media => "call.media",
        }
    }
}

impl Call {
    /// A call that begins to ring; who rings is in it.
    pub fn ring(id: CallId, media: Media, by: UserId, until: Timestamp, seq: u64) -> Self {
        let members = vec![Member { user: by, guest: false, here: true, up: false }];
        Self { id, version: seq, media, by, members, stage: Stage::Ringing { until }, changes: 0, reports: 0 }
    }

    pub fn state(&self) -> CallState {
        match self.stage {
            Stage::Ringing { .. } => CallState::Ringing,
            Stage::Talking { .. } if self.all_up() => CallState::Connected,
            Stage::Talking { was_up: true, .. } => CallState::Reconnecting,
            Stage::Talking { was_up: false, .. } => CallState::Connecting,
            Stage::Ended => CallState::Ended,
        }
    }

    /// Whether it rings or goes on.
    pub fn active(&self) -> bool {
        self.stage != Stage::Ended
    }

    /// Whether this person is in it now.
    pub fn has(&self, user: UserId) -> bool {
        self.active() && self.members.iter().any(|member| member.user == user && member.here)
    }

    /// Whether this person ever was in it.
    pub fn had(&self, user: UserId) -> bool {
        self.members.iter().any(|member| member.user == user)
    }

    /// Who is in it now.
    pub fn present(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.here)
    }

    /// The end of the ringing.
    pub fn deadline(&self) -> Option<Timestamp> {
        match self.stage {
            Stage::Ringing { until } => Some(until),
            Stage::Talking { .. } | Stage::Ended => None,
        }
    }

    /// How long two or more have been in it, in seconds.
    pub fn lasted_s(&self, now: Timestamp) -> u32 {
        match self.stage {
            Stage::Talking { since, .. } => u32::try_from(now.since(since).as_secs()).unwrap_or(u32::MAX),
            Stage::Ringing { .. } | Stage::Ended => 0,
        }
    }

    /// Whether `user` may take this step now.
    pub fn possible(&self, user: UserId, step: CallStep) -> bool {
        match step {
            CallStep::Join => self.active() && !self.has(user) && (self.had(user) || self.members.len() < MAX_MEMBERS),
            CallStep::Decline => matches!(self.stage, Stage::Ringing { .. }) && !self.has(user),
            CallStep::Leave => self.has(user),
            CallStep::Media => matches!(self.stage, Stage::Talking { .. }) && self.has(user),
        }
    }

    /// What `user`, in this role, may do now: the two sides of a consultation, and guests once the two talk.
    pub fn allowed(&self, role: Role, user: UserId) -> Vec<String> {
        let open = match role {
            Role::Patient | Role::Doctor => true,
            Role::Guest => matches!(self.stage, Stage::Talking { .. }),
            Role::Pharmacist | Role::Courier | Role::Admin | Role::Support | Role::System => false,
        };
        let steps = CallStep::ALL.into_iter().filter(|step| open && self.possible(user, *step));
        steps.map(|step| step.key().to_owned()).collect()
    }

    fn all_up(&self) -> bool {
        self.present().count() > 1 && self.present().all(|member| member.up)
    }

    /// Somebody came; the second one ends the ringing.
    pub fn joined(&mut self, user: UserId, guest: bool, at: Timestamp, seq: u64) {
        let member = Member { user, guest, here: true, up: false };
        match self.members.iter_mut().find(|member| member.user == user) {
            Some(known) => *known = member,
            None => self.members.push(member),
        }
        if matches!(self.stage, Stage::Ringing { .. }) {
            self.stage = Stage::Talking { since: at, was_up: false };
        }
        self.version = seq;
    }

    pub fn left(&mut self, user: UserId, seq: u64) {
        for member in self.members.iter_mut().filter(|member| member.user == user) {
            (member.here, member.up) = (false, false);
        }
        self.version = seq;
    }

    /// Somebody's media came or went.
    pub fn media(&mut self, user: UserId, up: bool, seq: u64) {
        for member in self.members.iter_mut().filter(|member| member.user == user) {
            member.up = up;
        }
        if self.all_up()
            && let Stage::Talking { was_up, .. } = &mut self.stage
        {
            *was_up = true;
        }
        self.changes = self.changes.saturating_add(1);
        self.version = seq;
    }

    pub fn ended(&mut self, seq: u64) {
        self.stage = Stage::Ended;
        self.version = seq;
    }
}
