//! What is said of calls, in commands and events.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{CallId, UserId};
use crate::time::Timestamp;

/// The ladder: what a call begins with, or a device is fit for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Media {
    Video,
    Audio,
}

/// Why somebody left a call that goes on or ends with that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeaveReason {
    Hangup,
    /// No way between the two networks was found.
    IceFailed,
    /// Camera or microphone cannot be used.
    Device,
}

/// Why a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    Hangup,
    IceFailed,
    Device,
    Declined,
    /// Nobody answered while it rang.
    Missed,
    /// The consultation ended or went on elsewhere.
    Consultation,
}

impl From<LeaveReason> for EndReason {
    fn from(why: LeaveReason) -> Self {
        match why {
            LeaveReason::Hangup => EndReason::Hangup,
            LeaveReason::IceFailed => EndReason::IceFailed,
            LeaveReason::Device => EndReason::Device,
        }
    }
}

/// What is thought to have interrupted the media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The way between the peers broke.
    Network,
    /// The own camera or microphone was taken away.
    Device,
    Unknown,
}

/// How the media went, between two peers and as one of them measured it. No address and no content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    pub path: Path,
    pub protocol: Protocol,
    /// From joining to the first media, in milliseconds.
    pub setup_ms: u32,
    /// The median round trip, in milliseconds.
    pub round_trip_ms: u32,
    /// Packets lost of a thousand received, over the whole call.
    #[schemars(range(max = 1000))]
    pub loss_permille: u16,
    /// How long media flowed, in seconds.
    pub lasted_s: u32,
    /// How often it broke off.
    pub interruptions: u16,
    /// The lowest step of the ladder that was needed.
    pub lowest: Media,
}

/// Whether the media took the direct way, or one over a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    Direct,
    Relay,
    /// It never flowed.
    None,
}

/// What carried the media, or the way to the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    Udp,
    Tcp,
    Tls,
    None,
}

/// What a check before the call found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    pub camera: Finding,
    pub microphone: Finding,
    pub speaker: Finding,
    /// The connection to the hub.
    pub socket: Finding,
    pub stun: Finding,
    pub turn_udp: Finding,
    pub turn_tcp: Finding,
    /// The step of the ladder that this device can begin with; absent when it can only write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Media>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    Ok,
    Failed,
    /// Not tried: there is no such device or server, or the person skipped it.
    Skipped,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartCall {
    pub media: Media,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfCall {
    pub call: CallId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaveCall {
    pub call: CallId,
    pub why: LeaveReason,
}

/// The sender's media came or went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MediaChange {
    pub call: CallId,
    pub connected: bool,
    /// Needed when it went, and only then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportCall {
    pub call: CallId,
    /// The person at the other end.
    pub peer: UserId,
    pub quality: Quality,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Started {
    pub call: CallId,
    pub by: UserId,
    pub media: Media,
    /// It rings until then.
    pub until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Joined {
    pub call: CallId,
    pub user: UserId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Left {
    pub call: CallId,
    pub user: UserId,
    pub why: LeaveReason,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Connected {
    pub call: CallId,
    pub user: UserId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Interrupted {
    pub call: CallId,
    pub user: UserId,
    pub cause: Cause,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    pub call: CallId,
    pub why: EndReason,
    /// How long two or more were in it, in seconds.
    pub lasted_s: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reported {
    pub call: CallId,
    pub user: UserId,
    pub peer: UserId,
    pub quality: Quality,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Checked {
    pub user: UserId,
    pub check: Check,
}
