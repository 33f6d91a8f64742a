//! Authentication of relay clients by the credentials that the hub issued.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use turn::Error;
use turn::auth::{AuthHandler, generate_auth_key};

use super::credentials::{RelaySecret, expiry, session};
use super::metrics::RelayMetrics;
use super::quota::AllocationQuota;
use crate::clock::Clock;

/// The user name that a server authenticated last. Its allocator cannot see it otherwise.
#[derive(Clone, Default)]
pub struct AuthenticatedUser(Arc<Mutex<Option<String>>>);

impl AuthenticatedUser {
    fn set(&self, username: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(username.to_owned());
    }

    pub fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Accepts a user name that the hub issued and that has not expired. The TURN library then checks the password.
pub struct CredentialVerifier {
    pub secret: RelaySecret,
    pub clock: Clock,
    pub authenticated_user: AuthenticatedUser,
    pub quota: AllocationQuota,
    pub metrics: Arc<RelayMetrics>,
}

impl AuthHandler for CredentialVerifier {
    fn auth_handle(&self, username: &str, realm: &str, _: SocketAddr) -> Result<Vec<u8>, Error> {
        let Some(expires_at) = expiry(username) else {
            RelayMetrics::increment(&self.metrics.forged);
            return Err(Error::ErrNoSuchUser);
        };
        // Credentials have to be valid when an allocation is created, not when it is refreshed: browsers keep using the
        // ones that it was created with.
        if expires_at <= self.clock.now() && !self.quota.has_allocation(session(username)) {
            RelayMetrics::increment(&self.metrics.expired);
            return Err(Error::ErrNoSuchUser);
        }
        self.authenticated_user.set(username);
        Ok(generate_auth_key(username, realm, &self.secret.password(username)))
    }
}
