//! The bus: how the nodes that serve one database tell each other what just happened.
//!
//! It carries text between nodes, and may lose, repeat and reorder it: what must not be lost is in the store, and whoever
//! listens compares with the store. A hub that is alone has the [`Bus::Local`], which does nothing and costs nothing.

mod connection;
mod queue;
mod redis;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rooms::id::RoomId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::queue::Inbox;
use self::redis::RedisBus;
use crate::config::RedisSettings;

/// One running hub. Drawn at start: a hub that starts again is another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub Uuid);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How long a node has the desk of a call without having said again that it lives.
pub const CALL_LEASE: Duration = Duration::from_secs(6);

/// The bus is away, or did not answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusError;

/// Who hears a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The nodes that have this room in memory.
    Room(RoomId),
    /// One node.
    Node(NodeId),
    /// All nodes.
    All,
}

/// What comes in.
#[derive(Debug, PartialEq, Eq)]
pub enum BusEvent {
    Message {
        channel: Channel,
        text: String,
    },
    /// From now on this node hears of these rooms; what was said before may have been missed.
    Subscribed(Vec<RoomId>),
    /// Anything may have been missed, here or elsewhere: the bus was away, or messages came faster than they were taken.
    Gap,
}

/// How it is with the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusState {
    /// There are no other nodes.
    Local,
    Connected,
    /// The other nodes cannot be heard or told; events come by asking the store.
    Degraded,
}

impl BusState {
    pub fn as_str(self) -> &'static str {
        match self {
            BusState::Local => "local",
            BusState::Connected => "connected",
            BusState::Degraded => "degraded",
        }
    }
}

/// A handle on the bus; cheap to clone.
#[derive(Clone)]
pub enum Bus {
    Local,
    Redis(Arc<RedisBus>),
}

/// Why a bus cannot be made: its address cannot be read. Does not quote it, because it may hold a password.
#[derive(Debug, thiserror::Error)]
#[error(
    "the address of the Redis server cannot be read; write redis://host:6379, rediss://host:6379, or several of a cluster separated by commas"
)]
pub struct BusAddressError;

impl Bus {
    /// The bus of these settings, and what comes in on it. It need not be reachable yet.
    pub fn open(settings: Option<&RedisSettings>) -> Result<(Self, Inbox), BusAddressError> {
        let (inbox, sender) = queue::inbox();
        Ok(match settings {
            None => (Bus::Local, inbox),
            Some(settings) => (Bus::Redis(Arc::new(RedisBus::start(settings.url(), sender)?)), inbox),
        })
    }

    /// This node's name.
    pub fn node(&self) -> NodeId {
        match self {
            Bus::Local => NodeId(Uuid::nil()),
            Bus::Redis(bus) => bus.node(),
        }
    }

    /// Whether there can be other nodes.
    pub fn is_shared(&self) -> bool {
        matches!(self, Bus::Redis(_))
    }

    pub fn state(&self) -> BusState {
        match self {
            Bus::Local => BusState::Local,
            Bus::Redis(bus) => bus.state(),
        }
    }

    /// Listens to a room until the answer is dropped.
    pub fn subscribe(&self, room: RoomId) -> RoomSubscription {
        let bus = match self {
            Bus::Local => None,
            Bus::Redis(bus) => Some(bus.clone()),
        };
        if let Some(bus) = &bus {
            bus.subscribe(room);
        }
        RoomSubscription { bus, room }
    }

    /// Tells one node, and says whether it listens.
    pub async fn deliver(&self, to: NodeId, text: String) -> Result<bool, BusError> {
        match self {
            Bus::Local => Ok(false),
            Bus::Redis(bus) => bus.deliver(to, text).await,
        }
    }

    /// Takes the desk of a room's call for [`CALL_LEASE`], unless another node has it that is not `dead`. Says which node has
    /// it now.
    pub async fn claim(&self, room: RoomId, dead: Option<NodeId>) -> Result<NodeId, BusError> {
        match self {
            Bus::Local => Ok(self.node()),
            Bus::Redis(bus) => bus.claim(room, dead).await,
        }
    }

    /// Counts something that all nodes count together, anew after `window`. The answer is how often it has happened, and
    /// when the count begins anew.
    pub async fn count(&self, what: &str, window: Duration) -> Result<(u64, Duration), BusError> {
        match self {
            Bus::Local => Err(BusError),
            Bus::Redis(bus) => bus.count(what, window).await,
        }
    }

    /// Tells the other nodes. Never waits; while the bus is away, or behind, the message is lost.
    pub fn publish(&self, to: Channel, text: String) {
        if let Bus::Redis(bus) = self {
            bus.publish(to, text);
        }
    }
}

/// A room that is listened to.
pub struct RoomSubscription {
    bus: Option<Arc<RedisBus>>,
    room: RoomId,
}

impl Drop for RoomSubscription {
    fn drop(&mut self) {
        if let Some(bus) = &self.bus {
            bus.unsubscribe(self.room);
        }
    }
}
