//! The connections of this node. Other parts push frames to them and close them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dashmap::DashMap;
use rooms::id::{SessionId, UserId};
use rooms::role::Actor;
use rooms::wire::close::Close;
use rooms::wire::server::ServerFrame;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::send_queue::{QueueItem, SendQueue};

/// The hub's handle of one open socket or stream.
pub struct Connection {
    /// The public id, `welcome.connection` on the wire.
    pub id: Uuid,
    pub session: SessionId,
    pub user: UserId,
    pub actor: Actor,
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
    pub fn new(id: Uuid, session: SessionId, user: UserId, actor: Actor, send_queue_bytes: usize) -> Self {
        Self { id, session, user, actor, send_queue: SendQueue::new(send_queue_bytes), in_flight: AtomicU32::new(0) }
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

/// A permit for one open connection. Dropping the last clone admits another one.
#[derive(Clone, Debug)]
pub struct ConnectionPermit {
    _permit: Arc<OwnedSemaphorePermit>,
    sockets: TaskTracker,
}

impl ConnectionPermit {
    /// A stopping hub waits for the tasks of `sockets`.
    pub fn new(permit: OwnedSemaphorePermit, sockets: TaskTracker) -> Self {
        Self { _permit: Arc::new(permit), sockets }
    }

    /// The tracker for tasks that serve sockets. Such a task keeps the permit after its request has ended.
    pub fn sockets(&self) -> TaskTracker {
        self.sockets.clone()
    }
}

/// All connections of this node.
#[derive(Debug, Default)]
pub struct Connections {
    by_id: DashMap<Uuid, Arc<Connection>>,
}

impl Connections {
    pub fn insert(&self, connection: Arc<Connection>) {
        self.by_id.insert(connection.id, connection);
    }

    pub fn remove(&self, id: Uuid) {
        self.by_id.remove(&id);
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

    /// Closes all connections that match.
    pub fn close(&self, why: Close, matches: impl Fn(&Connection) -> bool) {
        self.by_id
            .iter()
            .filter(|connection| matches(connection))
            .for_each(|connection| connection.send_queue.close(why));
    }

    /// Calls `f` with each connection.
    pub fn for_each(&self, mut f: impl FnMut(&Connection)) {
        for connection in self.by_id.iter() {
            f(connection.value());
        }
    }
}
