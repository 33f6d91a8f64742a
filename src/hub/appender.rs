//! Group commit: appends that arrive while a commit runs go into the next one together.
//!
//! There is no timer: an append that finds the appender idle is committed at once, and under load the time of one commit
//! is what collects the next batch. So the disk is flushed once for many rooms, and nobody waits for company.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};

use crate::store::events::{Append, Appended};
use crate::store::{Store, StoreError};

/// Appends in one transaction.
const MAX_BATCH: usize = 256;
/// Bytes of events in one transaction.
const MAX_BYTES: usize = 1024 * 1024;
/// Appends that may wait; rooms that find no place wait for one.
const WAITING: usize = 1024;

type Reply = oneshot::Sender<Result<Appended, StoreError>>;

/// Commits the appends of all rooms.
#[derive(Clone, Debug)]
pub struct Appender {
    queue: mpsc::Sender<(Append, Reply)>,
    /// Held while a batch is committed.
    busy: Arc<Mutex<()>>,
}

impl Appender {
    /// Starts the task that commits.
    pub fn start(store: Store) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        let busy = Arc::new(Mutex::new(()));
        tokio::spawn(run(store, waiting, busy.clone()));
        Self { queue, busy }
    }

    /// Commits the events of one command. An error says that the outcome is unknown.
    pub async fn append(&self, append: Append) -> Result<Appended, StoreError> {
        let (reply, answer) = oneshot::channel();
        let stopped = || StoreError::Unavailable("the appender has stopped".into());
        self.queue.send((append, reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Waits until everything that was handed over before is committed.
    pub async fn finish(&self) {
        while self.queue.capacity() < self.queue.max_capacity() {
            tokio::task::yield_now().await;
            drop(self.busy.lock().await);
        }
        drop(self.busy.lock().await);
    }
}

async fn run(store: Store, mut waiting: mpsc::Receiver<(Append, Reply)>, busy: Arc<Mutex<()>>) {
    let mut batch = Vec::new();
    let mut replies = Vec::new();
    let mut held = None;
    loop {
        let Some((append, reply)) = (match held.take() {
            Some(first) => Some(first),
            None => waiting.recv().await,
        }) else {
            return;
        };
        let _busy = busy.lock().await;
        let mut bytes = append.bytes();
        batch.push(append);
        replies.push(reply);
        while batch.len() < MAX_BATCH
            && let Ok((append, reply)) = waiting.try_recv()
        {
            bytes += append.bytes();
            if bytes > MAX_BYTES {
                held = Some((append, reply));
                break;
            }
            batch.push(append);
            replies.push(reply);
        }
        let result = store.append(&batch).await;
        batch.clear();
        answer(&mut replies, result);
    }
}

fn answer(replies: &mut Vec<Reply>, result: Result<Vec<Appended>, StoreError>) {
    match result {
        Ok(answers) => {
            for (reply, appended) in replies.drain(..).zip(answers) {
                // Whoever asked may have given up waiting; the events stand.
                let _ = reply.send(Ok(appended));
            }
        }
        Err(error) => {
            tracing::warn!(%error, appends = replies.len(), "a batch was not committed, or its outcome is unknown");
            for reply in replies.drain(..) {
                let _ = reply.send(Err(StoreError::Unavailable("the batch failed".into())));
            }
        }
    }
}
