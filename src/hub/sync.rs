//! Keeps this node's rooms and feeds in step with the other nodes.
//!
//! The bus is for speed, the store for correctness. Messages go to the rooms as they arrive. Each second the heads of
//! all rooms in memory are compared with the store's, so that an event arrives even if its message was lost; while
//! probes of the bus fail, up to five times a second.

use std::sync::{Arc, Weak};
use std::time::Duration;

use rooms::id::RoomId;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Hub;
use super::call::message::{CallMessage, CallMessageKind};
use super::cluster::message::{self, ClusterEvent, ClusterEventKind};
use super::room::Request;
use super::room::registry::Rooms;
use crate::bus::{BusEvent, BusState, Channel, Inbox, NodeId};
use crate::telemetry::panics::TaskGuard;

/// How often the heads of all rooms are compared with the store's.
const COMPARE_INTERVAL: Duration = Duration::from_secs(1);
/// How often the bus is probed, and the least time between comparisons.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);
/// After a comparison the store rests for this many times its duration, up to [`COMPARE_INTERVAL`].
const REST_FACTOR: u32 = 4;

impl Hub {
    /// Publishes to the other nodes that sign-ins ended or rights changed. The store must know already.
    pub fn publish_rights_change(&self) {
        self.rooms.services().broadcast(ClusterEventKind::RightsChanged);
    }

    /// Waits until sign-ins or rights may have changed on another node.
    pub async fn remote_rights_change(&self) {
        self.rooms.services().peers.rights_changed().await;
    }

    /// Starts the tasks that follow the other nodes. They end with the hub.
    pub fn follow_bus(&self, inbox: Inbox) {
        if self.rooms.services().bus.is_shared() {
            tokio::spawn(receive_all(Arc::downgrade(&self.rooms), inbox));
            tokio::spawn(compare_heads(Arc::downgrade(&self.rooms)));
        }
    }
}

async fn receive_all(rooms: Weak<Rooms>, mut inbox: Inbox) {
    let mut guard = TaskGuard::new("bus receiver");
    while let Some(event) = inbox.next().await {
        let Some(rooms) = rooms.upgrade() else { return };
        guard.run(handle_bus_event(&rooms, event)).await;
    }
}

async fn handle_bus_event(rooms: &Arc<Rooms>, event: BusEvent) {
    match event {
        BusEvent::Message { channel, text } => receive(rooms, channel, text),
        BusEvent::Subscribed(subscribed) => catch_up(rooms, &subscribed).await,
        BusEvent::Gap => resync_all(rooms).await,
    }
}

async fn compare_heads(rooms: Weak<Rooms>) {
    let mut ticks = interval(PROBE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut heartbeat_at, mut compare_at, mut rest_until) = (Instant::now(), Instant::now(), Instant::now());
    let mut guard = TaskGuard::new("head comparison");
    for number in 1.. {
        let now = ticks.tick().await;
        let Some(rooms) = rooms.upgrade() else { return };
        let services = rooms.services();
        let probe_failed = services.peers.probe_failed(&services.bus, number);
        if heartbeat_at <= now {
            heartbeat_at = now + COMPARE_INTERVAL;
            services.broadcast(ClusterEventKind::Heartbeat);
            if services.bus.state() == BusState::Degraded || services.peers.is_any_silent() {
                // Without events from the others, any feed may have changed.
                services.feeds.invalidate_all();
            }
        }
        if (probe_failed || compare_at <= now) && rest_until <= now {
            let started = Instant::now();
            guard.run(catch_up(&rooms, &rooms.ids())).await;
            compare_at = now + COMPARE_INTERVAL;
            rest_until = Instant::now() + (REST_FACTOR * started.elapsed()).min(COMPARE_INTERVAL);
        }
    }
}

fn receive(rooms: &Arc<Rooms>, channel: Channel, text: String) {
    let services = rooms.services();
    let Some((from, body)) = message::decode(&text) else { return };
    if from == services.bus.node() {
        if let (Channel::Node(_), Ok(number)) = (channel, body.parse()) {
            services.peers.probe_arrived(number);
        }
        return;
    }
    match channel {
        Channel::Room(room) => rooms.forward(room, Request::BusMessage(text)),
        Channel::All => {
            if let Some(event) = message::parse::<ClusterEvent>(body) {
                apply_cluster_event(rooms, from, event);
            }
        }
        Channel::Node(_) => {
            if let Some(message) = message::parse::<CallMessage>(body) {
                route_call_message(rooms, from, message);
            }
        }
    }
}

fn apply_cluster_event(rooms: &Rooms, from: NodeId, event: ClusterEvent) {
    let services = rooms.services();
    let receipt = services.peers.note(from, &event);
    if receipt.has_missed {
        services.feeds.invalidate_all();
        services.peers.note_rights_changed();
    }
    if !receipt.is_new {
        return;
    }
    match event.kind {
        ClusterEventKind::Heartbeat => {}
        ClusterEventKind::FeedsChanged(keys) => services.feeds.invalidate(&keys),
        ClusterEventKind::RightsChanged => services.peers.note_rights_changed(),
        ClusterEventKind::Replaced { connection, session } => {
            services.connections.replace(connection, session);
        }
    }
}

fn route_call_message(rooms: &Arc<Rooms>, from: NodeId, message: CallMessage) {
    let room = message.room;
    let needs_owner = matches!(message.kind, CallMessageKind::Forward { .. });
    let request = Request::CallMessage { from, message: Box::new(message) };
    if needs_owner {
        // This node may own the call although no member is connected to it. If the inbox is full, the sender retries.
        let _ = rooms.send(room, request);
    } else {
        rooms.forward(room, request);
    }
}

/// Recovers from messages that may have been lost.
async fn resync_all(rooms: &Rooms) {
    let services = rooms.services();
    services.feeds.invalidate_all();
    services.peers.note_rights_changed();
    let ids = rooms.ids();
    for room in &ids {
        rooms.forward(*room, Request::Resync);
    }
    catch_up(rooms, &ids).await;
}

/// Notifies those of these rooms whose log is longer in the store.
async fn catch_up(rooms: &Rooms, ids: &[RoomId]) {
    let loaded: Vec<RoomId> = ids.iter().filter(|room| rooms.head(**room).is_some()).copied().collect();
    let heads = match rooms.services().store.heads(&loaded).await {
        Ok(heads) => heads,
        Err(error) => {
            tracing::warn!(%error, "room head comparison failed, will retry");
            return;
        }
    };
    for (room, head) in heads {
        if rooms.head(room).is_some_and(|known| known < head) {
            rooms.forward(room, Request::HeadAdvanced { head });
        }
    }
}
