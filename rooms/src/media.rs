//! Media of calls: what a call carries, how well it arrived, and what a device check found.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The media that a call starts with or that a device supports, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Media {
    Video,
    Audio,
}

/// The quality of media between two peers, as one of them measured it. Carries no addresses and no content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    pub path: MediaPath,
    pub protocol: MediaProtocol,
    /// Time from joining to the first media, in milliseconds.
    pub setup_ms: u32,
    /// The median round trip, in milliseconds.
    pub round_trip_ms: u32,
    /// Lost packets per thousand, over the whole call.
    #[schemars(range(max = 1000))]
    pub loss_permille: u16,
    /// How long media flowed, in seconds.
    pub lasted_s: u32,
    /// How often media stopped.
    pub interruptions: u16,
    /// The lowest media level that the call fell back to.
    pub lowest: Media,
}

/// Whether media flowed directly or through a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Path")]
pub enum MediaPath {
    Direct,
    Relay,
    /// Media never flowed.
    None,
}

/// The transport of the media, or of the leg to the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Protocol")]
pub enum MediaProtocol {
    Udp,
    Tcp,
    Tls,
    None,
}

/// The result of a device check before a call.
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
    /// The best media that this device can start with; absent if it supports text only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Media>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    Ok,
    Failed,
    /// Not tried: the device or server is absent, or the person skipped the step.
    Skipped,
}
