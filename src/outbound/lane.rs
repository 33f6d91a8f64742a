//! Destinations: one receiver within a sink each, with its own breaker and its own limit of concurrent attempts.
//!
//! The database and REST call a destination's name `lane`. Each node keeps its own counts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::breaker::{Breaker, BreakerState};
use crate::integrations::Evidence;
use crate::store::dispatches::Sink;

/// All destinations that this node has sent to; cheap to clone.
#[derive(Clone, Default)]
pub struct Destinations {
    known: Arc<Mutex<HashMap<(Sink, String), Destination>>>,
}

#[derive(Default)]
struct Destination {
    breaker: Breaker,
    attempts_in_flight: usize,
}

impl Destination {
    fn is_initial(&self) -> bool {
        self.attempts_in_flight == 0 && self.breaker == Breaker::default()
    }
}

/// Returns how many attempts at one destination may be in flight.
fn max_concurrent_attempts(sink: Sink) -> usize {
    match sink {
        Sink::Push => 16,
        Sink::Webhook => 4,
        Sink::Mail | Sink::Payment | Sink::Courier => 8,
    }
}

impl Destinations {
    fn lock(&self) -> MutexGuard<'_, HashMap<(Sink, String), Destination>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, sink: Sink, lane: &str, run: impl FnOnce(&mut Destination) -> T) -> T {
        let mut known = self.lock();
        let key = (sink, lane.to_owned());
        let result = run(known.entry(key.clone()).or_default());
        // A lane may be a host that a client names, so a destination without a state worth keeping is forgotten.
        if known.get(&key).is_some_and(Destination::is_initial) {
            known.remove(&key);
        }
        result
    }

    /// Returns how many attempts may begin now, and counts them as in flight until [`Self::finish`] or
    /// [`Self::return_unused`].
    pub fn begin(&self, sink: Sink, lane: &str, now: Instant) -> usize {
        self.with(sink, lane, |it| {
            let free = max_concurrent_attempts(sink).saturating_sub(it.attempts_in_flight);
            let permitted = it.breaker.begin(free, now);
            it.attempts_in_flight += permitted;
            permitted
        })
    }

    /// Returns permitted attempts for which nothing was due.
    pub fn return_unused(&self, sink: Sink, lane: &str, count: usize) {
        self.with(sink, lane, |it| {
            it.attempts_in_flight = it.attempts_in_flight.saturating_sub(count);
            if it.attempts_in_flight == 0 {
                it.breaker.cancel_probe();
            }
        });
    }

    /// Ends an attempt and feeds the breaker.
    pub fn finish(&self, sink: Sink, lane: &str, evidence: Evidence, now: Instant) {
        let has_opened = self.with(sink, lane, |it| {
            it.attempts_in_flight = it.attempts_in_flight.saturating_sub(1);
            match evidence {
                Evidence::Works => it.breaker.record_success(now),
                Evidence::Fails => return it.breaker.record_failure(now),
                Evidence::Nothing => it.breaker.cancel_probe(),
            }
            false
        });
        if has_opened {
            tracing::warn!(sink = sink.as_str(), lane, "breaker opened: the destination keeps failing");
        }
    }

    /// Returns how many destinations of a sink have an open breaker.
    pub fn open_breakers(&self, sink: Sink, now: Instant) -> usize {
        let is_open = |it: &Destination| it.breaker.state(now) == BreakerState::Open;
        self.lock().iter().filter(|((of, _), destination)| *of == sink && is_open(destination)).count()
    }

    pub fn breaker_state(&self, sink: Sink, lane: &str, now: Instant) -> BreakerState {
        self.with(sink, lane, |it| it.breaker.state(now))
    }
}

#[cfg(test)]
mod tests {
    use super::super::breaker::{FAILURE_THRESHOLD, FIRST_COOLDOWN};
    use super::*;

    #[test]
    fn destinations_are_limited_and_fail_independently() {
        let (destinations, now) = (Destinations::default(), Instant::now());
        assert_eq!((destinations.begin(Sink::Webhook, "a", now), destinations.begin(Sink::Webhook, "a", now)), (4, 0));
        for _ in 0..FAILURE_THRESHOLD {
            destinations.finish(Sink::Webhook, "a", Evidence::Fails, now);
        }
        assert_eq!(destinations.begin(Sink::Webhook, "a", now), 0);
        assert_eq!(destinations.breaker_state(Sink::Webhook, "a", now), BreakerState::Open);
        assert_eq!(
            (destinations.open_breakers(Sink::Webhook, now), destinations.open_breakers(Sink::Payment, now)),
            (1, 0)
        );
        assert_eq!(destinations.begin(Sink::Webhook, "b", now), 4);
        assert_eq!(destinations.begin(Sink::Payment, "a", now), 8);
        assert_eq!(destinations.begin(Sink::Webhook, "a", now + FIRST_COOLDOWN), 1);
        destinations.finish(Sink::Webhook, "a", Evidence::Works, now + FIRST_COOLDOWN);
        assert_eq!(destinations.begin(Sink::Webhook, "a", now + FIRST_COOLDOWN), 4);
    }

    #[test]
    fn destinations_without_a_state_worth_keeping_are_forgotten() {
        let (destinations, now) = (Destinations::default(), Instant::now());
        for host in 0..1_000 {
            let lane = format!("{host}.push.example.org");
            assert!(destinations.begin(Sink::Push, &lane, now) > 0);
            destinations.return_unused(Sink::Push, &lane, 15);
            destinations.finish(Sink::Push, &lane, Evidence::Works, now);
            destinations.breaker_state(Sink::Push, &lane, now);
        }
        assert_eq!(destinations.lock().len(), 0);
        destinations.begin(Sink::Push, "failing", now);
        destinations.finish(Sink::Push, "failing", Evidence::Fails, now);
        assert_eq!(destinations.lock().len(), 1, "failures in a row are remembered");
    }
}
