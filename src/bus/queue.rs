//! What waits to be sent or to be taken: bounded in number and in bytes. A full queue refuses, and whoever is behind it
//! learns that something is missing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::BusEvent;

/// Messages that may wait.
const MESSAGES: usize = 8192;
/// Bytes of them.
const BYTES: usize = 64 * 1024 * 1024;

/// The end where things come in.
pub struct Sender<T> {
    queue: mpsc::Sender<(T, usize)>,
    waiting: Arc<AtomicUsize>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), waiting: self.waiting.clone() }
    }
}

/// The end where they are taken.
pub struct Receiver<T> {
    queue: mpsc::Receiver<(T, usize)>,
    waiting: Arc<AtomicUsize>,
}

pub fn queue<T>() -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::channel(MESSAGES);
    let waiting = Arc::new(AtomicUsize::new(0));
    (Sender { queue: sender, waiting: waiting.clone() }, Receiver { queue: receiver, waiting })
}

impl<T> Sender<T> {
    /// Puts something in, which counts as so many bytes; false if there is no space for it.
    pub fn push(&self, thing: T, bytes: usize) -> bool {
        if self.waiting.fetch_add(bytes, Ordering::AcqRel) + bytes <= BYTES
            && self.queue.try_send((thing, bytes)).is_ok()
        {
            return true;
        }
        self.waiting.fetch_sub(bytes, Ordering::AcqRel);
        false
    }
}

impl<T> Receiver<T> {
    /// Waits for the next; `None` when nothing can come any more.
    pub async fn take(&mut self) -> Option<T> {
        let (thing, bytes) = self.queue.recv().await?;
        self.waiting.fetch_sub(bytes, Ordering::AcqRel);
        Some(thing)
    }

    /// The next, if it is there already.
    pub fn try_take(&mut self) -> Option<T> {
        let (thing, bytes) = self.queue.try_recv().ok()?;
        self.waiting.fetch_sub(bytes, Ordering::AcqRel);
        Some(thing)
    }
}

/// Where the bus puts what it hears.
#[derive(Clone)]
pub struct InboxSender {
    sender: Sender<BusEvent>,
    missed: Arc<AtomicBool>,
}

impl InboxSender {
    /// Passes on what was heard; if that is not possible, a gap is noted.
    pub fn send(&self, heard: BusEvent) {
        let bytes = match &heard {
            BusEvent::Message { text, .. } => text.len(),
            BusEvent::Subscribed(_) | BusEvent::Gap => 0,
        };
        if !self.sender.push(heard, bytes) {
            self.missed.store(true, Ordering::Release);
        }
    }
}

/// What this node hears from the others.
pub struct Inbox {
    receiver: Receiver<BusEvent>,
    missed: Arc<AtomicBool>,
}

pub fn inbox() -> (Inbox, InboxSender) {
    let (sender, receiver) = queue();
    let missed = Arc::new(AtomicBool::new(false));
    (Inbox { receiver, missed: missed.clone() }, InboxSender { sender, missed })
}

impl Inbox {
    /// The next thing heard; `None` when nothing can come any more.
    pub async fn next(&mut self) -> Option<BusEvent> {
        if self.missed.swap(false, Ordering::AcqRel) {
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
    async fn what_finds_no_space_is_told_as_a_gap() {
        let (mut inbox, sender) = inbox();
        for _ in 0..=MESSAGES {
            sender.send(message(1));
        }
        assert_eq!(inbox.next().await, Some(BusEvent::Gap));
        for _ in 0..MESSAGES {
            assert_eq!(inbox.next().await, Some(message(1)));
        }
        sender.send(message(BYTES));
        sender.send(message(1));
        assert_eq!(inbox.next().await, Some(BusEvent::Gap));
        assert!(matches!(inbox.next().await, Some(BusEvent::Message { .. })));
        sender.send(message(BYTES));
        assert!(matches!(inbox.next().await, Some(BusEvent::Message { .. })), "its bytes are free again");
    }
}
