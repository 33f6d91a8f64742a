//! A circuit breaker: who fails several times in a row is left alone for a while, then tried with one delivery at a time
//! until one succeeds.
//!
//! Own code, because a runner asks beforehand how many deliveries it may take, which the libraries for it cannot say:
//! they wrap a call. It has no clock of its own.

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;

/// Failures in a row that open a breaker.
pub const FAILURES: u32 = 5;
/// How long a breaker is open the first time; each further time twice as long.
pub const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest it is open.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// How long a try may go without an answer until another one is made.
const PROBE: Duration = Duration::from_secs(30);

/// What a breaker does, for those who watch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Everything passes.
    Closed,
    /// Nothing passes.
    Open,
    /// One delivery at a time passes.
    HalfOpen,
}

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Breaker {
    /// Failures in a row.
    failures: u32,
    /// How often it opened since the last success.
    openings: u32,
    /// Until when nothing passes; absent while it is closed.
    closed_until: Option<Instant>,
    /// When the try that runs is no longer waited for.
    probe_until: Option<Instant>,
}

impl Breaker {
    pub fn state(&self, now: Instant) -> BreakerState {
        match self.closed_until {
            None => BreakerState::Closed,
            Some(until) if now < until => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// How many of `wanted` deliveries may be begun now. Those are counted as begun.
    pub fn begin(&mut self, wanted: usize, now: Instant) -> usize {
        match self.state(now) {
            BreakerState::Closed => wanted,
            BreakerState::Open => 0,
            BreakerState::HalfOpen if wanted == 0 || self.probe_until.is_some_and(|until| now < until) => 0,
            BreakerState::HalfOpen => {
                self.probe_until = Some(now + PROBE);
                1
            }
        }
    }

    /// What was begun came to nothing: there was nothing to deliver.
    pub fn unused(&mut self) {
        self.probe_until = None;
    }

    /// The receiver answered as it should, or refused with good reason.
    pub fn succeeded(&mut self, now: Instant) {
        // A late answer from before does not open the way: the partner failed since.
        if self.state(now) != BreakerState::Open {
            *self = Self::default();
        }
    }

    /// The receiver did not answer, or said that it cannot. True if that opened the breaker.
    pub fn failed(&mut self, now: Instant) -> bool {
        self.probe_until = None;
        self.failures = self.failures.saturating_add(1);
        let opens = match self.state(now) {
            BreakerState::Closed => self.failures >= FAILURES,
            BreakerState::Open => false,
            BreakerState::HalfOpen => true,
        };
        if opens {
            let pause = FIRST_PAUSE * 2_u32.saturating_pow(self.openings.min(16));
            self.closed_until = Some(now + pause.min(LONGEST_PAUSE));
            self.openings = self.openings.saturating_add(1);
        }
        opens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES {
            assert!(!breaker.failed(now));
        }
        assert_eq!(breaker.state(now), BreakerState::Closed);
        assert!(breaker.failed(now));
        breaker
    }

    #[test]
    fn a_breaker_opens_after_failures_in_a_row_and_only_then() {
        let now = Instant::now();
        let mut flapping = Breaker::default();
        for _ in 0..100 {
            for _ in 1..FAILURES {
                flapping.failed(now);
            }
            flapping.succeeded(now);
        }
        assert_eq!(flapping.begin(7, now), 7);
        let mut breaker = opened(now);
        assert_eq!((breaker.state(now), breaker.begin(7, now)), (BreakerState::Open, 0));
        assert_eq!(breaker.begin(7, now + FIRST_PAUSE - Duration::from_millis(1)), 0);
    }

    #[test]
    fn half_open_lets_one_at_a_time_through_until_one_succeeds() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + FIRST_PAUSE;
        assert_eq!((breaker.begin(7, later), breaker.begin(7, later)), (1, 0));
        assert_eq!(breaker.state(later), BreakerState::HalfOpen);
        breaker.succeeded(later);
        assert_eq!((breaker.state(later), breaker.begin(7, later)), (BreakerState::Closed, 7));
        assert!(!breaker.failed(later), "the count begins anew");
    }

    #[test]
    fn pauses_grow_to_their_longest_and_a_lost_probe_is_made_again() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let began = now;
            while breaker.begin(1, now) == 0 {
                now += Duration::from_secs(1);
            }
            pauses.push((now - began).as_secs());
            assert!(breaker.failed(now));
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 120, 120, 120]);
        now += LONGEST_PAUSE;
        assert_eq!((breaker.begin(1, now), breaker.begin(1, now)), (1, 0));
        assert_eq!(breaker.begin(1, now + PROBE), 1);
        breaker.unused();
        assert_eq!(breaker.begin(1, now + PROBE), 1);
    }

    #[test]
    fn late_answers_while_it_is_open_change_nothing() {
        let now = Instant::now();
        let mut breaker = opened(now);
        breaker.succeeded(now);
        assert!(!breaker.failed(now));
        assert_eq!(breaker.state(now), BreakerState::Open);
        assert_eq!(breaker.begin(1, now + FIRST_PAUSE), 1, "and do not prolong it");
    }
}
