//! How much one client may ask: in memory and per node, and tries to sign in also over all nodes together.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use rooms::id::UserId;
use sha2::{Digest, Sha256};

use crate::bus::Bus;
use crate::config::Limits;

const MINUTE: Duration = Duration::from_secs(60);

/// Who is counted.
#[derive(Clone, Debug)]
pub enum Subject<'a> {
    /// Somebody without a token, by address.
    Anonymous(IpAddr),
    /// Tries to sign in to one account from one address. Never an account alone: that would let anybody lock it.
    SignIn(&'a str, IpAddr),
    /// Somebody with a token.
    Person(UserId),
}

/// See the module.
pub struct Limiter {
    anonymous: DefaultKeyedRateLimiter<IpAddr>,
    sign_ins: DefaultKeyedRateLimiter<(String, IpAddr)>,
    people: DefaultKeyedRateLimiter<UserId>,
    sign_ins_per_minute: u64,
}

impl Limiter {
    pub fn new(limits: &Limits) -> Self {
        let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let each_second = at_least_one(limits.requests_per_second);
        let burst = at_least_one(limits.requests_per_second.saturating_mul(4));
        Self {
            anonymous: RateLimiter::keyed(Quota::per_minute(at_least_one(limits.anonymous_per_minute))),
            sign_ins: RateLimiter::keyed(Quota::per_minute(at_least_one(limits.sign_ins_per_minute))),
            people: RateLimiter::keyed(Quota::per_second(each_second).allow_burst(burst)),
            sign_ins_per_minute: u64::from(limits.sign_ins_per_minute),
        }
    }

    /// Counts one request; an error says after how long the next one may come.
    pub fn count(&self, subject: &Subject<'_>) -> Result<(), Duration> {
        match subject {
            Subject::Anonymous(address) => check(&self.anonymous, &network(*address)),
            Subject::SignIn(email, address) => check(&self.sign_ins, &((*email).to_owned(), network(*address))),
            Subject::Person(user) => check(&self.people, user),
        }
    }

    /// Counts a try to sign in that all nodes count together; while they cannot, each counts by itself only. An error
    /// says after how long the next one may come.
    pub async fn count_with_others(&self, bus: &Bus, email: &str, address: IpAddr) -> Result<(), Duration> {
        if !bus.is_shared() {
            return Ok(());
        }
        // Nobody's address stands in Redis in the clear.
        let whose = Sha256::digest(format!("{email}\n{}", network(address)));
        match bus.count(&URL_SAFE_NO_PAD.encode(whose), MINUTE).await {
            Ok((count, left)) if count > self.sign_ins_per_minute => Err(left),
            _ => Ok(()),
        }
    }

    /// Forgets who has been quiet long enough to start anew.
    pub fn forget(&self) {
        self.anonymous.retain_recent();
        self.sign_ins.retain_recent();
        self.people.retain_recent();
    }
}

fn check<K: Hash + Eq + Clone>(limiter: &DefaultKeyedRateLimiter<K>, key: &K) -> Result<(), Duration> {
    limiter.check_key(key).map_err(|not_until| not_until.wait_time_from(DefaultClock::default().now()))
}

/// The address, or for IPv6 its /64: one customer has all of that.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter() -> Limiter {
        let folder = std::env::temp_dir();
        let mut limits = crate::config::Config::for_test(&folder).limits;
        limits.sign_ins_per_minute = 3;
        Limiter::new(&limits)
    }

    #[test]
    fn guessing_at_one_account_is_slowed_down_for_the_guesser_only() {
        let limiter = limiter();
        let (here, there) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        for _ in 0..3 {
            assert!(limiter.count(&Subject::SignIn("a@example.org", here)).is_ok());
        }
        let wait = limiter.count(&Subject::SignIn("a@example.org", here)).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(20), "{wait:?}");
        assert!(limiter.count(&Subject::SignIn("a@example.org", there)).is_ok());
        assert!(limiter.count(&Subject::SignIn("b@example.org", here)).is_ok());
    }

    #[test]
    fn the_addresses_of_one_network_count_together() {
        let one: IpAddr = "2001:db8:1:2::1".parse().unwrap();
        let two: IpAddr = "2001:db8:1:2:ffff::2".parse().unwrap();
        let other: IpAddr = "2001:db8:1:3::1".parse().unwrap();
        assert_eq!(network(one), network(two));
        assert_ne!(network(one), network(other));
        assert_eq!(network("::ffff:192.0.2.1".parse().unwrap()), IpAddr::from([192, 0, 2, 1]));
    }
}
