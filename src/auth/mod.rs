//! Authentication: tokens, passwords, and sign-ins.
//!
//! An access token is short-lived, signed, and verified without the store. [`Revocations`](revocations) covers the
//! time between a change and the expiry of older tokens. A sign-in is a row in the store, extended by refresh tokens
//! that are derived and never stored. Authorisation is not decided here: `rooms::permission` decides it for rooms, and
//! the table of operations for everything else.

mod account;
mod caller;
mod demo;
mod email;
mod guest;
mod keys;
mod limits;
mod password;
mod provider;
mod recent_fingerprints;
mod refresh;
mod revocations;
mod sign_in;
mod token;

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use rooms::id::SessionId;
use rooms::role::Actor;
use rooms::text::Text;
use rooms::time::Timestamp;
use tokio::sync::broadcast;

pub use self::account::{AccountChange, AccountError, Registration, account_version};
pub use self::caller::Caller;
pub use self::demo::DemoToken;
pub use self::guest::GuestLink;
pub use self::keys::KeyError;
pub use self::limits::{RateLimitSubject, RequestLimiter, network};
pub use self::revocations::Revocation;
pub use self::sign_in::{ClientInfo, SignInError, SignedIn};
pub use self::token::{AuthError, Claims};

use self::demo::DemoTokens;
use self::keys::Keys;
use self::password::Passwords;
use self::recent_fingerprints::RecentFingerprints;
use self::revocations::Revocations;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::config::{Config, TokenSettings};
use crate::store::{Store, StoreError};
use crate::telemetry::panics::TaskGuard;

/// How often outdated entries are removed.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(60);
/// How far the clocks of two nodes may differ.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(900);

/// Why authentication could not start.
#[derive(Debug, thiserror::Error)]
pub enum AuthSetupError {
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A handle to authentication; cheap to clone.
#[derive(Clone)]
pub struct Auth {
    inner: Arc<Inner>,
}

struct Inner {
    keys: Keys,
    settings: TokenSettings,
    store: Store,
    bus: Bus,
    clock: Clock,
    passwords: Passwords,
    /// Pairs of account and network that have signed in before. A node forgets them when it restarts.
    known_devices: RecentFingerprints,
    revocations: Revocations,
    limiter: RequestLimiter,
    demo: DemoTokens,
}

impl Auth {
    /// Reads or creates the keys, and loads the revocations within the lifetime of an access token.
    pub async fn open(config: &Config, store: Store, bus: Bus, clock: Clock) -> Result<Self, AuthSetupError> {
        provider::install();
        let keys = Keys::open(&config.data_dir)?;
        let inner = Arc::new(Inner {
            keys,
            settings: config.tokens.clone(),
            store,
            bus,
            clock,
            passwords: Passwords::new(),
            known_devices: RecentFingerprints::default(),
            revocations: Revocations::new(),
            limiter: RequestLimiter::new(&config.limits),
            demo: DemoTokens::new(config.demo),
        });
        let weak = Arc::downgrade(&inner);
        tokio::spawn(async move {
            let mut guard = TaskGuard::new("sign-in cleanup");
            loop {
                tokio::time::sleep(CLEANUP_INTERVAL).await;
                let Some(inner) = weak.upgrade() else { return };
                // Entries that the store still returns must be known, or they would count as new.
                let oldest = inner.settings.access_lifetime + 2 * MAX_CLOCK_SKEW;
                let clean_up = async {
                    inner.revocations.remove_older(inner.clock.now(), oldest);
                    inner.limiter.remove_idle();
                };
                guard.run(clean_up).await;
            }
        });
        let auth = Self { inner };
        auth.load_revocations().await?;
        Ok(auth)
    }

    /// Loads from the store what any node revoked within the lifetime of an access token.
    pub async fn load_revocations(&self) -> Result<(), StoreError> {
        let Inner { store, clock, settings, revocations, .. } = &*self.inner;
        let now = clock.now();
        let age = i64::try_from((settings.access_lifetime + MAX_CLOCK_SKEW).as_micros()).unwrap_or(i64::MAX);
        let since = Timestamp::from_micros(now.micros().saturating_sub(age));
        for session in store.revoked_sessions(since).await? {
            revocations.load_session_end(session, now);
        }
        for (user, at) in store.changed_users(since).await? {
            revocations.load_rights_change(user, rights(at), now);
        }
        Ok(())
    }

    /// Waits for a revocation that originates on this node, which other nodes do not know yet.
    pub async fn local_revocation(&self) {
        self.inner.revocations.local_revocation().await;
    }

    /// Verifies an access token, and that no revocation has superseded its sign-in or its rights.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, AuthError> {
        let claims = token::verify(&self.inner.keys, &self.inner.settings, token, now)?;
        self.inner.revocations.check(&claims)?;
        Ok(claims)
    }

    /// Returns `true` if a token has been superseded since it was verified.
    pub fn is_revoked(&self, claims: &Claims) -> bool {
        self.inner.revocations.check(claims).is_err()
    }

    /// Verifies the token of the `Authorization` header; `None` if there is no such header.
    pub fn bearer(&self, headers: &HeaderMap, now: Timestamp) -> Result<Option<Claims>, AuthError> {
        let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
        let text = value.to_str().map_err(|_| AuthError::Invalid)?;
        let (scheme, token) = text.split_once(' ').ok_or(AuthError::Invalid)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(AuthError::Invalid);
        }
        self.verify(token.trim(), now).map(Some)
    }

    /// Subscribes to revocations from now on. A receiver that lags behind must assume that everything was revoked.
    pub fn revocations(&self) -> broadcast::Receiver<Revocation> {
        self.inner.revocations.subscribe()
    }

    /// Returns the public keys of the access tokens as a JSON Web Key Set.
    pub fn jwks(&self) -> serde_json::Value {
        self.inner.keys.jwks()
    }

    /// Returns the rate limits for clients.
    pub fn limiter(&self) -> &RequestLimiter {
        &self.inner.limiter
    }

    /// Issues an access token without a sign-in, for load tests on a throwaway database.
    pub fn token_for_test(&self, actor: &Actor, lifetime: Duration) -> String {
        let Actor::Person { id, role, name, pharmacy } = actor else { return String::new() };
        let now = self.inner.clock.now();
        let claims = Claims {
            user: *id,
            session: SessionId(self.inner.clock.fresh_id()),
            role: *role,
            name: Text::clone(name),
            pharmacy: *pharmacy,
            rights: rights(now),
            issued_at: now,
            expires_at: token::expiry_after(now, lifetime),
        };
        token::issue(&self.inner.keys, &self.inner.settings, &claims)
    }
}

/// Returns the version of a person's rights: the time of their last change, as in the store's row. The store orders
/// two changes of one person, not a clock.
fn rights(changed_at: Timestamp) -> u64 {
    u64::try_from(changed_at.micros()).unwrap_or(0)
}
