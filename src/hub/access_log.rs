//! The audit log of granted views: who read which room, whatever the transport.
//!
//! [`Hub::view`](super::Hub::view) and [`Hub::join`](super::Hub::join) grant the views, and record each before the
//! reader receives it. Entries that arrive together share a transaction, so that thousands of clients that reconnect at
//! once do not wait for each other.

use std::time::Duration;

use rooms::id::RoomId;
use rooms::role::{Actor, Role};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::submission::SubmitError;
use crate::clock::Clock;
use crate::store::Store;
use crate::store::audit::Access;
use crate::telemetry::security::{self, SecurityEvent};

/// Entries that may wait for their transaction.
const QUEUE_CAPACITY: usize = 4_096;
/// Maximum number of entries in one transaction.
const MAX_BATCH_ENTRIES: usize = 256;
/// How long a reader waits for its entry to be stored.
const AUDIT_TIMEOUT: Duration = Duration::from_secs(3);

type Reply = oneshot::Sender<Result<(), SubmitError>>;

/// Records accesses in the background.
#[derive(Clone)]
pub struct AccessLog {
    queue: mpsc::Sender<(Access, Reply)>,
    clock: Clock,
}

impl AccessLog {
    pub fn start(store: Store, clock: Clock) -> Self {
        let (queue, entries) = mpsc::channel(QUEUE_CAPACITY);
        tokio::spawn(write_entries(store, entries));
        Self { queue, clock }
    }

    /// Records that `actor` receives a view of a room. If the database cannot store the entry, participants of the case
    /// still receive the view, and the hub's log holds the entry instead; administrators are refused. The hub itself is no
    /// reader.
    pub async fn record(&self, actor: &Actor, action: &str, room: RoomId) -> Result<(), SubmitError> {
        let Some(user) = actor.user() else { return Ok(()) };
        let role = actor.role();
        let (id, at) = (self.clock.fresh_id(), self.clock.now());
        let access = Access { id, at, user, role, action: action.to_owned(), room: Some(room) };
        let (reply, stored) = oneshot::channel();
        let result = timeout(AUDIT_TIMEOUT, async {
            self.queue.send((access, reply)).await.map_err(|_| SubmitError::Unavailable)?;
            stored.await.map_err(|_| SubmitError::Unavailable)?
        });
        match result.await.unwrap_or(Err(SubmitError::Unavailable)) {
            Err(_) if role != Role::Admin => {
                tracing::warn!(%id, %at, %user, role = role.as_str(), action, %room, "audit entry not stored");
                security::record(SecurityEvent::AccessUnrecorded, Some(user), None, action);
                Ok(())
            }
            result => result,
        }
    }
}

async fn write_entries(store: Store, mut entries: mpsc::Receiver<(Access, Reply)>) {
    let mut batch = Vec::new();
    while entries.recv_many(&mut batch, MAX_BATCH_ENTRIES).await > 0 {
        let (accesses, replies): (Vec<Access>, Vec<Reply>) = batch.drain(..).unzip();
        let result = store.record_accesses(&accesses).await.map_err(SubmitError::from);
        for reply in replies {
            // An error means that the reader has given up.
            let _ = reply.send(result.clone());
        }
    }
}
