//! The connections of this node, and how they are closed from outside.

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

/// One open socket or stream of a person.
pub struct Connection {
    /// Its public name, in `welcome.connection`.
    pub id: Uuid,
    pub session: SessionId,
    pub user: UserId,
    pub actor: Actor,
    pub send_queue: SendQueue,
    /// Commands that were taken and are not yet answered.
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

    /// Counts a command in; false when `limit` of them are already unanswered.
    pub fn begin_command(&self, limit: u32) -> bool {
        self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < limit).then_some(n + 1)).is_ok()
    }

    /// Counts a command out.
    pub fn end_command(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A place among the connections that may be open: taken when a client connects, and free again when this is dropped.
#[derive(Clone, Debug)]
pub struct ConnectionPermit {
    _permit: Arc<OwnedSemaphorePermit>,
    sockets: TaskTracker,
}

impl ConnectionPermit {
    /// The place that `permit` is for. A stopping hub waits for `sockets`.
    pub fn new(permit: OwnedSemaphorePermit, sockets: TaskTracker) -> Self {
        Self { _permit: Arc::new(permit), sockets }
    }

    /// Where to spawn what serves a socket. It takes the seat with it, and keeps it when the request that it came from
    /// is long over.
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

    /// A client that came back fences its former connection, which may not have noticed yet that it is dead. Only a
    /// connection of the same sign-in can be fenced. False if it is not one of this node's.
    pub fn replace(&self, former: Uuid, session: SessionId) -> bool {
        let known = self.by_id.get(&former);
        if let Some(connection) = &known
            && connection.session == session
        {
            connection.send_queue.close(Close::Replaced);
        }
        known.is_some()
    }

    /// Closes every connection that `concerned` picks.
    pub fn close(&self, why: Close, concerned: impl Fn(&Connection) -> bool) {
        self.by_id
            .iter()
            .filter(|connection| concerned(connection))
            .for_each(|connection| connection.send_queue.close(why));
    }

    /// Calls `f` with each connection.
    pub fn for_each(&self, mut f: impl FnMut(&Connection)) {
        for connection in self.by_id.iter() {
            f(connection.value());
        }
    }
}
