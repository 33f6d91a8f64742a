//! Group commit: appends that arrive during a commit share the next transaction.
//!
//! There is no timer. An idle appender commits at once; under load the duration of one commit collects the next batch.
//! So the disk is flushed once for many rooms, and no append waits for others.
//!
//! The same transaction writes the outbox entry of the batch. After the commit, the batch is handed to the outbox
//! worker. If the worker's buffer is full, the entry is found when its lease expires.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use crate::clock::Clock;
use crate::store::outbox::{CommittedChange, OutboxEntry};
use crate::store::record::{Append, Appended};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::METRICS;

/// Appends in one transaction.
const MAX_BATCH_APPENDS: usize = 256;
/// Bytes of events in one transaction, unless a single append has more.
const MAX_BATCH_BYTES: usize = 1024 * 1024;
/// Appends in the queue. With a full queue, rooms wait.
const QUEUE_CAPACITY: usize = 1024;
/// Concurrent transactions. SQLite has one writer anyway, and PostgreSQL gains nothing from more, because the batches
/// get smaller.
const MAX_TRANSACTIONS: usize = 1;
/// How long an outbox entry belongs to the node that committed it. Longer than the grace period of its notifications.
pub const OUTBOX_LEASE: Duration = Duration::from_secs(30);

/// The committed changes of one outbox entry.
#[derive(Debug)]
pub struct OutboxBatch {
    pub note: Uuid,
    pub news: Vec<CommittedChange>,
}

/// Hands committed changes to the outbox worker.
#[derive(Clone, Debug)]
struct OutboxSender {
    clock: Clock,
    batches: mpsc::Sender<OutboxBatch>,
}

type AppendReply = oneshot::Sender<Result<Appended, StoreError>>;

/// A request to the appender's task.
#[allow(clippy::large_enum_variant, reason = "nearly every request is an append")]
enum AppenderRequest {
    Append(Append, AppendReply),
    /// Answers when all earlier appends are done.
    Finish(oneshot::Sender<()>),
}

/// Commits the appends of all rooms.
#[derive(Clone, Debug)]
pub struct Appender {
    queue: mpsc::Sender<AppenderRequest>,
}

impl Appender {
    /// Starts the task that commits. It hands committed changes to `batches`.
    pub fn start(store: Store, clock: Clock, batches: mpsc::Sender<OutboxBatch>) -> Self {
        let (queue, requests) = mpsc::channel(QUEUE_CAPACITY);
        tokio::spawn(run(store, OutboxSender { clock, batches }, requests));
        Self { queue }
    }

    /// Commits the events of one command. After an error the outcome is unknown.
    pub async fn append(&self, append: Append) -> Result<Appended, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(AppenderRequest::Append(append, reply)).await.map_err(|_| no_answer())?;
        answer.await.map_err(|_| no_answer())?
    }

    /// Returns how many appends wait for their transaction.
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Waits until all earlier appends are committed or have failed.
    pub async fn finish(&self) {
        let (done, finished) = oneshot::channel();
        if self.queue.send(AppenderRequest::Finish(done)).await.is_ok() {
            // An error means that the appender has ended, and with it all queued appends.
            let _ = finished.await;
        }
    }
}

fn no_answer() -> StoreError {
    StoreError::Unavailable("the appender gave no answer".into())
}

/// The appends of one transaction.
#[derive(Default)]
struct AppendBatch {
    appends: Vec<Append>,
    replies: Vec<AppendReply>,
    bytes: usize,
}

impl AppendBatch {
    /// Adds an append, or returns it if the batch is full.
    fn add(&mut self, append: Append, reply: AppendReply) -> Option<AppenderRequest> {
        // The room has given up waiting: it has reported an unknown outcome, and the sender will retry.
        if reply.is_closed() {
            return None;
        }
        let bytes = self.bytes + append.bytes();
        if !self.appends.is_empty() && (bytes > MAX_BATCH_BYTES || self.appends.len() == MAX_BATCH_APPENDS) {
            return Some(AppenderRequest::Append(append, reply));
        }
        self.bytes = bytes;
        self.appends.push(append);
        self.replies.push(reply);
        None
    }

    async fn commit(self, store: Store, outbox: OutboxSender, _permit: OwnedSemaphorePermit) {
        let note = OutboxEntry { id: outbox.clock.fresh_id(), leased_until: outbox.clock.now().plus(OUTBOX_LEASE) };
        let started = Instant::now();
        let written = store.append_with_outbox(&self.appends, Some(note)).await;
        METRICS.commit.observe_since(started);
        METRICS.appends.record(u32::try_from(self.appends.len()).unwrap_or(u32::MAX));
        match written {
            Ok(answers) => {
                let is_committed: Vec<bool> = answers.iter().map(|it| *it == Appended::Committed).collect();
                for (reply, appended) in self.replies.into_iter().zip(answers) {
                    // An error means that the room has given up waiting; the events stay.
                    let _ = reply.send(Ok(appended));
                }
                let committed = self.appends.into_iter().zip(is_committed).filter(|(_, it)| *it);
                let news: Vec<CommittedChange> =
                    committed.filter_map(|(append, _)| CommittedChange::of(append)).collect();
                if !news.is_empty() && outbox.batches.try_send(OutboxBatch { note: note.id, news }).is_err() {
                    tracing::debug!(note = %note.id, "outbox buffer full, entry left for lease recovery");
                }
            }
            Err(error) => {
                let appends = self.appends.len();
                tracing::warn!(%error, appends, "append batch failed");
                for reply in self.replies {
                    let why = "the batch failed".to_owned();
                    let _ = reply.send(Err(match error {
                        StoreError::Full(_) => StoreError::Full(why),
                        _ => StoreError::Unavailable(why),
                    }));
                }
            }
        }
    }
}

async fn run(store: Store, outbox: OutboxSender, mut requests: mpsc::Receiver<AppenderRequest>) {
    let permits = Arc::new(Semaphore::new(MAX_TRANSACTIONS));
    let mut leftover = None;
    loop {
        let request = match leftover.take() {
            Some(request) => Some(request),
            None => requests.recv().await,
        };
        let mut batch = AppendBatch::default();
        match request {
            None => return,
            Some(AppenderRequest::Finish(done)) => {
                let all = u32::try_from(MAX_TRANSACTIONS).expect("there are few transactions");
                let _idle = permits.acquire_many(all).await.expect("the semaphore is never closed");
                let _ = done.send(());
                continue;
            }
            Some(AppenderRequest::Append(append, reply)) => leftover = batch.add(append, reply),
        }
        // The batch is collected only when its commit can begin, so that it grows until then.
        let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
        while leftover.is_none()
            && let Ok(request) = requests.try_recv()
        {
            leftover = match request {
                AppenderRequest::Append(append, reply) => batch.add(append, reply),
                finish @ AppenderRequest::Finish(_) => Some(finish),
            };
        }
        if !batch.appends.is_empty() {
            // In a task of its own, so that a panic ends this batch only.
            tokio::spawn(batch.commit(store.clone(), outbox.clone(), permit));
        }
    }
}
