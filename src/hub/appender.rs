//! Group commit: appends that arrive while a commit runs go into the next one together.
//!
//! There is no timer: an append that finds the appender idle is committed at once, and under load the time of one commit
//! is what collects the next batch. So the disk is flushed once for many rooms, and nobody waits for company.
//!
//! What goes out of the hub is noted in the same transaction, and handed over after it. A hand-over that finds no place
//! costs nothing but time: the note is there, and is found when its lease runs out.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use crate::clock::Clock;
use crate::store::events::{Append, Appended};
use crate::store::outgoing::{News, Note};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::METRICS;

/// Appends in one transaction.
const MAX_BATCH: usize = 256;
/// Bytes of events in one transaction, unless a single append has more.
const MAX_BYTES: usize = 1024 * 1024;
/// Appends that may wait; rooms that find no place wait for one.
const WAITING: usize = 1024;
/// Transactions that run at a time. SQLite writes one after the other anyway; more of them than this do not help
/// PostgreSQL, because the batches get smaller.
const LANES: usize = 1;
/// How long what goes out of the hub stays with the node that committed it. What waits there for its time waits a few
/// seconds.
pub const OUTBOX_LEASE: Duration = Duration::from_secs(30);

/// What a commit says to those outside, under the id of its note.
#[derive(Debug)]
pub struct OutboxBatch {
    pub note: Uuid,
    pub news: Vec<News>,
}

/// Where what goes out is handed over.
#[derive(Clone, Debug)]
struct OutboxSender {
    clock: Clock,
    handed: mpsc::Sender<OutboxBatch>,
}

type Reply = oneshot::Sender<Result<Appended, StoreError>>;

/// What the appender is asked for.
enum Ask {
    Append(Append, Reply),
    /// To answer when everything that was asked for before is done.
    Finish(oneshot::Sender<()>),
}

/// Commits the appends of all rooms.
#[derive(Clone, Debug)]
pub struct Appender {
    queue: mpsc::Sender<Ask>,
}

impl Appender {
    /// Starts the task that commits. What goes out of the hub is handed over to `handed`.
    pub fn start(store: Store, clock: Clock, handed: mpsc::Sender<OutboxBatch>) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        tokio::spawn(run(store, OutboxSender { clock, handed }, waiting));
        Self { queue }
    }

    /// Commits the events of one command. An error says that the outcome is unknown.
    pub async fn append(&self, append: Append) -> Result<Appended, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Ask::Append(append, reply)).await.map_err(|_| lost())?;
        answer.await.map_err(|_| lost())?
    }

    /// Appends that wait for their transaction.
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Waits until everything that was handed over before is committed, or has failed.
    pub async fn finish(&self) {
        let (done, finished) = oneshot::channel();
        if self.queue.send(Ask::Finish(done)).await.is_ok() {
            // An error says that the appender is gone, and with it everything that waited.
            let _ = finished.await;
        }
    }
}

fn lost() -> StoreError {
    StoreError::Unavailable("the appender gave no answer".into())
}

/// What goes into one transaction.
#[derive(Default)]
struct Batch {
    appends: Vec<Append>,
    replies: Vec<Reply>,
    bytes: usize,
}

impl Batch {
    /// Adds an append, unless the batch is full; then it comes back.
    fn add(&mut self, append: Append, reply: Reply) -> Option<Ask> {
        // Whoever gave up waiting was told that the outcome is unknown, and sends it again.
        if reply.is_closed() {
            return None;
        }
        let bytes = self.bytes + append.bytes();
        if !self.appends.is_empty() && (bytes > MAX_BYTES || self.appends.len() == MAX_BATCH) {
            return Some(Ask::Append(append, reply));
        }
        self.bytes = bytes;
        self.appends.push(append);
        self.replies.push(reply);
        None
    }

    async fn commit(self, store: Store, outlet: OutboxSender, _lane: OwnedSemaphorePermit) {
        let note = Note { id: outlet.clock.fresh_id(), taken_until: outlet.clock.now().plus(OUTBOX_LEASE) };
        let begin = Instant::now();
        let written = store.append_noting(&self.appends, Some(note)).await;
        METRICS.commit.observe_since(begin);
        METRICS.appends.record(u32::try_from(self.appends.len()).unwrap_or(u32::MAX));
        match written {
            Ok(answers) => {
                let is_committed: Vec<bool> = answers.iter().map(|it| *it == Appended::Committed).collect();
                for (reply, appended) in self.replies.into_iter().zip(answers) {
                    // Whoever asked may have given up waiting; the events stand.
                    let _ = reply.send(Ok(appended));
                }
                let committed = self.appends.into_iter().zip(is_committed).filter(|(_, it)| *it);
                let news: Vec<News> = committed.filter_map(|(append, _)| News::of(append)).collect();
                if !news.is_empty() && outlet.handed.try_send(OutboxBatch { note: note.id, news }).is_err() {
                    tracing::debug!(note = %note.id, "a note waits until its lease is over");
                }
            }
            Err(error) => {
                let appends = self.appends.len();
                tracing::warn!(%error, appends, "a batch was not committed, or its outcome is unknown");
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

async fn run(store: Store, outlet: OutboxSender, mut waiting: mpsc::Receiver<Ask>) {
    let lanes = Arc::new(Semaphore::new(LANES));
    let mut held = None;
    loop {
        let ask = match held.take() {
            Some(ask) => Some(ask),
            None => waiting.recv().await,
        };
        let mut batch = Batch::default();
        match ask {
            None => return,
            Some(Ask::Finish(done)) => {
                let all = u32::try_from(LANES).expect("there are few lanes");
                let _idle = lanes.acquire_many(all).await.expect("the semaphore is never closed");
                let _ = done.send(());
                continue;
            }
            Some(Ask::Append(append, reply)) => held = batch.add(append, reply),
        }
        // The batch is collected when its commit can begin, not before: meanwhile it grows.
        let lane = lanes.clone().acquire_owned().await.expect("the semaphore is never closed");
        while held.is_none()
            && let Ok(ask) = waiting.try_recv()
        {
            held = match ask {
                Ask::Append(append, reply) => batch.add(append, reply),
                finish => Some(finish),
            };
        }
        if !batch.appends.is_empty() {
            // A task of its own, so that a mistake there ends one batch and not all that come after it.
            tokio::spawn(batch.commit(store.clone(), outlet.clone(), lane));
        }
    }
}
