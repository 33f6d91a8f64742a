//! A circuit breaker. It opens after several failures in a row, then lets one probe at a time through until one succeeds.
//!
//! Our own code: the dispatcher asks beforehand how many attempts may begin, while breaker libraries wrap one call. The
//! breaker has no clock; callers pass the time.

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;

/// Failures in a row that open a breaker.
pub const FAILURE_THRESHOLD: u32 = 5;
/// How long a breaker is open the first time. Each further opening doubles it.
pub const FIRST_COOLDOWN: Duration = Duration::from_secs(5);
/// The longest time that a breaker is open.
pub const MAX_COOLDOWN: Duration = Duration::from_secs(120);
/// How long the breaker waits for a probe's result before it permits another probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    consecutive_failures: u32,
    /// Openings since the last success.
    openings: u32,
    /// The end of the cooldown; absent while the breaker is closed.
    open_until: Option<Instant>,
    /// The end of the wait for the running probe.
    probe_until: Option<Instant>,
}

impl Breaker {
    pub fn state(&self, now: Instant) -> BreakerState {
        match self.open_until {
            None => BreakerState::Closed,
            Some(until) if now < until => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// Returns how many of `wanted` attempts may begin now, and counts them as begun.
    pub fn begin(&mut self, wanted: usize, now: Instant) -> usize {
        match self.state(now) {
            BreakerState::Closed => wanted,
            BreakerState::Open => 0,
            BreakerState::HalfOpen if wanted == 0 || self.probe_until.is_some_and(|until| now < until) => 0,
            BreakerState::HalfOpen => {
                self.probe_until = Some(now + PROBE_TIMEOUT);
                1
            }
        }
    }

    /// Frees the probe's place: nothing was due, or the attempt did not reach the receiver.
    pub fn cancel_probe(&mut self) {
        self.probe_until = None;
    }

    /// Records that the receiver accepted a delivery, or refused it with good reason.
    pub fn record_success(&mut self, now: Instant) {
        // A success that arrives late, while the breaker is open, predates the failures that opened it.
        if self.state(now) != BreakerState::Open {
            *self = Self::default();
        }
    }

    /// Records that the receiver did not answer, or reported a fault of its own. Returns `true` if the breaker opened.
    pub fn record_failure(&mut self, now: Instant) -> bool {
        self.probe_until = None;
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        let opens = match self.state(now) {
            BreakerState::Closed => self.consecutive_failures >= FAILURE_THRESHOLD,
            BreakerState::Open => false,
            BreakerState::HalfOpen => true,
        };
        if opens {
            let cooldown = FIRST_COOLDOWN * 2_u32.saturating_pow(self.openings.min(16));
            self.open_until = Some(now + cooldown.min(MAX_COOLDOWN));
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
        for _ in 1..FAILURE_THRESHOLD {
            assert!(!breaker.record_failure(now));
        }
        assert_eq!(breaker.state(now), BreakerState::Closed);
        assert!(breaker.record_failure(now));
        breaker
    }

    #[test]
    fn breaker_opens_only_after_consecutive_failures() {
        let now = Instant::now();
        let mut flapping = Breaker::default();
        for _ in 0..100 {
            for _ in 1..FAILURE_THRESHOLD {
                flapping.record_failure(now);
            }
            flapping.record_success(now);
        }
        assert_eq!(flapping.begin(7, now), 7);
        let mut breaker = opened(now);
        assert_eq!((breaker.state(now), breaker.begin(7, now)), (BreakerState::Open, 0));
        assert_eq!(breaker.begin(7, now + FIRST_COOLDOWN.mul_f64(0.99)), 0);
    }

    #[test]
    fn half_open_breaker_permits_one_probe_at_a_time_until_one_succeeds() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + FIRST_COOLDOWN;
        assert_eq!((breaker.begin(7, later), breaker.begin(7, later)), (1, 0));
        assert_eq!(breaker.state(later), BreakerState::HalfOpen);
        breaker.record_success(later);
        assert_eq!((breaker.state(later), breaker.begin(7, later)), (BreakerState::Closed, 7));
        assert!(!breaker.record_failure(later), "the count restarts");
    }

    #[test]
    fn cooldowns_double_up_to_the_maximum_and_a_lost_probe_is_replaced() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        let mut cooldowns = Vec::new();
        for _ in 0..8 {
            let opened_at = now;
            while breaker.begin(1, now) == 0 {
                now += Duration::from_secs(1);
            }
            cooldowns.push((now - opened_at).as_secs());
            assert!(breaker.record_failure(now));
        }
        assert_eq!(cooldowns, [5, 10, 20, 40, 80, 120, 120, 120]);
        now += MAX_COOLDOWN;
        assert_eq!((breaker.begin(1, now), breaker.begin(1, now)), (1, 0));
        assert_eq!(breaker.begin(1, now + PROBE_TIMEOUT), 1);
        breaker.cancel_probe();
        assert_eq!(breaker.begin(1, now + PROBE_TIMEOUT), 1);
    }

    #[test]
    fn late_results_do_not_change_an_open_breaker() {
        let now = Instant::now();
        let mut breaker = opened(now);
        breaker.record_success(now);
        assert!(!breaker.record_failure(now));
        assert_eq!(breaker.state(now), BreakerState::Open);
        assert_eq!(breaker.begin(1, now + FIRST_COOLDOWN), 1, "the cooldown is not extended");
    }
}
