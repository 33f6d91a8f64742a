//! Who is being delivered to: a breaker and a bound for each lane of a sink. Each node has its own picture of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::breaker::{Breaker, BreakerState};
use crate::store::dispatches::Sink;

/// All lanes; cheap to clone.
#[derive(Clone, Default)]
pub struct Lanes {
    known: Arc<Mutex<HashMap<(Sink, String), Lane>>>,
}

#[derive(Default)]
struct Lane {
    breaker: Breaker,
    /// Deliveries under way.
    running: usize,
}

/// How many deliveries of one lane are under way at a time.
fn bound(sink: Sink) -> usize {
    match sink {
        Sink::Push => 16,
        Sink::Webhook => 4,
        Sink::Mail | Sink::Payment | Sink::Courier => 8,
    }
}

impl Lanes {
    fn with<T>(&self, sink: Sink, lane: &str, run: impl FnOnce(&mut Lane) -> T) -> T {
        let mut known: MutexGuard<'_, _> = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get_mut(&(sink, lane.to_owned())) {
            Some(lane) => run(lane),
            None => run(known.entry((sink, lane.to_owned())).or_default()),
        }
    }

    /// How many deliveries of a lane may be begun now; they count as under way until they end.
    pub fn begin(&self, sink: Sink, lane: &str, now: Instant) -> usize {
        self.with(sink, lane, |lane| {
            let free = lane.breaker.begin(bound(sink).saturating_sub(lane.running), now);
            lane.running += free;
            free
        })
    }

    /// So many that might have been begun were not.
    pub fn unused(&self, sink: Sink, lane: &str, count: usize) {
        self.with(sink, lane, |lane| {
            lane.running = lane.running.saturating_sub(count);
            if lane.running == 0 {
                lane.breaker.unused();
            }
        });
    }

    /// A delivery ended. Whether the receiver works: unknown if the delivery ended without asking it.
    pub fn ended(&self, sink: Sink, lane: &str, works: Option<bool>, now: Instant) {
        let opened = self.with(sink, lane, |lane| {
            lane.running = lane.running.saturating_sub(1);
            match works {
                Some(true) => lane.breaker.succeeded(now),
                Some(false) => return lane.breaker.failed(now),
                None => lane.breaker.unused(),
            }
            false
        });
        if opened {
            tracing::warn!(sink = sink.as_str(), lane, "a receiver does not answer; it is left alone for a while");
        }
    }

    /// How many lanes of a sink are left alone now.
    pub fn open(&self, sink: Sink, now: Instant) -> usize {
        let known: MutexGuard<'_, _> = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let open = |lane: &Lane| lane.breaker.state(now) == BreakerState::Open;
        known.iter().filter(|((of, _), lane)| *of == sink && open(lane)).count()
    }

    /// What the breaker of a lane does.
    pub fn state(&self, sink: Sink, lane: &str, now: Instant) -> BreakerState {
        self.with(sink, lane, |lane| lane.breaker.state(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::breaker::{FAILURES, FIRST_PAUSE};

    #[test]
    fn a_lane_has_a_bound_and_one_that_fails_does_not_concern_the_others() {
        let (lanes, now) = (Lanes::default(), Instant::now());
        assert_eq!((lanes.begin(Sink::Webhook, "a", now), lanes.begin(Sink::Webhook, "a", now)), (4, 0));
        for _ in 0..FAILURES {
            lanes.ended(Sink::Webhook, "a", Some(false), now);
        }
        assert_eq!(lanes.begin(Sink::Webhook, "a", now), 0);
        assert_eq!(lanes.state(Sink::Webhook, "a", now), BreakerState::Open);
        assert_eq!((lanes.open(Sink::Webhook, now), lanes.open(Sink::Payment, now)), (1, 0));
        assert_eq!(lanes.begin(Sink::Webhook, "b", now), 4);
        assert_eq!(lanes.begin(Sink::Payment, "a", now), 8);
        assert_eq!(lanes.begin(Sink::Webhook, "a", now + FIRST_PAUSE), 1);
        lanes.ended(Sink::Webhook, "a", Some(true), now + FIRST_PAUSE);
        assert_eq!(lanes.begin(Sink::Webhook, "a", now + FIRST_PAUSE), 4);
    }
}
