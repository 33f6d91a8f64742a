//! The rooms in memory, and the way to their tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use rooms::id::RoomId;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Request;
use super::failures::RoomFailures;
use super::task::RoomTask;
use crate::hub::services::Services;
use crate::telemetry::panics::contain;

/// Requests that may wait for one room. With a full inbox the hub answers `unavailable`.
const INBOX_CAPACITY: usize = 256;

/// The head of a room whose log the task has not read yet.
const UNLOADED: u64 = u64::MAX;

/// All rooms in memory.
pub struct Rooms {
    services: Arc<Services>,
    handles: DashMap<RoomId, RoomHandle>,
    failures: RoomFailures,
}

/// The way to one room's task.
struct RoomHandle {
    inbox: mpsc::Sender<Box<Request>>,
    /// The number of its last event, or [`UNLOADED`].
    head: Arc<AtomicU64>,
}

/// The room's inbox is full, its task rests after a panic, or the task has ended with the runtime.
#[derive(Debug, thiserror::Error)]
#[error("the room takes no requests now")]
pub struct RoomBusyError;

impl Rooms {
    pub fn new(services: Arc<Services>) -> Self {
        Self { services, handles: DashMap::new(), failures: RoomFailures::default() }
    }

    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Sends a request to a room, and starts its task if necessary. Never waits.
    pub fn send(self: &Arc<Self>, room: RoomId, request: Request) -> Result<(), RoomBusyError> {
        if self.failures.is_resting(room, Instant::now()) {
            return Err(RoomBusyError);
        }
        // Boxed, so that each free place of an inbox costs a pointer only.
        let mut request = Box::new(request);
        // A task that died is started again once. If the second one ends at once, too, the runtime is shutting down.
        for _ in 0..2 {
            // Sending under the map's lock prevents the room from retiring with a request in its inbox.
            let handle = self.handles.entry(room).or_insert_with(|| {
                let (sender, inbox) = mpsc::channel(INBOX_CAPACITY);
                let head = Arc::new(AtomicU64::new(UNLOADED));
                let task = RoomTask::new(room, self.services.clone(), head.clone());
                tokio::spawn(self.clone().run(room, task, inbox));
                RoomHandle { inbox: sender, head }
            });
            match handle.inbox.try_send(request) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(_)) => return Err(RoomBusyError),
                Err(mpsc::error::TrySendError::Closed(returned)) => {
                    drop(handle);
                    self.handles.remove_if(&room, |_, known| known.inbox.is_closed());
                    request = returned;
                }
            }
        }
        Err(RoomBusyError)
    }

    /// Runs a room's task to its end. After a panic the room rests, so that a room that always panics cannot use up the
    /// node by starting again and again.
    async fn run(self: Arc<Self>, room: RoomId, task: RoomTask, inbox: mpsc::Receiver<Box<Request>>) {
        match contain(task.run(self.clone(), inbox)).await {
            Ok(()) => self.failures.clear(room),
            Err(_) => {
                let rest = self.failures.record(room, Instant::now());
                self.handles.remove_if(&room, |_, known| known.inbox.is_closed());
                tracing::error!(%room, ?rest, "room task panicked; the room rests, then starts again on demand");
            }
        }
    }

    /// Sends a request to a room if it is in memory. With a full inbox the request is lost; the next comparison with
    /// the store makes up for that.
    pub fn forward(&self, room: RoomId, request: Request) {
        if let Some(handle) = self.handles.get(&room) {
            let _ = handle.inbox.try_send(Box::new(request));
        }
    }

    /// Sends a request to a room if it is in memory, and waits for space in its inbox.
    pub async fn forward_waiting(&self, room: RoomId, request: Request) {
        let inbox = self.handles.get(&room).map(|handle| handle.inbox.clone());
        if let Some(inbox) = inbox {
            // An error means that the room has retired.
            let _ = inbox.send(Box::new(request)).await;
        }
    }

    /// Removes an idle room. Returns `false` if a request has arrived in the meantime.
    pub fn retire(&self, room: RoomId, inbox: &mpsc::Receiver<Box<Request>>) -> bool {
        self.handles.remove_if(&room, |_, _| inbox.is_empty()).is_some()
    }

    /// Returns the number of a room's last event in memory, or `None` if the room is not loaded.
    pub fn head(&self, room: RoomId) -> Option<u64> {
        let head = self.handles.get(&room)?.head.load(Ordering::Relaxed);
        (head != UNLOADED).then_some(head)
    }

    pub fn ids(&self) -> Vec<RoomId> {
        self.handles.iter().map(|handle| *handle.key()).collect()
    }

    pub fn count(&self) -> usize {
        self.handles.len()
    }
}
