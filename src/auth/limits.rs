//! Rate limits for clients: in memory and per node, and for sign-in attempts also over all nodes together.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use governor::Quota;
use rooms::id::UserId;
use sha2::{Digest, Sha256};

use crate::bus::Bus;
use crate::config::Limits;
use crate::subject_limiter::SubjectLimiter;

/// The window in which all nodes count sign-in attempts together.
const SIGN_IN_WINDOW: Duration = Duration::from_secs(60);

/// Whose requests are counted.
#[derive(Clone, Debug)]
pub enum RateLimitSubject<'a> {
    /// Requests without a token, by address.
    Anonymous(IpAddr),
    /// Attempts to sign in to one account from one address. Never an account alone, because then anybody could lock
    /// it.
    SignIn(&'a str, IpAddr),
    /// Requests with a person's token.
    Person(UserId),
}

/// The limits of one node.
pub struct RequestLimiter {
    anonymous: SubjectLimiter,
    sign_ins: SubjectLimiter,
    people: SubjectLimiter,
    sign_ins_per_minute: u64,
}

impl RequestLimiter {
    pub fn new(limits: &Limits) -> Self {
        let non_zero = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let per_second = non_zero(limits.requests_per_second);
        let burst = non_zero(limits.requests_per_second.saturating_mul(4));
        Self {
            anonymous: SubjectLimiter::new(Quota::per_minute(non_zero(limits.anonymous_per_minute))),
            sign_ins: SubjectLimiter::new(Quota::per_minute(non_zero(limits.sign_ins_per_minute))),
            people: SubjectLimiter::new(Quota::per_second(per_second).allow_burst(burst)),
            sign_ins_per_minute: u64::from(limits.sign_ins_per_minute),
        }
    }

    /// Counts one request. If it exceeds the limit, returns the wait until the next one.
    pub fn count(&self, subject: &RateLimitSubject<'_>) -> Result<(), Duration> {
        match subject {
            RateLimitSubject::Anonymous(address) => self.anonymous.count(&network(*address)),
            RateLimitSubject::SignIn(email, address) => self.sign_ins.count(&(email, network(*address))),
            RateLimitSubject::Person(user) => self.people.count(user),
        }
    }

    /// Counts a sign-in attempt over all nodes. Without the bus, each node counts on its own. If the attempt exceeds
    /// the limit, returns the wait until the next one.
    pub async fn count_across_nodes(&self, bus: &Bus, email: &str, address: IpAddr) -> Result<(), Duration> {
        if !bus.is_shared() {
            return Ok(());
        }
        // Redis stores a hash instead of addresses in the clear.
        let key = Sha256::digest(format!("{email}\n{}", network(address)));
        match bus.count(&URL_SAFE_NO_PAD.encode(key), SIGN_IN_WINDOW).await {
            Ok((count, left)) if count > self.sign_ins_per_minute => Err(left),
            _ => Ok(()),
        }
    }

    /// Removes the counts of clients that have been idle long enough to start at zero.
    pub fn remove_idle(&self) {
        self.anonymous.remove_idle();
        self.sign_ins.remove_idle();
        self.people.remove_idle();
    }
}

/// Returns the address itself, or its /64 for IPv6, which belongs to one customer as a whole.
pub fn network(address: IpAddr) -> IpAddr {
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

    fn limiter() -> RequestLimiter {
        let folder = std::env::temp_dir();
        let mut limits = crate::config::Config::for_test(&folder).limits;
        limits.sign_ins_per_minute = 3;
        RequestLimiter::new(&limits)
    }

    #[test]
    fn sign_in_limit_applies_per_account_and_address() {
        let limiter = limiter();
        let (here, there) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        for _ in 0..3 {
            assert!(limiter.count(&RateLimitSubject::SignIn("a@example.org", here)).is_ok());
        }
        let wait = limiter.count(&RateLimitSubject::SignIn("a@example.org", here)).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(20), "{wait:?}");
        assert!(limiter.count(&RateLimitSubject::SignIn("a@example.org", there)).is_ok());
        assert!(limiter.count(&RateLimitSubject::SignIn("b@example.org", here)).is_ok());
    }

    #[test]
    fn addresses_of_one_network_share_a_limit() {
        let one: IpAddr = "2001:db8:1:2::1".parse().unwrap();
        let two: IpAddr = "2001:db8:1:2:ffff::2".parse().unwrap();
        let other: IpAddr = "2001:db8:1:3::1".parse().unwrap();
        assert_eq!(network(one), network(two));
        assert_ne!(network(one), network(other));
        assert_eq!(network("::ffff:192.0.2.1".parse().unwrap()), IpAddr::from([192, 0, 2, 1]));
    }
}
