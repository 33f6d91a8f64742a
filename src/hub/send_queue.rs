//! The send queue of one connection: bounded in bytes, and closed when full.
//!
//! Pushing never waits, so a slow reader cannot delay a room. A reader that does not keep up loses its whole queue and
//! is closed with a code that means "resume". The log still has every event, so nothing is lost.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rooms::id::RoomId;
use rooms::wire::close::Close;
use tokio::sync::Notify;

/// An entry of the queue. Frames are UTF-8, encoded once and shared by all connections that receive them.
#[derive(Clone, Debug)]
pub enum QueueItem {
    /// An event of a room, with the number of the event before it.
    Event { room: RoomId, prev: u64, seq: u64, text: Bytes },
    /// Any other frame.
    Frame(Bytes),
    /// The room has ended the subscription, because the reader's view has changed.
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
    items: VecDeque<QueueItem>,
    bytes: usize,
    closed: Option<Close>,
}

/// A bounded send queue.
#[derive(Debug)]
pub struct SendQueue {
    queue: Mutex<Queue>,
    ready: Notify,
    max_bytes: usize,
}

impl SendQueue {
    pub fn new(max_bytes: usize) -> Self {
        Self { queue: Mutex::default(), ready: Notify::new(), max_bytes }
    }

    /// Queues an item. If that would exceed the limit, drops the queue and closes with [`Close::Slow`].
    pub fn push(&self, item: QueueItem) {
        let mut queue = self.lock();
        if queue.closed.is_some() {
            return;
        }
        let bytes = queue.bytes + item.bytes();
        if bytes > self.max_bytes {
            Self::shut(&mut queue, Close::Slow);
        } else {
            queue.bytes = bytes;
            queue.items.push_back(item);
        }
        drop(queue);
        self.ready.notify_one();
    }

    /// Drops the queue and closes the connection. The first reason stays.
    pub fn close(&self, why: Close) {
        Self::shut(&mut self.lock(), why);
        self.ready.notify_one();
    }

    /// Takes the next item, or the reason to close. Returns `None` if the queue is empty.
    pub fn take(&self) -> Option<Result<QueueItem, Close>> {
        let mut queue = self.lock();
        if let Some(why) = queue.closed {
            return Some(Err(why));
        }
        let item = queue.items.pop_front()?;
        queue.bytes -= item.bytes();
        if queue.items.is_empty() {
            // Frees the buffer of a burst: an idle connection must stay small.
            queue.items = VecDeque::new();
        }
        Some(Ok(item))
    }

    /// Returns the reason to close, if closed.
    pub fn closed(&self) -> Option<Close> {
        self.lock().closed
    }

    /// Waits until [`take`](Self::take) may return something.
    pub async fn ready(&self) {
        self.ready.notified().await;
    }

    fn shut(queue: &mut Queue, why: Close) {
        queue.items = VecDeque::new();
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
    fn full_queue_drops_its_content_and_closes_as_slow() {
        let queue = SendQueue::new(10);
        queue.push(frame(6));
        queue.push(frame(5));
        assert!(matches!(queue.take(), Some(Err(Close::Slow))));
        queue.push(frame(1));
        assert!(matches!(queue.take(), Some(Err(Close::Slow))));
    }

    #[test]
    fn taking_frees_space() {
        let queue = SendQueue::new(10);
        for _ in 0..100 {
            queue.push(frame(10));
            assert!(matches!(queue.take(), Some(Ok(QueueItem::Frame(_)))));
        }
        assert!(queue.take().is_none());
    }
}
