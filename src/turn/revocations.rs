//! Credentials that are no longer valid although they have not expired: their session, their guest's admission, or their
//! call has ended.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::credentials::{AllocationOwner, OwnerTag};

/// How long a revocation is remembered. It exceeds the lifetime of credentials, and that of an access token with which a
/// dismissed guest could ask for new ones.
const REVOCATION_RETENTION: Duration = Duration::from_secs(2 * 3_600);

/// Revocations by what they revoke.
#[derive(Default)]
pub struct RevokedCredentials(Mutex<HashMap<OwnerTag, RevokedUntil>>);

struct RevokedUntil {
    /// Credentials with this serial or a smaller one are revoked.
    serial: i64,
    at: Instant,
}

impl RevokedCredentials {
    /// Revokes all credentials of a session, person or room up to a serial.
    pub fn revoke(&self, tag: OwnerTag, serial: i64, now: Instant) {
        let mut revoked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        revoked.retain(|_, it| now.saturating_duration_since(it.at) < REVOCATION_RETENTION);
        revoked.insert(tag, RevokedUntil { serial, at: now });
    }

    /// Returns `true` if credentials with this owner and serial are revoked.
    pub fn contains(&self, owner: &AllocationOwner, serial: i64) -> bool {
        let revoked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_revoked = |tag: OwnerTag| revoked.get(&tag).is_some_and(|it| serial <= it.serial);
        is_revoked(owner.session) || is_revoked(owner.person) || owner.room.is_some_and(is_revoked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn revocation_covers_earlier_credentials_only() {
        let [session, person, room] = [1, 2, 3].map(|id| OwnerTag::of(Uuid::from_u128(id)));
        let owner = AllocationOwner { session, person, room: Some(room) };
        for tag in [session, person, room] {
            let (revoked, now) = (RevokedCredentials::default(), Instant::now());
            revoked.revoke(tag, 10, now);
            assert!(revoked.contains(&owner, 10) && !revoked.contains(&owner, 11));
            revoked.revoke(OwnerTag::of(Uuid::from_u128(4)), 20, now + REVOCATION_RETENTION);
            assert!(!revoked.contains(&owner, 10), "old revocations are forgotten");
        }
    }
}
