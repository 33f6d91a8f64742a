//! The bus: messages between the nodes that serve one database.
//!
//! The bus may lose, repeat and reorder messages. What must not be lost is in the store, and receivers compare with the
//! store. A single node uses [`Bus::Local`], which does nothing and costs nothing.

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

/// One running hub. The id is drawn at start, so a restarted hub is another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub Uuid);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How long a node owns the signalling of a room's call without renewal.
pub const CALL_LEASE: Duration = Duration::from_secs(6);

/// The bus is disconnected, or did not answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusError;

/// The receivers of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The nodes that have this room in memory.
    Room(RoomId),
    /// One node.
    Node(NodeId),
    /// All nodes.
    All,
}

/// An event from the bus.
#[derive(Debug, PartialEq, Eq)]
pub enum BusEvent {
    Message {
        channel: Channel,
        text: String,
    },
    /// From now on messages about these rooms arrive; earlier ones may be missing.
    Subscribed(Vec<RoomId>),
    /// Messages may be missing, here or on other nodes: the bus was disconnected, or the inbox was full.
    Gap,
}

/// The state of the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusState {
    /// There are no other nodes.
    Local,
    Connected,
    /// Messages do not pass. Events of other nodes arrive by comparison with the store.
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

/// A handle of the bus; cheap to clone.
#[derive(Clone)]
pub enum Bus {
    Local,
    Redis(Arc<RedisBus>),
}

/// The address of the bus is malformed. The text does not quote it, because it may hold a password.
#[derive(Debug, thiserror::Error)]
#[error(
    "the address of the Redis server cannot be read; write redis://host:6379, rediss://host:6379, or several of a cluster separated by commas"
)]
pub struct BusAddressError;

impl Bus {
    /// Opens the bus and its inbox. Redis need not be reachable yet.
    pub fn open(settings: Option<&RedisSettings>) -> Result<(Self, Inbox), BusAddressError> {
        let (inbox, sender) = queue::inbox();
        Ok(match settings {
            None => (Bus::Local, inbox),
            Some(settings) => (Bus::Redis(Arc::new(RedisBus::start(settings.url(), sender)?)), inbox),
        })
    }

    /// Returns the id of this node.
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

    /// Subscribes to messages about a room until the subscription is dropped.
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

    /// Sends a message to one node, and returns whether that node is listening.
    pub async fn deliver(&self, to: NodeId, text: String) -> Result<bool, BusError> {
        match self {
            Bus::Local => Ok(false),
            Bus::Redis(bus) => bus.deliver(to, text).await,
        }
    }

    /// Claims the signalling of a room's call for [`CALL_LEASE`], unless another node owns it that is not `dead`.
    /// Returns the owner.
    pub async fn claim(&self, room: RoomId, dead: Option<NodeId>) -> Result<NodeId, BusError> {
        match self {
            Bus::Local => Ok(self.node()),
            Bus::Redis(bus) => bus.claim(room, dead).await,
        }
    }

    /// Increments a counter that all nodes share and that restarts after `window`. Returns the count and the time until
    /// the restart.
    pub async fn count(&self, what: &str, window: Duration) -> Result<(u64, Duration), BusError> {
        match self {
            Bus::Local => Err(BusError),
            Bus::Redis(bus) => bus.count(what, window).await,
        }
    }

    /// Publishes a message to other nodes. Never waits; the message is lost if the bus is disconnected or behind.
    pub fn publish(&self, to: Channel, text: String) {
        if let Bus::Redis(bus) = self {
            bus.publish(to, text);
        }
    }
}

/// A subscription to messages about a room.
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
