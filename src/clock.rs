//! The time and fresh ids: the one place where the server asks the outside for either.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rooms::time::Timestamp;
use uuid::Uuid;

/// What time it is. Cheap to clone; clones agree.
#[derive(Clone, Debug, Default)]
pub struct Clock {
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
        let ahead = self.ahead.load(Ordering::Relaxed);
        Timestamp::from_micros(Timestamp::new(chrono::Utc::now()).micros().saturating_add(ahead))
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

#[cfg(test)]
mod tests {
    use super::*;

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
