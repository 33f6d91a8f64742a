//! Services that all rooms of a node share. They know nothing of the rooms that use them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rooms::command::{Facts, Need};
use rooms::id::{RoomId, SessionId, UserId};
use rooms::limits::Limits;
use rooms::party::Policy;
use rooms::wire::call::Servers;
use tokio::sync::Semaphore;

use super::access_log::AccessLog;
use super::appender::Appender;
use super::cluster::Peers;
use super::cluster::message::ClusterEventKind;
use super::connection::Connections;
use super::fair_queue::FairQueue;
use super::feeds::Feeds;
use super::marks::MarkWriter;
use super::submission::SubmitError;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::store::Store;

/// The relays of this node, as rooms use them.
pub trait MediaRelays: Send + Sync {
    /// Names the STUN and TURN servers for a session, with credentials of its own. `room` is that of the call, if any.
    fn servers(&self, session: SessionId, user: UserId, room: Option<RoomId>) -> Servers;

    /// Ends what a room's call uses.
    fn end_call(&self, room: RoomId);

    /// Ends what a dismissed guest uses.
    fn dismiss_guest(&self, guest: UserId);
}

/// The settings that the hub's rooms and connections follow.
pub struct HubSettings {
    /// The policy of rooms that open from now on.
    pub policy: Policy,
    /// The business limits of all rooms.
    pub limits: Limits,
    /// Open sockets and streams of this node.
    pub max_connections: usize,
}

/// What the rooms of this node share.
pub struct Services {
    pub store: Store,
    pub appender: Appender,
    pub bus: Bus,
    pub peers: Peers,
    pub clock: Clock,
    /// The policy of rooms that are opened here.
    pub policy: Policy,
    /// The business limits of all rooms.
    pub limits: Limits,
    pub feeds: Feeds,
    pub marks: MarkWriter,
    pub access_log: AccessLog,
    pub connections: Connections,
    pub relays: Arc<dyn MediaRelays>,
    /// Limits concurrent replays: when all clients reconnect at once, commits still need database connections.
    pub replays: Semaphore,
    pub connect_queue: FairQueue,
    pub disconnect_queue: FairQueue,
    is_stopping: AtomicBool,
}

impl Services {
    pub fn new(
        store: Store,
        appender: Appender,
        bus: Bus,
        clock: Clock,
        settings: HubSettings,
        relays: Arc<dyn MediaRelays>,
    ) -> Self {
        let HubSettings { policy, limits, max_connections } = settings;
        let replays = Semaphore::new(usize::try_from(store.readers() / 2).unwrap_or(0).max(1));
        Self {
            feeds: Feeds::start(store.clone(), clock.clone()),
            marks: MarkWriter::start(store.clone()),
            access_log: AccessLog::start(store.clone(), clock.clone()),
            store,
            appender,
            bus,
            peers: Peers::default(),
            clock,
            policy,
            limits,
            connections: Connections::new(max_connections),
            relays,
            replays,
            connect_queue: FairQueue::default(),
            disconnect_queue: FairQueue::default(),
            is_stopping: AtomicBool::new(false),
        }
    }

    /// Reads the facts that a command needs beside its room.
    pub async fn facts(&self, need: Option<Need>) -> Result<Facts, SubmitError> {
        let mut facts = Facts::default();
        match need {
            None => {}
            Some(Need::Slot(id)) => facts.slot = self.store.slot_fact(id).await?,
            Some(Need::Doctor(id)) => facts.doctor = self.store.doctor_fact(id).await?,
            Some(Need::Pharmacy(id)) => facts.pharmacy = self.store.pharmacy_fact(id).await?,
            Some(Need::Courier(id)) => facts.courier = self.store.courier_fact(id).await?,
        }
        Ok(facts)
    }

    /// Publishes an event to all other nodes.
    pub fn broadcast(&self, kind: ClusterEventKind) {
        self.peers.broadcast(&self.bus, kind);
    }

    pub fn begin_stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
    }

    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }
}
