//! The connections of this node. Other parts push frames to them and close them.

use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dashmap::DashMap;
use rooms::id::{SessionId, UserId};
use rooms::role::Actor;
use rooms::wire::close::Close;
use rooms::wire::server::ServerFrame;
use uuid::Uuid;

use super::send_queue::{QueueItem, SendQueue};
use crate::config::edge::{CONNECTION_SHARE_PER_ADDRESS, CONNECTION_SHARE_PER_PERSON, MAX_CONNECTIONS_PER_PERSON};

/// The client of a connection.
pub struct ConnectedClient {
    pub session: SessionId,
    pub user: UserId,
    pub actor: Actor,
    pub address: IpAddr,
}

/// The hub's handle of one open socket or stream.
pub struct Connection {
    /// The public id, `welcome.connection` on the wire.
    pub id: Uuid,
    pub session: SessionId,
    pub user: UserId,
    pub actor: Actor,
    /// Where the client connects from.
    pub address: IpAddr,
    pub send_queue: SendQueue,
    /// Commands that were accepted but not answered yet.
    in_flight: AtomicU32,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({})", self.id)
    }
}

impl Connection {
    pub fn new(id: Uuid, client: ConnectedClient, send_queue_bytes: usize) -> Self {
        let ConnectedClient { session, user, actor, address } = client;
        let send_queue = SendQueue::new(send_queue_bytes);
        Self { id, session, user, actor, address, send_queue, in_flight: AtomicU32::new(0) }
    }

    /// Queues a frame for this connection alone.
    pub fn send(&self, frame: &ServerFrame) {
        self.send_queue.push(QueueItem::Frame(frame.encode().into()));
    }

    /// Counts a command as in flight. Returns `false` if there are `limit` already.
    pub fn begin_command(&self, limit: u32) -> bool {
        self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < limit).then_some(n + 1)).is_ok()
    }

    /// Counts a command as answered.
    pub fn end_command(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// All connections of this node.
#[derive(Debug)]
pub struct Connections {
    by_id: DashMap<Uuid, Arc<Connection>>,
    per_person: DashMap<UserId, usize>,
    per_address: DashMap<IpAddr, usize>,
    limits: ConnectionLimits,
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
struct ConnectionLimits {
    total: usize,
    per_person: usize,
    per_address: usize,
}

/// Why a connection was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionLimit {
    /// All of this node's.
    Total,
    /// Those of one person.
    Person,
    /// Those of one address.
    Address,
}

impl Connections {
    /// Admits at most `total` connections. One person and one address may have a part of them only.
    pub fn new(total: usize) -> Self {
        let limits = ConnectionLimits {
            total,
            per_person: (total / CONNECTION_SHARE_PER_PERSON).clamp(1, MAX_CONNECTIONS_PER_PERSON),
            per_address: (total / CONNECTION_SHARE_PER_ADDRESS).max(MAX_CONNECTIONS_PER_PERSON),
        };
        Self { by_id: DashMap::new(), per_person: DashMap::new(), per_address: DashMap::new(), limits }
    }

    /// Adds a connection, unless there are too many. Addresses of this machine count as a proxy or a test: one of them may
    /// have all connections.
    pub fn insert(&self, connection: Arc<Connection>) -> Result<(), ConnectionLimit> {
        let ConnectionLimits { total, per_person, per_address } = self.limits;
        if self.by_id.len() >= total {
            return Err(ConnectionLimit::Total);
        }
        if !increment(&self.per_person, connection.user, per_person) {
            return Err(ConnectionLimit::Person);
        }
        let per_address = if connection.address.is_loopback() { total } else { per_address };
        if !increment(&self.per_address, connection.address, per_address) {
            decrement(&self.per_person, connection.user);
            return Err(ConnectionLimit::Address);
        }
        self.by_id.insert(connection.id, connection);
        Ok(())
    }

    pub fn remove(&self, id: Uuid) {
        if let Some((_, connection)) = self.by_id.remove(&id) {
            decrement(&self.per_person, connection.user);
            decrement(&self.per_address, connection.address);
        }
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Closes the former connection of a client that has reconnected; it may not have noticed yet that it is dead. Only
    /// a connection of the same sign-in is closed. Returns `false` if this node does not have it.
    pub fn replace(&self, former: Uuid, session: SessionId) -> bool {
        let known = self.by_id.get(&former);
        if let Some(connection) = &known
            && connection.session == session
        {
            connection.send_queue.close(Close::Replaced);
        }
        known.is_some()
    }

    /// Whether a connection of this person is open on this node.
    pub fn has_user(&self, user: UserId) -> bool {
        self.per_person.get(&user).is_some_and(|count| *count > 0)
    }

    /// Closes all connections that match.
    pub fn close(&self, why: Close, matches: impl Fn(&Connection) -> bool) {
        self.by_id
            .iter()
            .filter(|connection| matches(connection))
            .for_each(|connection| connection.send_queue.close(why));
    }

    /// Calls `f` with each connection.
    pub fn for_each(&self, mut f: impl FnMut(&Connection)) {
        for connection in &self.by_id {
            f(connection.value());
        }
    }
}

/// Counts one more, and returns `true`, unless there are `limit` already.
fn increment<K: Eq + Hash>(counts: &DashMap<K, usize>, key: K, limit: usize) -> bool {
    let mut count = counts.entry(key).or_insert(0);
    let is_admitted = *count < limit;
    *count += usize::from(is_admitted);
    is_admitted
}

/// Counts one less. A count of zero is removed, so that the map never outgrows the connections.
fn decrement<K: Eq + Hash>(counts: &DashMap<K, usize>, key: K) {
    if let Some(mut count) = counts.get_mut(&key) {
        *count = count.saturating_sub(1);
    }
    counts.remove_if(&key, |_, count| *count == 0);
}
