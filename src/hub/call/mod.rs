//! Calls of one room: the signalling state, and its placement among the nodes.
//!
//! [`RoomCalls`] does no I/O. Its methods return [`Effect`]s, and the room's task carries them out: it sends frames,
//! publishes messages to other nodes and claims the lease. If another node owns the call, this one forwards its
//! sessions' signals there. If that node fails, the lease passes on and the sessions reconnect with what they hold.

pub mod message;
mod placement;
mod session;

use rooms::id::{CallId, UserId};
use rooms::wire::call::{Attach, Attached, CallNotice, CallSignal, Servers};
use rooms::wire::code::Code;
use tokio::time::Instant;
use uuid::Uuid;

use self::message::{CallMessage, CallMessageKind};
use self::placement::Placement;
use self::session::{CallSignaling, OutgoingNotice};
use crate::bus::NodeId;

/// Returns whether a connection of this node is subscribed to the room.
pub type IsLocal<'a> = &'a dyn Fn(Uuid) -> bool;

/// What the room's task does for the calls. Effects for closed connections are dropped.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Send a notice to a connection of this node.
    ToConnection { to: Uuid, call: CallId, notice: CallNotice },
    /// Publish a message to another node.
    ToNode { node: NodeId, connection: Uuid, call: CallId, kind: CallMessageKind },
    /// Answer a connection of this node with an error.
    Reject { to: Uuid, code: Code },
    /// Close a connection of this node, so that its session reconnects and attaches again.
    Close { connection: Uuid },
}

/// The sender of a signal.
#[derive(Clone, Copy, Debug)]
pub struct SignalSource {
    pub connection: Uuid,
    pub user: UserId,
    /// The node of the connection; `None` for this one.
    pub node: Option<NodeId>,
}

/// The room's consent that a person attaches to a call.
#[derive(Clone, Copy, Debug)]
pub struct CallAdmission {
    pub relay_only: bool,
    /// The wall clock, the least value of a new epoch.
    pub clock_ms: u64,
}

/// A lease that must be renewed.
#[derive(Debug)]
pub struct Renewal {
    pub call: CallId,
    pub owner: NodeId,
    /// Connections of this node that are attached to the call.
    pub attached: Vec<Uuid>,
}

/// The calls of one room.
#[derive(Debug)]
pub struct RoomCalls {
    node: NodeId,
    signaling: Option<Box<CallSignaling>>,
    /// `None` without other nodes, or before the first claim.
    placement: Option<Box<Placement>>,
}

impl RoomCalls {
    /// The calls of a room on this `node`.
    pub fn new(node: NodeId) -> Self {
        Self { node, signaling: None, placement: None }
    }

    /// Returns the node that owns the call, if this node has claimed the lease or learned its owner.
    pub fn owner(&self, call: CallId) -> Option<NodeId> {
        self.placement.as_ref().filter(|placement| placement.call() == call).map(|placement| placement.owner())
    }

    /// Applies the answer to a claim: `owner` holds the lease of the call.
    pub fn placed(&mut self, call: CallId, owner: NodeId, now: Instant) -> Vec<Effect> {
        if let Some(placement) = &mut self.placement
            && placement.call() == call
            && placement.owner() == owner
        {
            placement.renewed(now);
            return Vec::new();
        }
        let former = self.placement.replace(Box::new(Placement::new(call, owner, now)));
        if owner != self.node {
            self.signaling = None;
        }
        let Some(former) = former.filter(|former| former.call() == call) else { return Vec::new() };
        tracing::info!(call = %call, %owner, "call signalling moved to another node");
        self.signaling = None;
        former.attached().iter().map(|connection| Effect::Close { connection: *connection }).collect()
    }

    /// Applies a signal to the call, which this node owns. A session can attach only with an admission.
    pub fn apply(
        &mut self,
        source: SignalSource,
        call: CallId,
        signal: CallSignal,
        admission: Option<CallAdmission>,
        now: Instant,
        is_local: IsLocal<'_>,
    ) -> Result<Vec<Effect>, Code> {
        let id = source.connection;
        let outgoing = match signal {
            CallSignal::Attach(attach) => {
                let admission = admission.ok_or(Code::NotInCall)?;
                self.attach(source, call, &attach, admission, now)?
            }
            CallSignal::Detach(_) => {
                let outgoing = self.attached_to(id, call)?.detach(id);
                let mut effects: Vec<Effect> = self.forget(id).into_iter().collect();
                effects.extend(self.address_all(call, outgoing, is_local));
                return Ok(effects);
            }
            CallSignal::Description(sent) => self.attached_to(id, call)?.description(id, sent)?.into_iter().collect(),
            CallSignal::Candidate(sent) => self.attached_to(id, call)?.candidate(id, sent)?.into_iter().collect(),
            CallSignal::Servers(_) => {
                self.attached_to(id, call)?;
                vec![(id, CallNotice::Servers(Servers::default()))]
            }
        };
        Ok(self.address_all(call, outgoing, is_local))
    }

    fn attach(
        &mut self,
        source: SignalSource,
        call: CallId,
        attach: &Attach,
        admission: CallAdmission,
        now: Instant,
    ) -> Result<Vec<OutgoingNotice>, Code> {
        let signaling = match &mut self.signaling {
            Some(signaling) if signaling.call == call => signaling,
            signaling => signaling.insert(Box::new(CallSignaling::new(call, admission.relay_only))),
        };
        let peers = signaling.attach(source.user, source.connection, attach, now, admission.clock_ms)?;
        if let (Some(node), Some(placement)) = (source.node, &mut self.placement) {
            placement.remember_remote(source.connection, node, now);
        }
        // The node of the session fills in the servers.
        let attached = Attached { relay_only: admission.relay_only, servers: Servers::default() };
        Ok(std::iter::once((source.connection, CallNotice::Attached(attached))).chain(peers).collect())
    }

    fn attached_to(&mut self, connection: Uuid, call: CallId) -> Result<&mut CallSignaling, Code> {
        let signaling = self.signaling.as_deref_mut();
        signaling.filter(|it| it.call == call && it.is_attached(connection)).ok_or(Code::NotInCall)
    }

    /// Notes a signal that the owner has received. A session counts as attached before the owner answers: if the answer
    /// is lost, the session attaches again.
    pub fn forwarded(&mut self, connection: Uuid, signal: &CallSignal) {
        let Some(placement) = &mut self.placement else { return };
        match signal {
            CallSignal::Attach(_) => placement.remember(connection),
            CallSignal::Detach(_) => {
                placement.forget(connection);
            }
            CallSignal::Description(_) | CallSignal::Candidate(_) | CallSignal::Servers(_) => {}
        }
    }

    /// Notes that a connection broke, here or on another node.
    pub fn disconnected(&mut self, connection: Uuid, now: Instant, is_local: IsLocal<'_>) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(signaling) = &mut self.signaling {
            let (call, outgoing) = (signaling.call, signaling.disconnected(connection, now));
            effects = self.address_all(call, outgoing, is_local);
        }
        effects.extend(self.forget(connection));
        effects
    }

    /// Forgets a connection, and notifies the owner if that is another node.
    fn forget(&mut self, connection: Uuid) -> Option<Effect> {
        let placement = self.placement.as_mut()?;
        placement.forget_remote(connection);
        let (node, call) = (placement.owner(), placement.call());
        let is_forwarded = placement.forget(connection) && node != self.node;
        is_forwarded.then_some(Effect::ToNode { node, connection, call, kind: CallMessageKind::Disconnected })
    }

    /// Applies a message of another node. [`CallMessageKind::Forward`] has no effect here: its signal goes through
    /// [`apply`](Self::apply).
    pub fn receive(&mut self, from: NodeId, message: CallMessage, now: Instant, is_local: IsLocal<'_>) -> Vec<Effect> {
        let CallMessage { room: _, connection, call, kind } = message;
        match kind {
            CallMessageKind::Forward { .. } => Vec::new(),
            CallMessageKind::Keepalive => {
                let is_known = self.placement.as_mut().is_some_and(|it| it.keep_alive(connection, now));
                // An unknown session must attach again.
                let kind = CallMessageKind::Rejected(Code::Unavailable);
                if is_known { Vec::new() } else { vec![Effect::ToNode { node: from, connection, call, kind }] }
            }
            CallMessageKind::Disconnected => self.disconnected(connection, now, is_local),
            CallMessageKind::Notify(notice) => {
                let is_of_owner = self.owner(call) == Some(from);
                let effect = if is_of_owner { self.address(connection, call, *notice, is_local) } else { None };
                effect.into_iter().collect()
            }
            CallMessageKind::Rejected(code) => {
                if let (Code::NotInCall | Code::MediaTaken, Some(placement)) = (code, &mut self.placement) {
                    placement.forget(connection);
                }
                vec![Effect::Reject { to: connection, code }]
            }
        }
    }

    /// Makes all sessions that are attached across nodes attach again, because messages may have been lost. They state
    /// what they hold and receive the rest.
    pub fn resync(&self) -> Vec<Effect> {
        let Some(placement) = &self.placement else { return Vec::new() };
        let is_attached = |connection| self.signaling.as_ref().is_some_and(|it| it.is_attached(connection));
        let remote = placement.remote_sessions().filter(|(connection, _)| is_attached(*connection));
        let mut effects: Vec<Effect> = remote
            .map(|(connection, node)| {
                let kind = CallMessageKind::Rejected(Code::Unavailable);
                Effect::ToNode { node, connection, call: placement.call(), kind }
            })
            .collect();
        if placement.owner() != self.node {
            effects.extend(placement.attached().iter().map(|to| Effect::Reject { to: *to, code: Code::Unavailable }));
        }
        effects
    }

    /// Removes former members, and everything if the call has ended. `call` is the room's current call.
    pub fn retain_members(&mut self, call: Option<CallId>, is_member: impl Fn(UserId) -> bool) {
        if call.is_none() {
            self.placement = None;
        }
        let Some(signaling) = &mut self.signaling else { return };
        if call == Some(signaling.call) {
            signaling.retain_members(is_member);
        } else {
            self.signaling = None;
        }
    }

    /// Returns when the lease must be renewed next.
    pub fn renew_at(&self) -> Option<Instant> {
        self.placement.as_ref().map(|placement| placement.renew_at())
    }

    /// Returns the lease if it is due for renewal. Drops the placement if no session is attached: the next session that
    /// attaches claims the lease again.
    pub fn start_renewal(&mut self, now: Instant) -> Option<Renewal> {
        let placement = self.placement.as_mut().filter(|placement| placement.renew_at() <= now)?;
        placement.renewed(now);
        if placement.is_unused() {
            self.placement = None;
            return None;
        }
        let attached = placement.attached().to_vec();
        Some(Renewal { call: placement.call(), owner: placement.owner(), attached })
    }

    /// Treats remote sessions without keepalives as disconnected.
    pub fn disconnect_silent(&mut self, now: Instant, is_local: IsLocal<'_>) -> Vec<Effect> {
        let silent = self.placement.as_ref().map_or_else(Vec::new, |placement| placement.silent(now));
        silent.into_iter().flat_map(|connection| self.disconnected(connection, now, is_local)).collect()
    }

    pub fn has_remote_sessions(&self) -> bool {
        self.placement.as_ref().is_some_and(|placement| placement.has_remote_sessions())
    }

    fn address_all(&mut self, call: CallId, outgoing: Vec<OutgoingNotice>, is_local: IsLocal<'_>) -> Vec<Effect> {
        outgoing.into_iter().filter_map(|(to, notice)| self.address(to, call, notice, is_local)).collect()
    }

    /// Addresses a notice to a session, wherever it is connected.
    fn address(&mut self, to: Uuid, call: CallId, notice: CallNotice, is_local: IsLocal<'_>) -> Option<Effect> {
        if !is_local(to) {
            let node = self.placement.as_ref()?.node_of(to)?;
            return Some(Effect::ToNode {
                node,
                connection: to,
                call,
                kind: CallMessageKind::Notify(Box::new(notice)),
            });
        }
        if let Some(placement) = &mut self.placement {
            match &notice {
                CallNotice::Attached(_) => placement.remember(to),
                CallNotice::Taken(_) => {
                    placement.forget(to);
                }
                _ => {}
            }
        }
        Some(Effect::ToConnection { to, call, notice })
    }
}

#[cfg(test)]
mod tests;
