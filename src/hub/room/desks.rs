//! The desk of a call when there are several nodes: it stands on one of them, and the others are its edges, which hand
//! on what their sessions say and hear.
//!
//! Which node has it is a lease in Redis. When that node is gone, another takes the lease; the desk is not moved, but
//! the sessions that used the old one are sent back, as if the hub had been restarted: they say what they still hold.

use std::time::Duration;

use rooms::id::{CallId, UserId};
use rooms::wire::call::{CallNotice, CallSignal};
use rooms::wire::close::Close;
use rooms::wire::code::Code;
use rooms::wire::server::ServerFrame;
use tokio::time::Instant;
use uuid::Uuid;

use super::RoomTask;
use crate::bus::{BusError, CALL_LEASE, Channel, NodeId};
use crate::hub::connection::Connection;
use crate::hub::nodes::message::{self, Said, Word};

/// How often a node renews the lease, or tells the one that has it that its sessions are still there.
const KEEP: Duration = Duration::from_secs(2);
/// Sessions of other nodes at one desk.
const MOST_GUESTS: usize = 64;

/// Where the desk of the present call is.
#[derive(Debug)]
pub struct Place {
    call: CallId,
    node: NodeId,
    keep_at: Instant,
    /// This node's connections that are attached there.
    seated: Vec<Uuid>,
    /// Other nodes' connections, if the desk is here.
    guests: Vec<Guest>,
}

#[derive(Debug)]
struct Guest {
    connection: Uuid,
    node: NodeId,
    heard: Instant,
}

/// Who says something at the desk.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    pub connection: Uuid,
    pub user: UserId,
    /// Where the connection is, if not here.
    pub node: Option<NodeId>,
}

impl RoomTask {
    /// The node that has the call's desk; none if it is this one.
    pub(super) async fn desk_elsewhere(&mut self, call: CallId) -> Result<Option<NodeId>, BusError> {
        if !self.hub.bus.is_shared() {
            return Ok(None);
        }
        let node = match self.place.as_ref().filter(|place| place.call == call) {
            Some(place) => place.node,
            None => self.claim_desk(call, None).await?,
        };
        Ok((node != self.hub.bus.node()).then_some(node))
    }

    /// Takes or renews the lease, also from a node that is known to be `dead`; says who has it now.
    async fn claim_desk(&mut self, call: CallId, dead: Option<NodeId>) -> Result<NodeId, BusError> {
        let node = self.hub.bus.claim(self.id, dead).await?;
        let keep_at = Instant::now() + KEEP;
        match &mut self.place {
            Some(place) if place.call == call && place.node == node => place.keep_at = keep_at,
            place => {
                let former = place.replace(Box::new(Place { call, node, keep_at, seated: vec![], guests: vec![] }));
                if node != self.hub.bus.node() {
                    self.desk = None;
                }
                if let Some(former) = former.filter(|former| former.call == call) {
                    tracing::info!(room = %self.id, "the desk of a call has moved to another node");
                    self.desk = None;
                    self.send_back(&former.seated);
                }
            }
        }
        Ok(node)
    }

    fn send_back(&self, connections: &[Uuid]) {
        for connection in self.members.connections().filter(|member| connections.contains(&member.id)) {
            connection.send_queue.close(Close::Restart);
        }
    }

    /// Hands on what a session of this node says to the node that has the desk.
    pub(super) async fn ask_desk(
        &mut self,
        node: NodeId,
        connection: &Connection,
        call: CallId,
        signal: CallSignal,
    ) -> Result<(), Code> {
        let ask = Said::Ask { user: connection.user, signal: Box::new(signal.clone()) };
        match self.say_to(node, connection.id, call, ask).await {
            Ok(true) => {
                self.handed_on(connection.id, &signal);
                return Ok(());
            }
            Ok(false) => {}
            Err(BusError) => return Err(Code::Unavailable),
        }
        // Nobody listens there any more. Those who were attached come back; whoever attaches now goes on.
        let node = self.claim_desk(call, Some(node)).await.map_err(|BusError| Code::Unavailable)?;
        if !matches!(signal, CallSignal::Attach(_)) {
            return Err(Code::Unavailable);
        }
        if node == self.hub.bus.node() {
            let asker = Asker { connection: connection.id, user: connection.user, node: None };
            return self.at_desk(asker, call, signal).await;
        }
        let ask = Said::Ask { user: connection.user, signal: Box::new(signal.clone()) };
        match self.say_to(node, connection.id, call, ask).await {
            Ok(true) => {
                self.handed_on(connection.id, &signal);
                Ok(())
            }
            Ok(false) | Err(BusError) => Err(Code::Unavailable),
        }
    }

    /// Who attaches counts as seated before the answer is here: should it be lost, the session attaches again.
    fn handed_on(&mut self, connection: Uuid, signal: &CallSignal) {
        let Some(place) = &mut self.place else { return };
        match signal {
            CallSignal::Attach(_) if !place.seated.contains(&connection) => place.seated.push(connection),
            CallSignal::Detach(_) => place.seated.retain(|seated| *seated != connection),
            _ => {}
        }
    }

    async fn say_to(&self, node: NodeId, connection: Uuid, call: CallId, said: Said) -> Result<bool, BusError> {
        match self.word(connection, call, said) {
            Some(text) => self.hub.bus.deliver(node, text).await,
            None => Ok(true),
        }
    }

    /// The same without waiting for whether it was heard.
    fn tell_node(&self, node: NodeId, connection: Uuid, call: CallId, said: Said) {
        if let Some(text) = self.word(connection, call, said) {
            self.hub.bus.publish(Channel::Node(node), text);
        }
    }

    fn word(&self, connection: Uuid, call: CallId, said: Said) -> Option<String> {
        message::seal(self.hub.bus.node(), &Word { room: self.id, connection, call, said })
    }

    /// Takes what another node says to this one.
    pub(super) async fn word_from(&mut self, from: NodeId, word: Word) {
        let Word { room: _, connection, call, said } = word;
        match said {
            Said::Ask { user, signal } => {
                let asker = Asker { connection, user, node: Some(from) };
                let taken = match self.desk_elsewhere(call).await {
                    Ok(None) => self.at_desk(asker, call, *signal).await,
                    Ok(Some(_)) | Err(BusError) => Err(Code::Unavailable),
                };
                if let Err(code) = taken {
                    self.tell_node(from, connection, call, Said::Refused(code));
                }
            }
            Said::Still => {
                let guests = self.place.iter_mut().flat_map(|place| &mut place.guests);
                match guests.into_iter().find(|guest| guest.connection == connection) {
                    Some(guest) => guest.heard = Instant::now(),
                    // Not known here: it must attach again.
                    None => self.tell_node(from, connection, call, Said::Refused(Code::Unavailable)),
                }
            }
            Said::Lost => self.leave_desk(connection),
            Said::Tell(notice) => {
                if self.place.as_ref().is_some_and(|place| place.node == from && place.call == call) {
                    self.notify(connection, call, *notice);
                }
            }
            Said::Refused(code) => {
                if let (Code::NotInCall | Code::MediaTaken, Some(place)) = (code, &mut self.place) {
                    place.seated.retain(|seated| *seated != connection);
                }
                if let Some(member) = self.members.connections().find(|member| member.id == connection) {
                    self.complain_about_call(member, code);
                }
            }
        }
    }

    /// What sessions of a call and its desk said to each other may be lost, where they are on different nodes: those sessions
    /// attach again with what they have, and get what they missed.
    pub(super) fn attach_anew(&self) {
        let Some(place) = &self.place else { return };
        let sits = |guest: &&Guest| self.desk.as_ref().is_some_and(|desk| desk.has(guest.connection));
        for guest in place.guests.iter().filter(sits) {
            self.tell_node(guest.node, guest.connection, place.call, Said::Refused(Code::Unavailable));
        }
        if place.node != self.hub.bus.node() {
            for member in self.members.connections().filter(|member| place.seated.contains(&member.id)) {
                self.complain_about_call(member, Code::Unavailable);
            }
        }
    }

    /// Tells a session at the desk, wherever it is.
    pub(super) fn notify(&mut self, to: Uuid, call: CallId, mut notice: CallNotice) {
        let Some(connection) = self.members.connections().find(|member| member.id == to) else {
            let guest = self.place.iter().flat_map(|place| &place.guests).find(|guest| guest.connection == to);
            if let Some(node) = guest.map(|guest| guest.node) {
                self.tell_node(node, to, call, Said::Tell(Box::new(notice)));
            }
            return;
        };
        match &mut notice {
            // Named where the session is: its credentials are for the relay of that node.
            CallNotice::Attached(attached) => attached.servers = (self.hub.ice)(connection.session),
            CallNotice::Servers(servers) => *servers = (self.hub.ice)(connection.session),
            _ => {}
        }
        if let Some(place) = &mut self.place {
            match &notice {
                CallNotice::Attached(_) if !place.seated.contains(&to) => place.seated.push(to),
                CallNotice::Taken(_) => place.seated.retain(|seated| *seated != to),
                _ => {}
            }
        }
        connection.send(&ServerFrame::Call { room: self.id, call, signal: notice });
    }

    /// Remembers on which node a connection is that has taken its place at the desk.
    pub(super) fn seat(&mut self, asker: Asker) {
        let (Some(node), Some(place)) = (asker.node, &mut self.place) else { return };
        place.guests.retain(|guest| guest.connection != asker.connection);
        if place.guests.len() < MOST_GUESTS {
            place.guests.push(Guest { connection: asker.connection, node, heard: Instant::now() });
        }
    }

    /// A connection has left: the desk elsewhere is told.
    pub(super) fn unseat(&mut self, connection: Uuid) {
        let me = self.hub.bus.node();
        let Some(place) = &mut self.place else { return };
        place.guests.retain(|guest| guest.connection != connection);
        let before = place.seated.len();
        place.seated.retain(|seated| *seated != connection);
        if place.seated.len() < before && place.node != me {
            let (node, call) = (place.node, place.call);
            self.tell_node(node, connection, call, Said::Lost);
        }
    }

    /// When the lease is to be renewed, or looked after, next.
    pub(super) fn keep_at(&self) -> Option<Instant> {
        self.place.as_ref().map(|place| place.keep_at)
    }

    /// Whether sessions of other nodes are at a desk here.
    pub(super) fn has_guests(&self) -> bool {
        self.place.as_ref().is_some_and(|place| !place.guests.is_empty())
    }

    /// Renews the lease, or sees whether the node that has it is still there.
    pub(super) async fn keep_desk(&mut self) {
        let now = Instant::now();
        let Some(place) = self.place.as_mut().filter(|place| place.keep_at <= now) else { return };
        place.keep_at = now + KEEP;
        if place.seated.is_empty() && place.guests.is_empty() {
            // Nobody is attached: whoever does so next asks where.
            self.place = None;
            return;
        }
        let (node, call, seated) = (place.node, place.call, place.seated.clone());
        // Without Redis everything stays where it is; those who are here may go on with each other.
        let Ok(now_at) = self.claim_desk(call, None).await else { return };
        if now_at != node {
            return;
        }
        if node == self.hub.bus.node() {
            let guests = self.place.iter().flat_map(|place| &place.guests);
            let silent: Vec<Uuid> =
                guests.filter(|guest| guest.heard + CALL_LEASE < now).map(|guest| guest.connection).collect();
            silent.into_iter().for_each(|connection| self.leave_desk(connection));
            return;
        }
        for connection in seated {
            if let Ok(false) = self.say_to(node, connection, call, Said::Still).await {
                // An error says that Redis is away just now; then this is tried again.
                let _ = self.claim_desk(call, Some(node)).await;
                return;
            }
        }
    }
}
