//! Read receipts on their way to the store (`mark` on the wire). They are collected and written together: a mark lost
//! in a crash is made up for by the next one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rooms::id::{RoomId, UserId};
use rooms::signal::Mark;
use tokio::sync::Notify;

use crate::store::Store;
use crate::telemetry::panics::TaskGuard;

/// How long marks are collected before they are written.
const WRITE_DELAY: Duration = Duration::from_millis(500);

/// Writes marks in the background.
#[derive(Clone)]
pub struct MarkWriter {
    pending: Arc<PendingMarks>,
    store: Store,
}

#[derive(Default)]
struct PendingMarks {
    marks: Mutex<HashMap<(RoomId, UserId), Mark>>,
    added: Notify,
}

impl MarkWriter {
    pub fn start(store: Store) -> Self {
        let writer = Self { pending: Arc::default(), store };
        let task = writer.clone();
        tokio::spawn(async move {
            let mut guard = TaskGuard::new("read receipts");
            loop {
                task.pending.added.notified().await;
                tokio::time::sleep(WRITE_DELAY).await;
                guard.run(task.flush()).await;
            }
        });
        writer
    }

    /// Queues a mark. Marks only advance, so the last one replaces earlier ones.
    pub fn save(&self, room: RoomId, user: UserId, mark: Mark) {
        self.pending.marks.lock().unwrap_or_else(PoisonError::into_inner).insert((room, user), mark);
        self.pending.added.notify_one();
    }

    /// Writes all queued marks.
    pub async fn flush(&self) {
        let marks: Vec<_> = self
            .pending
            .marks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain()
            .map(|((room, user), mark)| (room, user, mark))
            .collect();
        if !marks.is_empty()
            && let Err(error) = self.store.save_marks(&marks).await
        {
            tracing::warn!(%error, marks = marks.len(), "mark write failed");
        }
    }
}
