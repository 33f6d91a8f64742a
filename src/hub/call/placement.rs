//! Placement of a call: the node that owns its signalling, and the sessions that are attached across nodes.
//!
//! Ownership is a lease in Redis. This module keeps its local copy; the room's task claims and renews the lease.

use std::time::Duration;

use rooms::id::CallId;
use tokio::time::Instant;
use uuid::Uuid;

use crate::bus::{CALL_LEASE, NodeId};

/// How often the owner renews its lease, and the other nodes send keepalives to the owner.
const RENEW_INTERVAL: Duration = Duration::from_secs(2);
/// Sessions of other nodes in one call.
const MAX_REMOTE_SESSIONS: usize = 64;

/// Where the signalling of a call is.
#[derive(Debug)]
pub struct Placement {
    call: CallId,
    owner: NodeId,
    renew_at: Instant,
    /// Connections of this node that are attached to the call.
    attached: Vec<Uuid>,
    /// Connections of other nodes; empty unless this node is the owner.
    remote: Vec<RemoteSession>,
}

/// A session that is connected to another node.
#[derive(Debug)]
struct RemoteSession {
    connection: Uuid,
    node: NodeId,
    last_seen: Instant,
}

impl Placement {
    pub fn new(call: CallId, owner: NodeId, now: Instant) -> Self {
        Self { call, owner, renew_at: now + RENEW_INTERVAL, attached: Vec::new(), remote: Vec::new() }
    }

    pub fn call(&self) -> CallId {
        self.call
    }

    pub fn owner(&self) -> NodeId {
        self.owner
    }

    pub fn renew_at(&self) -> Instant {
        self.renew_at
    }

    pub fn renewed(&mut self, now: Instant) {
        self.renew_at = now + RENEW_INTERVAL;
    }

    pub fn is_unused(&self) -> bool {
        self.attached.is_empty() && self.remote.is_empty()
    }

    pub fn attached(&self) -> &[Uuid] {
        &self.attached
    }

    pub fn remember(&mut self, connection: Uuid) {
        if !self.attached.contains(&connection) {
            self.attached.push(connection);
        }
    }

    /// Returns whether the connection was attached.
    pub fn forget(&mut self, connection: Uuid) -> bool {
        let before = self.attached.len();
        self.attached.retain(|attached| *attached != connection);
        self.attached.len() < before
    }

    /// Remembers the node of a session that has attached from there.
    pub fn remember_remote(&mut self, connection: Uuid, node: NodeId, now: Instant) {
        self.forget_remote(connection);
        if self.remote.len() < MAX_REMOTE_SESSIONS {
            self.remote.push(RemoteSession { connection, node, last_seen: now });
        }
    }

    pub fn forget_remote(&mut self, connection: Uuid) {
        self.remote.retain(|session| session.connection != connection);
    }

    pub fn has_remote_sessions(&self) -> bool {
        !self.remote.is_empty()
    }

    pub fn remote_sessions(&self) -> impl Iterator<Item = (Uuid, NodeId)> {
        self.remote.iter().map(|session| (session.connection, session.node))
    }

    /// Returns the node of a remote session.
    pub fn node_of(&self, connection: Uuid) -> Option<NodeId> {
        self.remote_sessions().find(|(known, _)| *known == connection).map(|(_, node)| node)
    }

    /// Extends a remote session's life. Returns `false` if the session is unknown.
    pub fn keep_alive(&mut self, connection: Uuid, now: Instant) -> bool {
        let known = self.remote.iter_mut().find(|session| session.connection == connection);
        known.map(|session| session.last_seen = now).is_some()
    }

    /// Returns the remote sessions without a keepalive for longer than a lease.
    pub fn silent(&self, now: Instant) -> Vec<Uuid> {
        let silent = self.remote.iter().filter(|session| session.last_seen + CALL_LEASE < now);
        silent.map(|session| session.connection).collect()
    }
}
