//! Queues of the bus: bounded in number and in bytes. A full queue rejects messages; a full inbox reports a gap later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::BusEvent;

/// Messages in one queue.
const MAX_MESSAGES: usize = 8192;
/// Bytes of all messages in one queue.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The sending end of a queue.
pub struct QueueSender<T> {
    queue: mpsc::Sender<(T, usize)>,
    bytes: Arc<AtomicUsize>,
}

impl<T> Clone for QueueSender<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), bytes: self.bytes.clone() }
    }
}

/// The receiving end of a queue.
pub struct QueueReceiver<T> {
    queue: mpsc::Receiver<(T, usize)>,
    bytes: Arc<AtomicUsize>,
}

pub fn queue<T>() -> (QueueSender<T>, QueueReceiver<T>) {
    let (sender, receiver) = mpsc::channel(MAX_MESSAGES);
    let bytes = Arc::new(AtomicUsize::new(0));
    (QueueSender { queue: sender, bytes: bytes.clone() }, QueueReceiver { queue: receiver, bytes })
}

impl<T> QueueSender<T> {
    /// Queues an item that counts as so many bytes. Returns `false` if the queue is full.
    pub fn push(&self, item: T, bytes: usize) -> bool {
        if self.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes <= MAX_BYTES
            && self.queue.try_send((item, bytes)).is_ok()
        {
            return true;
        }
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        false
    }
}

impl<T> QueueReceiver<T> {
    /// Waits for the next item. Returns `None` when all senders are dropped.
    pub async fn take(&mut self) -> Option<T> {
        let (item, bytes) = self.queue.recv().await?;
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        Some(item)
    }

    /// Returns the next item if there is one already.
    pub fn try_take(&mut self) -> Option<T> {
        let (item, bytes) = self.queue.try_recv().ok()?;
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        Some(item)
    }
}

/// The bus's end of the inbox.
#[derive(Clone)]
pub struct InboxSender {
    sender: QueueSender<BusEvent>,
    has_gap: Arc<AtomicBool>,
}

impl InboxSender {
    /// Queues an event. If the inbox is full, the event is lost and a gap is noted.
    pub fn send(&self, event: BusEvent) {
        let bytes = match &event {
            BusEvent::Message { text, .. } => text.len(),
            BusEvent::Subscribed(_) | BusEvent::Gap => 0,
        };
        if !self.sender.push(event, bytes) {
            self.has_gap.store(true, Ordering::Release);
        }
    }
}

/// Events from the bus.
pub struct Inbox {
    receiver: QueueReceiver<BusEvent>,
    has_gap: Arc<AtomicBool>,
}

pub fn inbox() -> (Inbox, InboxSender) {
    let (sender, receiver) = queue();
    let has_gap = Arc::new(AtomicBool::new(false));
    (Inbox { receiver, has_gap: has_gap.clone() }, InboxSender { sender, has_gap })
}

impl Inbox {
    /// Waits for the next event. Returns `None` when the bus is dropped.
    pub async fn next(&mut self) -> Option<BusEvent> {
        if self.has_gap.swap(false, Ordering::AcqRel) {
            return Some(BusEvent::Gap);
        }
        self.receiver.take().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Channel;

    fn message(bytes: usize) -> BusEvent {
        BusEvent::Message { channel: Channel::All, text: "x".repeat(bytes) }
    }

    #[tokio::test]
    async fn full_inbox_reports_a_gap() {
        let (mut inbox, sender) = inbox();
        for _ in 0..=MAX_MESSAGES {
            sender.send(message(1));
        }
        assert_eq!(inbox.next().await, Some(BusEvent::Gap));
        for _ in 0..MAX_MESSAGES {
            assert_eq!(inbox.next().await, Some(message(1)));
        }
        sender.send(message(MAX_BYTES));
        sender.send(message(1));
        assert_eq!(inbox.next().await, Some(BusEvent::Gap));
        assert!(matches!(inbox.next().await, Some(BusEvent::Message { .. })));
        sender.send(message(MAX_BYTES));
        assert!(matches!(inbox.next().await, Some(BusEvent::Message { .. })), "its bytes are free again");
    }
}
