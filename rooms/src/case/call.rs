//! The call: its members, whether their media flows, and how it ends.
//!
//! Media flows from peer to peer and never through the engine. Signalling, by which the peers find each other, is the
//! server's task and leaves no trace in the log.

use crate::event::CallStarted;
use crate::id::{CallId, UserId};
use crate::media::Media;
use crate::role::Role;
use crate::state::CallState;
use crate::time::Timestamp;

/// The most members of one call. The calls are a full mesh: each member sends to every other.
pub const MAX_MEMBERS: usize = 4;
/// The most media changes that one call records.
pub const MAX_MEDIA_CHANGES: u16 = 200;
/// The most quality reports that one call records.
pub const MAX_REPORTS: u8 = 16;

/// The latest call of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub id: CallId,
    /// `seq` of the last event that changed it.
    pub version: u64,
    pub media: Media,
    /// The caller.
    pub by: UserId,
    /// Everybody who ever joined; at most [`MAX_MEMBERS`].
    pub members: Vec<Member>,
    pub stage: CallStage,
    /// Media changes so far.
    pub changes: u16,
    /// Quality reports so far.
    pub reports: u8,
}

/// A person who joined the call, now or earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub user: UserId,
    /// Neither the patient nor the doctor.
    pub guest: bool,
    /// In the call now.
    pub present: bool,
    /// Sends and receives media.
    pub connected: bool,
}

/// The stages of a call, each with the data that exists in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallStage {
    Ringing {
        until: Timestamp,
    },
    /// `was_connected`: all members had media at the same time once.
    Answered {
        since: Timestamp,
        was_connected: bool,
    },
    Ended,
}

/// The moves of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallMove {
    Join,
    Decline,
    Leave,
    Media,
}

impl CallMove {
    pub const ALL: [CallMove; 4] = [CallMove::Join, CallMove::Decline, CallMove::Leave, CallMove::Media];

    /// The kind of the command that makes the move.
    pub fn as_str(self) -> &'static str {
        match self {
            CallMove::Join => "call.join",
            CallMove::Decline => "call.decline",
            CallMove::Leave => "call.leave",
            CallMove::Media => "call.media",
        }
    }
}

impl Call {
    /// Creates a ringing call. The caller is its first member.
    pub fn start(started: &CallStarted, seq: u64) -> Self {
        Self {
            id: started.call,
            version: seq,
            media: started.media,
            by: started.by,
            members: vec![Member { user: started.by, guest: false, present: true, connected: false }],
            stage: CallStage::Ringing { until: started.until },
            changes: 0,
            reports: 0,
        }
    }

    pub fn state(&self) -> CallState {
        match self.stage {
            CallStage::Ringing { .. } => CallState::Ringing,
            CallStage::Answered { .. } if self.all_connected() => CallState::Connected,
            CallStage::Answered { was_connected: true, .. } => CallState::Reconnecting,
            CallStage::Answered { was_connected: false, .. } => CallState::Connecting,
            CallStage::Ended => CallState::Ended,
        }
    }

    /// Whether the call has not ended.
    pub fn is_active(&self) -> bool {
        self.stage != CallStage::Ended
    }

    /// Whether this person is in the call now.
    pub fn has_present(&self, user: UserId) -> bool {
        self.is_active() && self.members.iter().any(|member| member.user == user && member.present)
    }

    /// Whether this person ever joined.
    pub fn has_member(&self, user: UserId) -> bool {
        self.members.iter().any(|member| member.user == user)
    }

    /// Returns the members who are in the call now.
    pub fn present_members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.present)
    }

    /// Returns when the ringing ends.
    pub fn deadline(&self) -> Option<Timestamp> {
        match self.stage {
            CallStage::Ringing { until } => Some(until),
            CallStage::Answered { .. } | CallStage::Ended => None,
        }
    }

    /// Returns how long the call has had two or more members, in seconds.
    pub fn lasted_s(&self, now: Timestamp) -> u32 {
        match self.stage {
            CallStage::Answered { since, .. } => u32::try_from(now.since(since).as_secs()).unwrap_or(u32::MAX),
            CallStage::Ringing { .. } | CallStage::Ended => 0,
        }
    }

    /// Whether `user` can make this move now, whatever their role.
    fn permits(&self, user: UserId, call_move: CallMove) -> bool {
        match call_move {
            CallMove::Join => {
                self.is_active()
                    && !self.has_present(user)
                    && (self.has_member(user) || self.members.len() < MAX_MEMBERS)
            }
            CallMove::Decline => matches!(self.stage, CallStage::Ringing { .. }) && !self.has_present(user),
            CallMove::Leave => self.has_present(user),
            CallMove::Media => matches!(self.stage, CallStage::Answered { .. }) && self.has_present(user),
        }
    }

    /// Returns the moves that `user` may make now. Guests may only move once the call is answered.
    pub fn allowed(&self, role: Role, user: UserId) -> Vec<CallMove> {
        let admitted = match role {
            Role::Patient | Role::Doctor => true,
            Role::Guest => matches!(self.stage, CallStage::Answered { .. }),
            Role::Pharmacist | Role::Courier | Role::Admin | Role::Support | Role::System => false,
        };
        CallMove::ALL.into_iter().filter(|call_move| admitted && self.permits(user, *call_move)).collect()
    }

    fn all_connected(&self) -> bool {
        self.present_members().count() > 1 && self.present_members().all(|member| member.connected)
    }

    /// Applies a join. The second member ends the ringing.
    pub fn apply_joined(&mut self, user: UserId, guest: bool, at: Timestamp, seq: u64) {
        let member = Member { user, guest, present: true, connected: false };
        match self.members.iter_mut().find(|member| member.user == user) {
            Some(known) => *known = member,
            None => self.members.push(member),
        }
        if matches!(self.stage, CallStage::Ringing { .. }) {
            self.stage = CallStage::Answered { since: at, was_connected: false };
        }
        self.version = seq;
    }

    /// Applies a departure.
    pub fn apply_left(&mut self, user: UserId, seq: u64) {
        for member in self.members.iter_mut().filter(|member| member.user == user) {
            (member.present, member.connected) = (false, false);
        }
        self.version = seq;
    }

    /// Applies a change of a member's media.
    pub fn apply_media(&mut self, user: UserId, connected: bool, seq: u64) {
        for member in self.members.iter_mut().filter(|member| member.user == user) {
            member.connected = connected;
        }
        if self.all_connected()
            && let CallStage::Answered { was_connected, .. } = &mut self.stage
        {
            *was_connected = true;
        }
        self.changes = self.changes.saturating_add(1);
        self.version = seq;
    }

    /// Applies the end.
    pub fn apply_ended(&mut self, seq: u64) {
        self.stage = CallStage::Ended;
        self.version = seq;
    }
}
