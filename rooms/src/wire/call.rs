//! Call signalling: relayed between the sessions of a call, never logged.
//!
//! A person may have several sessions. One of them at a time is the media owner, which holds camera and microphone and is
//! attached to the call. Each pair of attached sessions has an *epoch*: a number that the hub changes whenever the pair must
//! build a new peer connection. The hub drops messages from other epochs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::command::Nothing;
use crate::id::UserId;
use crate::sdp::{Candidate, Sdp};
use crate::text::Text;
use crate::time::Timestamp;

/// A signal from a session in a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case", deny_unknown_fields)]
pub enum CallSignal {
    /// Makes this session the media owner, or restores it after a reconnect.
    Attach(Attach),
    /// Releases camera and microphone; the session stays in the room.
    Detach(Nothing),
    Description(SendDescription),
    Candidate(SendCandidate),
    /// Requests STUN and TURN servers with fresh credentials.
    Servers(Nothing),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// A random id that the page draws when it loads. Tells a reconnected session from another session of the same person.
    pub device: Uuid,
    /// Takes camera and microphone over from another session of the same person.
    #[serde(default)]
    pub take: bool,
    /// The peer connections that this session still has; at most 3.
    #[serde(default)]
    #[schemars(length(max = 3))]
    pub held: Vec<Held>,
}

/// A peer connection that outlived its session's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Held {
    pub peer: UserId,
    pub epoch: u64,
    /// The `n` of the last message received from that peer. The hub sends later ones again.
    pub got: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SendDescription {
    pub to: UserId,
    pub epoch: u64,
    pub description: Description,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SendCandidate {
    pub to: UserId,
    pub epoch: u64,
    pub candidate: IceCandidate,
}

/// Offer or answer (RFC 8829), at most 32 KiB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Description {
    #[serde(rename = "type")]
    pub kind: DescriptionKind,
    pub sdp: Sdp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DescriptionKind {
    Offer,
    Answer,
}

/// A candidate as a browser produces it. An empty `candidate` marks the end of candidates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IceCandidate {
    pub candidate: Candidate,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdp_mid: Option<Text<64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdp_m_line_index: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_fragment: Option<Text<256>>,
}

/// A notice from the hub to a session in a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum CallNotice {
    /// The answer to `attach`. A `peer` for each other attached session follows.
    Attached(Attached),
    /// Connect to this person's session, or restore the connection to it.
    Peer(Peer),
    /// This person's session lost its connection to the hub. Media may continue.
    Away {
        user: UserId,
    },
    /// Another session of yours is the media owner now.
    Taken(Nothing),
    Description {
        from: UserId,
        epoch: u64,
        /// Numbers this peer's messages in this epoch; the client returns it as `held.got`.
        n: u64,
        description: Description,
    },
    Candidate {
        from: UserId,
        epoch: u64,
        n: u64,
        candidate: IceCandidate,
    },
    Servers(Servers),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attached {
    /// Whether to use relay candidates only; the hub drops all others.
    pub relay_only: bool,
    #[serde(flatten)]
    pub servers: Servers,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    pub user: UserId,
    pub epoch: u64,
    /// Whether this side yields when offers collide: the polite side rolls back its own offer.
    pub polite: bool,
    /// True: both sides still have the peer connection of this epoch, and the impolite side restarts ICE. False: both
    /// build a new one, and the impolite side sends the offer.
    pub resumed: bool,
}

/// STUN and TURN servers, in the form of a browser's `RTCConfiguration.iceServers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Servers {
    pub ice_servers: Vec<IceServer>,
    /// When the credentials expire; request `servers` before. Absent without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IceServer {
    pub urls: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// Omits the credential.
impl std::fmt::Debug for IceServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceServer").field("urls", &self.urls).finish_non_exhaustive()
    }
}
