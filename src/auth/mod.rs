//! Who somebody is: tokens, passwords, sign-ins.
//!
//! An access token is short-lived, signed, and checked without the store; [`Revocations`](revocations) closes the gap
//! between a change and the end of the tokens from before it. A sign-in is a row in the store, kept alive by refresh
//! tokens that are derived and never stored. What somebody may do is not decided here but in `rooms::permission`, and
//! for what is not a room in the table of operations.

mod account;
mod caller;
mod checked;
mod demo;
mod guest;
mod keys;
mod limits;
mod password;
mod provider;
mod refresh;
mod revocations;
mod sign_in;
mod token;

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use rooms::id::SessionId;
use rooms::role::Actor;
use rooms::text::Line;
use rooms::time::Timestamp;
use tokio::sync::broadcast;

pub use self::account::{AccountError, Change, Registration, account_version};
pub use self::caller::Caller;
pub use self::demo::DemoToken;
pub use self::guest::GuestLink;
pub use self::keys::KeyError;
pub use self::limits::{Limiter, Subject};
pub use self::revocations::Revocation;
pub use self::sign_in::{Client, SignInError, SignedIn};
pub use self::token::{AuthError, Claims};

use self::demo::DemoTokens;
use self::keys::Keys;
use self::password::Passwords;
use self::revocations::Revocations;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::config::{Config, TokenSettings};
use crate::store::{Store, StoreError};

/// How often what is no longer needed is forgotten.
const TIDY: Duration = Duration::from_secs(60);
/// How far the clocks of two nodes may be apart.
const SKEW: Duration = Duration::from_secs(900);

/// Why sign-in cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A handle on everything about sign-in; cheap to clone.
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
    revocations: Revocations,
    limiter: Limiter,
    demo: DemoTokens,
}

impl Auth {
    /// Reads or makes the keys, and learns what was revoked within the last access token's life.
    pub async fn open(config: &Config, store: Store, bus: Bus, clock: Clock) -> Result<Self, OpenError> {
        provider::install();
        let keys = Keys::open(&config.data_dir)?;
        let inner = Arc::new(Inner {
            keys,
            settings: config.tokens.clone(),
            store,
            bus,
            clock,
            passwords: Passwords::new(),
            revocations: Revocations::new(),
            limiter: Limiter::new(&config.limits),
            demo: DemoTokens::new(config.demo),
        });
        let tidied = Arc::downgrade(&inner);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TIDY).await;
                let Some(inner) = tidied.upgrade() else { return };
                // What the store still shows must not be taken for new.
                inner.revocations.forget(inner.clock.now(), inner.settings.access + 2 * SKEW);
                inner.limiter.forget();
            }
        });
        let auth = Self { inner };
        auth.learn().await?;
        Ok(auth)
    }

    /// Learns from the store what was revoked within the last access token's life, on whichever node.
    pub async fn learn(&self) -> Result<(), StoreError> {
        let Inner { store, clock, settings, revocations, .. } = &*self.inner;
        let now = clock.now();
        let age = i64::try_from((settings.access + SKEW).as_micros()).unwrap_or(i64::MAX);
        let since = Timestamp::from_micros(now.micros().saturating_sub(age));
        for session in store.revoked_sessions(since).await? {
            revocations.learn_end(session, now);
        }
        for (user, at) in store.changed_users(since).await? {
            revocations.learn_change(user, rights(at), now);
        }
        Ok(())
    }

    /// Waits until this node revoked something that other nodes do not know of.
    pub async fn revoked_here(&self) {
        self.inner.revocations.made_here().await;
    }

    /// Checks an access token, and that neither its sign-in nor the rights in it were overtaken.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, AuthError> {
        let claims = token::verify(&self.inner.keys, &self.inner.settings, token, now)?;
        self.inner.revocations.check(&claims)?;
        Ok(claims)
    }

    /// Whether a token that was good when it was checked has been overtaken since.
    pub fn revoked(&self, claims: &Claims) -> bool {
        self.inner.revocations.check(claims).is_err()
    }

    /// Checks the token of the `Authorization` header; `None` if there is no such header.
    pub fn bearer(&self, headers: &HeaderMap, now: Timestamp) -> Result<Option<Claims>, AuthError> {
        let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
        let text = value.to_str().map_err(|_| AuthError::Invalid)?;
        let (scheme, token) = text.split_once(' ').ok_or(AuthError::Invalid)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(AuthError::Invalid);
        }
        self.verify(token.trim(), now).map(Some)
    }

    /// What ends or changes from now on. A listener that lags behind must assume that everything did.
    pub fn revocations(&self) -> broadcast::Receiver<Revocation> {
        self.inner.revocations.subscribe()
    }

    /// The public keys of the access tokens, as a JSON Web Key Set.
    pub fn jwks(&self) -> serde_json::Value {
        self.inner.keys.jwks()
    }

    /// How much one client may ask.
    pub fn limiter(&self) -> &Limiter {
        &self.inner.limiter
    }

    /// An access token without a sign-in behind it, for load tests over a throwaway database.
    pub fn token_for_test(&self, actor: &Actor, life: Duration) -> String {
        let Actor::Person { id, role, name, pharmacy } = actor else { return String::new() };
        let now = self.inner.clock.now();
        let claims = Claims {
            user: *id,
            session: SessionId(self.inner.clock.fresh_id()),
            role: *role,
            name: Line::clone(name),
            pharmacy: *pharmacy,
            rights: rights(now),
            issued_at: now,
            expires_at: token::end_of(now, life),
        };
        token::issue(&self.inner.keys, &self.inner.settings, &claims)
    }
}

/// A person's rights are numbered by when they last changed: the row says it, the token says it, and the order of two
/// changes of one person is the store's, not a clock's.
fn rights(changed_at: Timestamp) -> u64 {
    u64::try_from(changed_at.micros()).unwrap_or(0)
}
