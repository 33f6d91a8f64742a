//! What waits to be sent or to be taken: bounded in number and in bytes. A full queue refuses, and whoever is behind it
//! learns that something is missing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::Heard;

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
pub struct Ear {
    sender: Sender<Heard>,
    missed: Arc<AtomicBool>,
}

impl Ear {
    /// Passes on what was heard; if that is not possible, a gap is noted.
    pub fn hear(&self, heard: Heard) {
        let bytes = match &heard {
            Heard::Message { text, .. } => text.len(),
            Heard::Joined(_) | Heard::Gap => 0,
        };
        if !self.sender.push(heard, bytes) {
            self.missed.store(true, Ordering::Release);
        }
    }
}

/// What this node hears from the others.
pub struct Inbox {
    receiver: Receiver<Heard>,
    missed: Arc<AtomicBool>,
}

pub fn inbox() -> (Inbox, Ear) {
    let (sender, receiver) = queue();
    let missed = Arc::new(AtomicBool::new(false));
    (Inbox { receiver, missed: missed.clone() }, Ear { sender, missed })
}

impl Inbox {
    /// The next thing heard; `None` when nothing can come any more.
    pub async fn next(&mut self) -> Option<Heard> {
        if self.missed.swap(false, Ordering::AcqRel) {
            return Some(Heard::Gap);
        }
        self.receiver.take().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Channel;

    fn message(bytes: usize) -> Heard {
        Heard::Message { channel: Channel::All, text: "x".repeat(bytes) }
    }

    #[tokio::test]
    async fn what_finds_no_space_is_told_as_a_gap() {
        let (mut inbox, ear) = inbox();
        for _ in 0..=MESSAGES {
            ear.hear(message(1));
        }
        assert_eq!(inbox.next().await, Some(Heard::Gap));
        for _ in 0..MESSAGES {
            assert_eq!(inbox.next().await, Some(message(1)));
        }
        ear.hear(message(BYTES));
        ear.hear(message(1));
        assert_eq!(inbox.next().await, Some(Heard::Gap));
        assert!(matches!(inbox.next().await, Some(Heard::Message { .. })));
        ear.hear(message(BYTES));
        assert!(matches!(inbox.next().await, Some(Heard::Message { .. })), "its bytes are free again");
    }
}
