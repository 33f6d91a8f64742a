//! A bounded set of the fingerprints that were used most recently.
//!
//! It serves as the cache of verified signatures: a client sends the same token with each request and each connection.
//! After a network outage, when ten thousand clients reconnect at once, verification took a fifth of the hub's time in a
//! profile. The cache holds nothing else about a token: claims, expiry, and revocation are checked each time.
//!
//! It also remembers known devices: see [`Passwords`](super::password::Passwords).

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

/// Fingerprints in one of the two generations: about 1 MiB when both are full.
const MAX_GENERATION_FINGERPRINTS: usize = 14_000;

/// Identifies what it was computed from, such as a key, a message, and the message's signature by that key.
pub(super) type Fingerprint = [u8; SHA256_OUTPUT_LEN];

/// Recently used fingerprints, the younger generation first.
#[derive(Debug, Default)]
pub(super) struct RecentFingerprints {
    generations: Mutex<[HashSet<Fingerprint>; 2]>,
}

/// Computes the fingerprint of three parts. It includes the lengths, so that no byte can move from one part to the next.
pub(super) fn fingerprint(parts: [&[u8]; 3]) -> Fingerprint {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    let mut fingerprint = [0; SHA256_OUTPUT_LEN];
    fingerprint.copy_from_slice(context.finish().as_ref());
    fingerprint
}

impl RecentFingerprints {
    /// Returns `true` for a fingerprint in the set, and renews its place.
    pub(super) fn contains(&self, fingerprint: &Fingerprint) -> bool {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let [young, old] = &mut *generations;
        if young.contains(fingerprint) {
            return true;
        }
        let known = old.remove(fingerprint);
        if known {
            insert(&mut generations, *fingerprint);
        }
        known
    }

    /// Adds a fingerprint.
    pub(super) fn insert(&self, fingerprint: Fingerprint) {
        insert(&mut self.generations.lock().unwrap_or_else(PoisonError::into_inner), fingerprint);
    }
}

fn insert([young, old]: &mut [HashSet<Fingerprint>; 2], fingerprint: Fingerprint) {
    if young.len() >= MAX_GENERATION_FINGERPRINTS {
        *old = std::mem::take(young);
    }
    young.insert(fingerprint);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(at: usize) -> Fingerprint {
        fingerprint([b"key", b"signature", &at.to_be_bytes()])
    }

    #[test]
    fn fingerprint_separates_its_parts() {
        let fingerprints = [
            fingerprint([b"ab", b"c", b"d"]),
            fingerprint([b"a", b"bc", b"d"]),
            fingerprint([b"ab", b"", b"cd"]),
            fingerprint([b"ab", b"cd", b""]),
        ];
        assert_eq!(HashSet::from(fingerprints).len(), fingerprints.len());
    }

    #[test]
    fn cache_keeps_used_signatures_and_holds_at_most_two_generations() {
        let cache = RecentFingerprints::default();
        assert!(!cache.contains(&numbered(0)));
        cache.insert(numbered(0));
        for at in 1..10 * MAX_GENERATION_FINGERPRINTS {
            cache.insert(numbered(at));
            assert!(at % 1_000 != 0 || cache.contains(&numbered(0)), "a used signature was evicted after {at}");
        }
        assert!(!cache.contains(&numbered(1)), "an unused signature was not evicted");
        let held: usize = cache.generations.lock().unwrap().iter().map(HashSet::len).sum();
        assert!(held <= 2 * MAX_GENERATION_FINGERPRINTS, "{held}");
    }
}
