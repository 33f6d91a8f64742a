//! Delivered and seen marks on their way to the store: collected, then written together, because a mark that is lost in
//! a crash is made up for by the next one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rooms::id::{RoomId, UserId};
use rooms::signal::Mark;
use tokio::sync::Notify;

use crate::store::Store;

/// How long marks are collected before they are written.
const DELAY: Duration = Duration::from_millis(500);

/// Writes marks in the background.
#[derive(Clone)]
pub struct MarkWriter {
    waiting: Arc<Waiting>,
    store: Store,
}

#[derive(Default)]
struct Waiting {
    marks: Mutex<HashMap<(RoomId, UserId), Mark>>,
    some: Notify,
}

impl MarkWriter {
    pub fn start(store: Store) -> Self {
        let writer = Self { waiting: Arc::default(), store };
        let task = writer.clone();
        tokio::spawn(async move {
            loop {
                task.waiting.some.notified().await;
                tokio::time::sleep(DELAY).await;
                task.flush().await;
            }
        });
        writer
    }

    /// Notes a mark. Marks only grow, so the last one stands for all.
    pub fn save(&self, room: RoomId, user: UserId, mark: Mark) {
        self.waiting.marks.lock().unwrap_or_else(PoisonError::into_inner).insert((room, user), mark);
        self.waiting.some.notify_one();
    }

    /// Writes what waits.
    pub async fn flush(&self) {
        let marks: Vec<_> = self
            .waiting
            .marks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain()
            .map(|((r, u), m)| (r, u, m))
            .collect();
        if !marks.is_empty()
            && let Err(error) = self.store.save_marks(&marks).await
        {
            tracing::warn!(%error, marks = marks.len(), "marks were not written");
        }
    }
}
