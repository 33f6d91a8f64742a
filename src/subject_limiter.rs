//! A rate limit per subject with bounded memory, for subjects that clients choose.
//!
//! The table holds a hash of each subject, so that its size does not depend on what a client sends. The hash has a secret
//! key, so that nobody can choose subjects that collide.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::config::edge::{MAX_LIMITED_SUBJECTS, SHARED_LIMIT_FACTOR};

/// Minimum time between two cleanups of a full table, which visit each entry.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(1);

/// Limits the requests of each subject.
pub struct SubjectLimiter {
    hasher: RandomState,
    by_subject: DefaultKeyedRateLimiter<u64>,
    /// The limit of all subjects together while the table is full.
    shared: DefaultDirectRateLimiter,
    cleaned_up_at: Mutex<Option<Instant>>,
    max_subjects: usize,
}

impl SubjectLimiter {
    /// Creates a limiter with this quota per subject.
    pub fn new(quota: Quota) -> Self {
        Self::with_capacity(quota, MAX_LIMITED_SUBJECTS)
    }

    fn with_capacity(quota: Quota, max_subjects: usize) -> Self {
        let burst = quota.burst_size().saturating_mul(SHARED_LIMIT_FACTOR);
        let interval = quota.replenish_interval() / SHARED_LIMIT_FACTOR.get();
        let shared =
            Quota::with_period(interval.max(Duration::from_nanos(1))).unwrap_or(Quota::per_second(NonZeroU32::MAX));
        Self {
            hasher: RandomState::new(),
            by_subject: RateLimiter::keyed(quota),
            shared: RateLimiter::direct(shared.allow_burst(burst)),
            cleaned_up_at: Mutex::default(),
            max_subjects,
        }
    }

    /// Counts one request. If it exceeds the limit, returns the wait until the next one.
    pub fn count(&self, subject: &impl Hash) -> Result<(), Duration> {
        let result = if self.has_room() {
            self.by_subject.check_key(&self.hasher.hash_one(subject))
        } else {
            self.shared.check()
        };
        result.map_err(|not_until| not_until.wait_time_from(DefaultClock::default().now()))
    }

    /// Removes the subjects that have been idle long enough to start at zero.
    pub fn remove_idle(&self) {
        self.by_subject.retain_recent();
        self.by_subject.shrink_to_fit();
    }

    /// Returns whether the table has room for one more subject, after a cleanup if necessary.
    fn has_room(&self) -> bool {
        if self.by_subject.len() < self.max_subjects {
            return true;
        }
        let mut cleaned_up_at = self.cleaned_up_at.lock().unwrap_or_else(PoisonError::into_inner);
        if cleaned_up_at.is_none_or(|at| at.elapsed() >= CLEANUP_INTERVAL) {
            *cleaned_up_at = Some(Instant::now());
            self.by_subject.retain_recent();
        }
        self.by_subject.len() < self.max_subjects
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_bounded_and_its_overflow_shares_one_limit() {
        let quota = Quota::per_minute(NonZeroU32::new(2).unwrap());
        let limiter = SubjectLimiter::with_capacity(quota, 100);
        let admitted = (0..10_000).filter(|at: &usize| limiter.count(at).is_ok()).count();
        assert_eq!(limiter.by_subject.len(), 100);
        let shared = 2 * usize::try_from(SHARED_LIMIT_FACTOR.get()).unwrap();
        assert!((100..=100 + shared + 100).contains(&admitted), "{admitted}");
    }

    #[test]
    fn subjects_are_limited_independently() {
        let limiter = SubjectLimiter::new(Quota::per_minute(NonZeroU32::new(2).unwrap()));
        let long = "x".repeat(256 << 10);
        assert!(limiter.count(&long).is_ok() && limiter.count(&long).is_ok());
        let wait = limiter.count(&long).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(30), "{wait:?}");
        assert!(limiter.count(&"y").is_ok());
    }
}
