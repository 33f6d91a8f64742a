//! The time and fresh ids: the one place where the server asks the outside for either.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rooms::time::Timestamp;
use uuid::Uuid;

/// How far the system's clock may be off before another one is believed instead. Closer, it would only jump to and fro.
const TOLERANCE: Duration = Duration::from_secs(1);

/// What time it is. Cheap to clone; clones agree.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// How much is added to the system's clock because it is wrong, in microseconds.
    correction: Arc<AtomicI64>,
    /// How far this clock is ahead of the system's, in microseconds; always 0 but in tests.
    ahead: Arc<AtomicI64>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// The present instant, cut to microseconds.
    pub fn now(&self) -> Timestamp {
        let more = self.ahead.load(Ordering::Relaxed).saturating_add(self.correction.load(Ordering::Relaxed));
        Timestamp::from_micros(system().saturating_add(more))
    }

    /// Compares with a clock that all nodes share, which was read just now and took `took` to answer, and follows it from
    /// now on if the system's is wrong. Returns by how much it is wrong, in microseconds, if that is news.
    pub fn compare(&self, theirs: Timestamp, took: Duration) -> Option<i64> {
        let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        // How old the answer is nobody knows better than this.
        if took > TOLERANCE {
            return None;
        }
        let off = theirs.micros().saturating_sub(system().saturating_sub(micros(took / 2)));
        let off = if off.abs() > micros(TOLERANCE) { off } else { 0 };
        let before = self.correction.load(Ordering::Relaxed);
        if off.abs_diff(before) <= micros(TOLERANCE).unsigned_abs() && (off == 0) == (before == 0) {
            return None;
        }
        self.correction.store(off, Ordering::Relaxed);
        Some(off)
    }

    /// An id that nobody has drawn before; ids sort by when they were drawn.
    pub fn fresh_id(&self) -> Uuid {
        Uuid::now_v7()
    }

    /// Puts this clock and its clones ahead by `span`, so that a test need not wait for what takes long.
    pub fn advance(&self, span: Duration) {
        self.ahead.fetch_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

/// The system's clock, in microseconds.
fn system() -> i64 {
    Timestamp::new(chrono::Utc::now()).micros()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_follows_the_shared_one_until_it_is_right_again() {
        let clock = Clock::system();
        let shared = |seconds: i64| Timestamp::from_micros(system() + seconds * 1_000_000);
        let quick = Duration::from_millis(1);
        let is_off = |seconds: i64| (clock.now().micros() - system() - seconds * 1_000_000).abs() < 100_000;
        assert_eq!(clock.compare(shared(0), quick), None, "a right one stays as it is");
        assert!(
            clock.compare(shared(600), Duration::from_secs(2)).is_none() && is_off(0),
            "an old answer says nothing"
        );
        assert!(clock.compare(shared(600), quick).is_some() && is_off(600));
        assert_eq!(clock.compare(shared(600), quick), None, "it is known");
        assert!(clock.compare(shared(-600), quick).is_some() && is_off(-600));
        assert!(clock.compare(shared(0), quick).is_some() && is_off(0));
    }

    #[test]
    fn clones_of_a_clock_agree_after_it_was_advanced() {
        let clock = Clock::system();
        let other = clock.clone();
        let before = other.now();
        clock.advance(Duration::from_secs(3600));
        assert!(other.now().since(before) >= Duration::from_secs(3600));
    }

    #[test]
    fn fresh_ids_sort_by_when_they_were_drawn() {
        let clock = Clock::system();
        let ids: Vec<Uuid> = (0..1000).map(|_| clock.fresh_id()).collect();
        assert!(ids.is_sorted());
        assert_eq!(ids[0].get_version_num(), 7);
    }
}
