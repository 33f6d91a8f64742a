//! The task's part in calls: checks membership, claims the lease, forwards to the owner, and carries out effects.
//!
//! What the signals mean is decided by [`RoomCalls`](crate::hub::call::RoomCalls), which does no I/O.

use std::sync::Arc;

use rooms::id::{CallId, UserId};
use rooms::refusal::Detail;
use rooms::wire::call::{CallNotice, CallSignal};
use rooms::wire::close::Close;
use rooms::wire::code::Code;
use rooms::wire::server::{ErrorFrame, ServerFrame};
use tokio::time::Instant;
use uuid::Uuid;

use super::task::RoomTask;
use crate::bus::{BusError, Channel, NodeId};
use crate::hub::call::message::{CallMessage, CallMessageKind};
use crate::hub::call::{CallAdmission, Effect, SignalSource};
use crate::hub::cluster::message;
use crate::hub::connection::Connection;

impl RoomTask {
    /// Takes a signal of a session of this node. Errors go to that session alone.
    pub(super) async fn call_signal(&mut self, connection: &Arc<Connection>, call: CallId, signal: CallSignal) {
        let is_subscribed = self.subscribers.connection(connection.id).is_some();
        let result = match self.call_owner(call).await {
            _ if !is_subscribed => Err(Code::NotInCall),
            Ok(None) => self.apply_call_signal(local_source(connection), call, signal).await,
            Ok(Some(node)) => self.forward_call_signal(node, connection, call, signal).await,
            Err(BusError) => Err(Code::Unavailable),
        };
        if let Err(code) = result {
            self.reject_call_signal(connection, code);
        }
    }

    /// Returns the node that owns the call; `None` if it is this one. Claims the lease if the owner is not known.
    async fn call_owner(&mut self, call: CallId) -> Result<Option<NodeId>, BusError> {
        if !self.hub.bus.is_shared() {
            return Ok(None);
        }
        let owner = match self.calls.owner(call) {
            Some(owner) => owner,
            None => self.claim_call(call, None).await?,
        };
        Ok((owner != self.hub.bus.node()).then_some(owner))
    }

    /// Claims or renews the lease, also from a node that is known to be `dead`. Returns its owner.
    async fn claim_call(&mut self, call: CallId, dead: Option<NodeId>) -> Result<NodeId, BusError> {
        let owner = self.hub.bus.claim(self.id, dead).await?;
        let effects = self.calls.placed(call, owner, Instant::now());
        self.carry_out(effects);
        Ok(owner)
    }

    /// Applies a signal to the call, which this node owns.
    async fn apply_call_signal(&mut self, source: SignalSource, call: CallId, signal: CallSignal) -> Result<(), Code> {
        self.load().await.map_err(|_| Code::Unavailable)?;
        let admission = match &signal {
            CallSignal::Attach(_) => Some(self.admit(source.user, call).await?),
            _ => None,
        };
        let subscribers = &self.subscribers;
        let is_local = |id| subscribers.connection(id).is_some();
        let effects = self.calls.apply(source, call, signal, admission, Instant::now(), &is_local)?;
        self.carry_out(effects);
        Ok(())
    }

    /// Admits a member of the call.
    async fn admit(&mut self, user: UserId, call: CallId) -> Result<CallAdmission, Code> {
        // Somebody who has joined the call on another node may attach before this node learns of it.
        let is_member = self.is_call_member(user, call)
            || self.hub.bus.is_shared()
                && self.refresh().await.map_err(|_| Code::Unavailable)?
                && self.is_call_member(user, call);
        let room = self.state.room().map_err(|_| Code::Unavailable)?;
        if !is_member {
            return Err(Code::NotInCall);
        }
        let clock_ms = u64::try_from(self.hub.clock.now().micros() / 1_000).unwrap_or(0);
        Ok(CallAdmission { relay_only: room.relay_only(), clock_ms })
    }

    fn is_call_member(&self, user: UserId, call: CallId) -> bool {
        self.state.loaded().and_then(|room| room.call()).is_some_and(|it| it.id == call && it.has_present(user))
    }

    /// Forwards a signal to the node that owns the call. If that node has stopped, claims the lease; then only a
    /// session that attaches can continue.
    async fn forward_call_signal(
        &mut self,
        node: NodeId,
        connection: &Connection,
        call: CallId,
        signal: CallSignal,
    ) -> Result<(), Code> {
        match self.try_forward(node, connection, call, &signal).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(BusError) => return Err(Code::Unavailable),
        }
        let owner = self.claim_call(call, Some(node)).await.map_err(|BusError| Code::Unavailable)?;
        if !matches!(signal, CallSignal::Attach(_)) {
            return Err(Code::Unavailable);
        }
        if owner == self.hub.bus.node() {
            return self.apply_call_signal(local_source(connection), call, signal).await;
        }
        match self.try_forward(owner, connection, call, &signal).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(BusError) => Err(Code::Unavailable),
        }
    }

    /// Returns whether the node has received the signal.
    async fn try_forward(
        &mut self,
        node: NodeId,
        connection: &Connection,
        call: CallId,
        signal: &CallSignal,
    ) -> Result<bool, BusError> {
        let kind = CallMessageKind::Forward { user: connection.user, signal: Box::new(signal.clone()) };
        let is_received = self.deliver(node, connection.id, call, kind).await?;
        if is_received {
            self.calls.forwarded(connection.id, signal);
        }
        Ok(is_received)
    }

    /// Sends a message to a node, and returns whether that node is listening.
    async fn deliver(
        &self,
        node: NodeId,
        connection: Uuid,
        call: CallId,
        kind: CallMessageKind,
    ) -> Result<bool, BusError> {
        match self.encode_call_message(connection, call, kind) {
            Some(text) => self.hub.bus.deliver(node, text).await,
            None => Ok(true),
        }
    }

    fn encode_call_message(&self, connection: Uuid, call: CallId, kind: CallMessageKind) -> Option<String> {
        message::encode(self.hub.bus.node(), &CallMessage { room: self.id, connection, call, kind })
    }

    /// Takes a message of another node about a call.
    pub(super) async fn call_message(&mut self, from: NodeId, message: CallMessage) {
        let CallMessage { room, connection, call, kind } = message;
        let effects = match kind {
            CallMessageKind::Forward { user, signal } => {
                let source = SignalSource { connection, user, node: Some(from) };
                let result = match self.call_owner(call).await {
                    Ok(None) => self.apply_call_signal(source, call, *signal).await,
                    Ok(Some(_)) | Err(BusError) => Err(Code::Unavailable),
                };
                let Err(code) = result else { return };
                vec![Effect::ToNode { node: from, connection, call, kind: CallMessageKind::Rejected(code) }]
            }
            kind => {
                let subscribers = &self.subscribers;
                let is_local = |id| subscribers.connection(id).is_some();
                let message = CallMessage { room, connection, call, kind };
                self.calls.receive(from, message, Instant::now(), &is_local)
            }
        };
        self.carry_out(effects);
    }

    /// Notes in the call that a connection broke.
    pub(super) fn disconnect_from_call(&mut self, connection: Uuid) {
        let subscribers = &self.subscribers;
        let is_local = |id| subscribers.connection(id).is_some();
        let effects = self.calls.disconnected(connection, Instant::now(), &is_local);
        self.carry_out(effects);
    }

    /// Removes from the call who has left it according to the case.
    pub(super) fn retain_call_members(&mut self) {
        let call = self.state.loaded().and_then(|room| room.call());
        self.calls.retain_members(call.map(|call| call.id), |user| call.is_some_and(|call| call.has_present(user)));
    }

    /// Renews the lease if it is due, or sends keepalives to the node that owns the call.
    pub(super) async fn renew_placement(&mut self) {
        let now = Instant::now();
        let Some(renewal) = self.calls.start_renewal(now) else { return };
        // Without Redis the placement stays as it is: sessions of the same node can continue with each other.
        let Ok(owner) = self.claim_call(renewal.call, None).await else { return };
        if owner != renewal.owner {
            return;
        }
        if owner == self.hub.bus.node() {
            let subscribers = &self.subscribers;
            let is_local = |id| subscribers.connection(id).is_some();
            let effects = self.calls.disconnect_silent(now, &is_local);
            self.carry_out(effects);
            return;
        }
        for connection in renewal.attached {
            let kind = CallMessageKind::Keepalive;
            if let Ok(false) = self.deliver(owner, connection, renewal.call, kind).await {
                // An error means that Redis is not reachable; the next renewal tries again.
                let _ = self.claim_call(renewal.call, Some(owner)).await;
                return;
            }
        }
    }

    pub(super) fn carry_out(&self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::ToConnection { to, call, notice } => {
                    if let Some(connection) = self.subscribers.connection(to) {
                        let signal = self.with_servers(notice, connection);
                        connection.send(&ServerFrame::Call { room: self.id, call, signal });
                    }
                }
                Effect::ToNode { node, connection, call, kind } => {
                    if let Some(text) = self.encode_call_message(connection, call, kind) {
                        self.hub.bus.publish(Channel::Node(node), text);
                    }
                }
                Effect::Reject { to, code } => {
                    if let Some(connection) = self.subscribers.connection(to) {
                        self.reject_call_signal(connection, code);
                    }
                }
                Effect::Close { connection } => {
                    if let Some(connection) = self.subscribers.connection(connection) {
                        connection.send_queue.close(Close::Restart);
                    }
                }
            }
        }
    }

    /// Fills in the servers on the session's own node: their credentials are for that node's relay.
    fn with_servers(&self, mut notice: CallNotice, connection: &Connection) -> CallNotice {
        let servers = || self.hub.relays.servers(connection.session, connection.user, Some(self.id));
        match &mut notice {
            CallNotice::Attached(attached) => attached.servers = servers(),
            CallNotice::Servers(fresh) => *fresh = servers(),
            _ => {}
        }
        notice
    }

    fn reject_call_signal(&self, connection: &Connection, code: Code) {
        let message = match code {
            Code::MediaTaken => "another session of yours owns camera and microphone; attach with take to take over",
            Code::RateLimited => "too many candidates for one description; send the next description first",
            Code::Unavailable => "the hub cannot do this now; send it again",
            Code::Invalid => "held must not name more peers than a call has",
            _ => "this session is not attached to that call; join the call, then attach",
        };
        let error = ErrorFrame {
            id: None,
            room: Some(self.id),
            code,
            message: message.to_owned(),
            retryable: code.retryable(),
            detail: Detail { field: (code == Code::Invalid).then(|| "held".to_owned()), ..Detail::default() },
        };
        connection.send(&ServerFrame::Error(error));
    }
}

fn local_source(connection: &Connection) -> SignalSource {
    SignalSource { connection: connection.id, user: connection.user, node: None }
}
