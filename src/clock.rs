//! Time and fresh ids. The server reads the system clock and draws ids nowhere else.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rooms::time::Timestamp;
use uuid::Uuid;

/// How far the system clock may be off before it is corrected. A smaller value would make the clock jump to and fro.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);

/// A clock; cheap to clone. Clones agree.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Microseconds to add to the system clock because it is wrong.
    correction: Arc<AtomicI64>,
    /// Microseconds by which tests have advanced the clock; otherwise 0.
    advanced: Arc<AtomicI64>,
}

impl Clock {
    /// A clock that follows the system.
    pub fn system() -> Self {
        Self::default()
    }

    /// Returns the present time in whole microseconds.
    pub fn now(&self) -> Timestamp {
        let offset = self.advanced.load(Ordering::Relaxed).saturating_add(self.correction.load(Ordering::Relaxed));
        Timestamp::from_micros(system().saturating_add(offset))
    }

    /// Compares with a clock that all nodes share, and follows it if the system clock is wrong. `theirs` was read just
    /// now and took `latency` to arrive. Returns the new correction in microseconds, or `None` if it is unchanged.
    pub fn compare(&self, theirs: Timestamp, latency: Duration) -> Option<i64> {
        let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        // The age of the answer is not known any better than this.
        if latency > CLOCK_TOLERANCE {
            return None;
        }
        let correction = theirs.micros().saturating_sub(system().saturating_sub(micros(latency / 2)));
        let correction = if correction.abs() > micros(CLOCK_TOLERANCE) { correction } else { 0 };
        let before = self.correction.load(Ordering::Relaxed);
        let is_similar = correction.abs_diff(before) <= micros(CLOCK_TOLERANCE).unsigned_abs();
        if is_similar && (correction == 0) == (before == 0) {
            return None;
        }
        self.correction.store(correction, Ordering::Relaxed);
        Some(correction)
    }

    /// Draws a new id. Ids sort by the time at which they were drawn.
    #[allow(clippy::disallowed_methods, reason = "the home of ids")]
    pub fn fresh_id(&self) -> Uuid {
        Uuid::now_v7()
    }

    /// Advances this clock and its clones by `span`, so that tests need not wait.
    pub fn advance(&self, span: Duration) {
        self.advanced.fetch_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

/// Returns the system clock in microseconds.
#[allow(clippy::disallowed_methods, reason = "the home of time")]
fn system() -> i64 {
    Timestamp::new(chrono::Utc::now()).micros()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_clock_follows_the_shared_one_until_it_is_right_again() {
        let clock = Clock::system();
        let shared = |seconds: i64| Timestamp::from_micros(system() + seconds * 1_000_000);
        let quick = Duration::from_millis(1);
        let is_off = |seconds: i64| (clock.now().micros() - system() - seconds * 1_000_000).abs() < 100_000;
        assert_eq!(clock.compare(shared(0), quick), None, "a right clock is not corrected");
        assert!(clock.compare(shared(600), Duration::from_secs(2)).is_none() && is_off(0), "an old answer is ignored");
        assert!(clock.compare(shared(600), quick).is_some() && is_off(600));
        assert_eq!(clock.compare(shared(600), quick), None, "the correction is unchanged");
        assert!(clock.compare(shared(-600), quick).is_some() && is_off(-600));
        assert!(clock.compare(shared(0), quick).is_some() && is_off(0));
    }

    #[test]
    fn clones_agree_after_an_advance() {
        let clock = Clock::system();
        let other = clock.clone();
        let before = other.now();
        clock.advance(Duration::from_secs(3600));
        assert!(other.now().since(before) >= Duration::from_secs(3600));
    }

    #[test]
    fn fresh_ids_sort_by_time() {
        let clock = Clock::system();
        let ids: Vec<Uuid> = (0..1000).map(|_| clock.fresh_id()).collect();
        assert!(ids.is_sorted());
        assert_eq!(ids[0].get_version_num(), 7);
    }
}
