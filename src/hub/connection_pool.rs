//! Bounds the number of open TCP connections, and sheds those that belong to nobody known.
//!
//! A connection is anonymous until a valid token has arrived on it. When the pool is full, it closes the oldest anonymous
//! connection of the address that has most of them. Clients who open many connections therefore displace their own, and
//! whoever is signed in keeps theirs and gets new ones.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The pool never sheds a connection that is younger than this, so that it can send its first request.
const MIN_SHED_AGE: Duration = Duration::from_millis(300);
/// How often a full pool looks for a connection to shed.
const SHED_INTERVAL: Duration = Duration::from_millis(20);

/// The TCP connections of one listener; cheap to clone.
#[derive(Clone)]
pub struct ConnectionPool {
    inner: Arc<PoolInner>,
    sockets: TaskTracker,
}

struct PoolInner {
    capacity: usize,
    state: Mutex<PoolState>,
    released: Notify,
}

#[derive(Default)]
struct PoolState {
    open: usize,
    last_id: u64,
    anonymous: HashMap<IpAddr, BTreeMap<u64, AnonymousConnection>>,
}

struct AnonymousConnection {
    opened_at: Instant,
    shed: CancellationToken,
}

/// A permit for one open connection; cheap to clone. Dropping the last clone admits another connection.
#[derive(Clone)]
pub struct ConnectionPermit {
    connection: Arc<PooledConnection>,
}

struct PooledConnection {
    pool: ConnectionPool,
    id: u64,
    address: IpAddr,
    shed: CancellationToken,
}

impl ConnectionPool {
    /// Creates a pool of at most `capacity` connections. A stopping hub waits for the tasks of `sockets`.
    pub fn new(capacity: usize, sockets: TaskTracker) -> Self {
        let inner = PoolInner { capacity, state: Mutex::default(), released: Notify::new() };
        Self { inner: Arc::new(inner), sockets }
    }

    /// Waits for room for a connection from this address, and sheds anonymous connections until there is some.
    pub async fn admit(&self, address: IpAddr) -> ConnectionPermit {
        loop {
            let mut released = pin!(self.inner.released.notified());
            released.as_mut().enable();
            if let Some(permit) = self.try_admit(address) {
                return permit;
            }
            self.shed();
            // The interval also covers connections that are still too young to be shed.
            let _ = timeout(SHED_INTERVAL, released).await;
        }
    }

    fn try_admit(&self, address: IpAddr) -> Option<ConnectionPermit> {
        let mut state = self.inner.lock();
        if state.open >= self.inner.capacity {
            return None;
        }
        state.open += 1;
        state.last_id += 1;
        let (id, shed) = (state.last_id, CancellationToken::new());
        let connection = AnonymousConnection { opened_at: Instant::now(), shed: shed.clone() };
        state.anonymous.entry(address).or_default().insert(id, connection);
        drop(state);
        let connection = PooledConnection { pool: self.clone(), id, address, shed };
        Some(ConnectionPermit { connection: Arc::new(connection) })
    }

    /// Closes the oldest anonymous connection of the address that has most of them.
    pub fn shed(&self) {
        let mut state = self.inner.lock();
        let is_old = |it: &AnonymousConnection| it.opened_at.elapsed() >= MIN_SHED_AGE && !it.shed.is_cancelled();
        let most = state
            .anonymous
            .iter_mut()
            .filter(|(_, connections)| connections.first_key_value().is_some_and(|(_, oldest)| is_old(oldest)))
            .max_by_key(|(_, connections)| connections.len());
        if let Some((address, connections)) = most {
            let address = *address;
            if let Some((_, oldest)) = connections.pop_first() {
                oldest.shed.cancel();
            }
            if connections.is_empty() {
                state.anonymous.remove(&address);
            }
        }
    }
}

impl PoolInner {
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PoolState {
    fn remove_anonymous(&mut self, address: IpAddr, id: u64) {
        if let Some(connections) = self.anonymous.get_mut(&address) {
            connections.remove(&id);
            if connections.is_empty() {
                self.anonymous.remove(&address);
            }
        }
    }
}

impl ConnectionPermit {
    /// Marks the connection as that of a signed-in client. The pool no longer sheds it.
    pub fn mark_signed_in(&self) {
        let PooledConnection { pool, id, address, .. } = &*self.connection;
        pool.inner.lock().remove_anonymous(*address, *id);
    }

    /// Waits until the pool sheds the connection, which then must close.
    pub async fn shed(&self) {
        self.connection.shed.cancelled().await;
    }

    /// The tracker for tasks that serve sockets. Such a task keeps the permit after its request has ended.
    pub fn sockets(&self) -> TaskTracker {
        self.connection.pool.sockets.clone()
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        let mut state = self.pool.inner.lock();
        state.open -= 1;
        state.remove_anonymous(self.address, self.id);
        drop(state);
        self.pool.inner.released.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTACKER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[tokio::test]
    async fn full_pool_sheds_the_oldest_of_the_address_with_most() {
        let pool = ConnectionPool::new(4, TaskTracker::new());
        let other = pool.admit(OTHER).await;
        let signed_in = pool.admit(ATTACKER).await;
        signed_in.mark_signed_in();
        let (first, second) = (pool.admit(ATTACKER).await, pool.admit(ATTACKER).await);
        let (closing, oldest) = (first.clone(), tokio::spawn(async move { first.shed().await }));
        let admitted = tokio::spawn({
            let pool = pool.clone();
            async move { pool.admit(OTHER).await }
        });
        oldest.await.unwrap();
        assert!(!admitted.is_finished(), "the shed connection is still open");
        drop(closing);
        let _permit = timeout(Duration::from_secs(5), admitted).await.expect("there is room").unwrap();
        for kept in [&other, &signed_in, &second] {
            assert!(!kept.connection.shed.is_cancelled());
        }
    }

    #[tokio::test]
    async fn signed_in_connections_are_never_shed() {
        let pool = ConnectionPool::new(2, TaskTracker::new());
        let permits = [pool.admit(ATTACKER).await, pool.admit(ATTACKER).await];
        permits.iter().for_each(ConnectionPermit::mark_signed_in);
        tokio::time::sleep(MIN_SHED_AGE).await;
        let third = pool.admit(OTHER);
        timeout(Duration::from_millis(200), third).await.err().expect("there is no room");
        assert!(permits.iter().all(|permit| !permit.connection.shed.is_cancelled()));
    }
}
