//! Messages about a call between the node that owns its signalling and the nodes that its sessions are connected to.

use rooms::id::{CallId, RoomId, UserId};
use rooms::wire::call::{CallNotice, CallSignal};
use rooms::wire::code::Code;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A message to one node about one session of a call.
#[derive(Debug, Serialize, Deserialize)]
pub struct CallMessage {
    pub room: RoomId,
    /// The session's connection.
    pub connection: Uuid,
    pub call: CallId,
    pub kind: CallMessageKind,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallMessageKind {
    /// To the owner: the session sent this signal.
    Forward { user: UserId, signal: Box<CallSignal> },
    /// To the owner: the session is still connected.
    Keepalive,
    /// To the owner: the session's connection broke.
    Disconnected,
    /// From the owner: deliver this notice to the session.
    Notify(Box<CallNotice>),
    /// From the owner: the session's signal was rejected.
    Rejected(Code),
}
