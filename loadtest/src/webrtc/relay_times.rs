//! Measures how long the hub takes to relay a signal between the sides of a call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rooms::id::{CallId, UserId};

use crate::latency::{Latency, LatencySummary};

/// Identifies a signal by its call, recipient, epoch, and number.
type SignalKey = (CallId, UserId, u64, u64);

/// Shared by both sides of all calls of a process.
#[derive(Clone, Default)]
pub struct RelayTimes(Arc<Mutex<PendingSignals>>);

#[derive(Default)]
struct PendingSignals {
    sent_at: HashMap<SignalKey, Instant>,
    latency: Latency,
}

impl RelayTimes {
    pub fn sent(&self, call: CallId, to: UserId, epoch: u64, n: u64) {
        self.pending().sent_at.insert((call, to, epoch, n), Instant::now());
    }

    pub fn arrived(&self, call: CallId, at: UserId, epoch: u64, n: u64) {
        let mut pending = self.pending();
        if let Some(sent) = pending.sent_at.remove(&(call, at, epoch, n)) {
            pending.latency.record(u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
    }

    pub fn summary(&self) -> LatencySummary {
        self.pending().latency.summary()
    }

    fn pending(&self) -> MutexGuard<'_, PendingSignals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
