//! How long the hub takes to pass on what one side of a call tells the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rooms::id::{CallId, UserId};

use crate::latency::{Latency, Summary};

/// A message by its call, whom it goes to, its epoch and its number.
type Name = (CallId, UserId, u64, u64);

/// Shared by both sides of all calls of a process.
#[derive(Clone, Default)]
pub struct Relayed(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    under_way: HashMap<Name, Instant>,
    latency: Latency,
}

impl Relayed {
    pub fn sent(&self, call: CallId, to: UserId, epoch: u64, n: u64) {
        self.book().under_way.insert((call, to, epoch, n), Instant::now());
    }

    pub fn arrived(&self, call: CallId, at: UserId, epoch: u64, n: u64) {
        let mut book = self.book();
        if let Some(sent) = book.under_way.remove(&(call, at, epoch, n)) {
            book.latency.record(u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
    }

    pub fn summary(&self) -> Summary {
        self.book().latency.summary()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
