//! How the sessions in a call find each other: relayed between them, never stored in the log.
//!
//! A person may have several sessions; one of them at a time owns camera and microphone, and only that one is attached to
//! the call. Each pair of attached sessions has an *epoch*: a number that the hub draws anew whenever the two must build
//! their peer connection anew. What was sent in another epoch is dropped.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::command::Nothing;
use crate::id::UserId;
use crate::sdp::{Candidate, Sdp};
use crate::text::Text;
use crate::time::Timestamp;

/// What a session in a call may send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case", deny_unknown_fields)]
pub enum CallSignal {
    /// This session owns camera and microphone from now on, or is back after its connection broke.
    Attach(Attach),
    /// It gives them up, and stays a listener of the room.
    Detach(Nothing),
    Description(SendDescription),
    Candidate(SendCandidate),
    /// Asks for STUN and TURN servers with fresh credentials.
    Servers(Nothing),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// Drawn by the page when it is loaded: tells a session that is back from another one of the same person.
    pub device: Uuid,
    /// Takes camera and microphone from another session of the same person.
    #[serde(default)]
    pub take: bool,
    /// The peer connections that this session still has; at most 3.
    #[serde(default)]
    #[schemars(length(max = 3))]
    pub held: Vec<Held>,
}

/// A peer connection that outlived a broken socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Held {
    pub peer: UserId,
    pub epoch: u64,
    /// The `n` of the last message from that peer; what came after it is sent again.
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

/// A candidate as a browser gives it; an empty `candidate` says that there are no more.
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

/// What the hub tells a session in a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum CallNotice {
    /// The answer to `attach`; a `peer` for each other attached session follows.
    Attached(Attached),
    /// Connect to this person's session, or mend the connection to it.
    Peer(Peer),
    /// The session of this person has lost its connection to the hub. Media may go on.
    Away {
        user: UserId,
    },
    /// Another session of yours owns camera and microphone now.
    Taken(Nothing),
    Description {
        from: UserId,
        epoch: u64,
        /// Numbers what this peer sent in this epoch; goes into `held.got`.
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
    /// Whether only candidates of relays may be used: the hub drops all others.
    pub relay_only: bool,
    #[serde(flatten)]
    pub servers: Servers,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    pub user: UserId,
    pub epoch: u64,
    /// Who gives way when both offer at once: the polite side takes its own offer back.
    pub polite: bool,
    /// True: the peer connection of this epoch is still there on both sides; the side that is not polite restarts ICE.
    /// False: both build a new one, and the side that is not polite offers.
    pub resumed: bool,
}

/// STUN and TURN servers, as a browser's `RTCConfiguration.iceServers` has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Servers {
    pub ice_servers: Vec<IceServer>,
    /// When the credentials end; ask for `servers` before. Absent without credentials.
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

/// Without the credential.
impl std::fmt::Debug for IceServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceServer").field("urls", &self.urls).finish_non_exhaustive()
    }
}
