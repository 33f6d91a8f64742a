//! What waits to be written to one connection: bounded in bytes, and cut when it is full.
//!
//! Nothing here waits: a room pushes and goes on. A reader that does not keep up loses its whole queue at once and is
//! closed with a code that says "resume"; the log still has every event, so nothing is lost.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rooms::id::RoomId;
use rooms::wire::close::Close;
use tokio::sync::Notify;

/// One frame of UTF-8, encoded once and shared by every connection that gets it.
#[derive(Clone, Debug)]
pub enum QueueItem {
    /// An event of a room, with the interval it closes.
    Event { room: RoomId, prev: u64, seq: u64, text: Bytes },
    /// Any other frame.
    Frame(Bytes),
    /// The room has put this reader out: what it was allowed to see has changed.
    Evicted(RoomId),
}

impl QueueItem {
    fn bytes(&self) -> usize {
        match self {
            QueueItem::Event { text, .. } | QueueItem::Frame(text) => text.len(),
            QueueItem::Evicted(_) => 0,
        }
    }
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<QueueItem>,
    bytes: usize,
    closed: Option<Close>,
}

/// The queue of one connection.
#[derive(Debug)]
pub struct SendQueue {
    queue: Mutex<Queue>,
    ready: Notify,
    limit: usize,
}

impl SendQueue {
    /// A queue of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { queue: Mutex::default(), ready: Notify::new(), limit }
    }

    /// Queues a frame, or, if that would exceed the limit, drops what waits and closes with [`Close::Slow`].
    pub fn push(&self, item: QueueItem) {
        let mut queue = self.lock();
        if queue.closed.is_some() {
            return;
        }
        let bytes = queue.bytes + item.bytes();
        if bytes > self.limit {
            Self::shut(&mut queue, Close::Slow);
        } else {
            queue.bytes = bytes;
            queue.frames.push_back(item);
        }
        drop(queue);
        self.ready.notify_one();
    }

    /// Closes the connection: what waits is dropped, the first reason stays.
    pub fn close(&self, why: Close) {
        Self::shut(&mut self.lock(), why);
        self.ready.notify_one();
    }

    /// Takes the next frame, or the reason to close. `None`: nothing waits.
    pub fn take(&self) -> Option<Result<QueueItem, Close>> {
        let mut queue = self.lock();
        if let Some(why) = queue.closed {
            return Some(Err(why));
        }
        let item = queue.frames.pop_front()?;
        queue.bytes -= item.bytes();
        if queue.frames.is_empty() {
            // A burst must not leave its buffer behind on an idle connection.
            queue.frames = VecDeque::new();
        }
        Some(Ok(item))
    }

    /// Why it was closed, if it was.
    pub fn closed(&self) -> Option<Close> {
        self.lock().closed
    }

    /// Waits until [`take`](Self::take) may have something.
    pub async fn ready(&self) {
        self.ready.notified().await;
    }

    fn shut(queue: &mut Queue, why: Close) {
        queue.frames = VecDeque::new();
        queue.bytes = 0;
        queue.closed.get_or_insert(why);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: usize) -> QueueItem {
        QueueItem::Frame("x".repeat(len).into())
    }

    #[test]
    fn a_full_outbox_drops_its_content_and_closes_as_slow() {
        let queue = SendQueue::new(10);
        queue.push(frame(6));
        queue.push(frame(5));
        assert!(matches!(queue.take(), Some(Err(Close::Slow))));
        queue.push(frame(1));
        assert!(matches!(queue.take(), Some(Err(Close::Slow))));
    }

    #[test]
    fn room_is_made_by_taking() {
        let queue = SendQueue::new(10);
        for _ in 0..100 {
            queue.push(frame(10));
            assert!(matches!(queue.take(), Some(Ok(QueueItem::Frame(_)))));
        }
        assert!(queue.take().is_none());
    }
}
