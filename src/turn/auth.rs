//! Who may use the relay.

use std::net::SocketAddr;
use std::sync::Arc;

use dashmap::DashMap;
use turn::Error;
use turn::auth::{AuthHandler, generate_auth_key};

use super::Figures;
use super::credentials::{Secret, expiry, session};
use super::gate::Last;
use crate::clock::Clock;

/// Lets in whoever proves to know the password that belongs to a user name which has not ended.
pub struct Guard {
    pub secret: Secret,
    pub clock: Clock,
    pub last: Last,
    /// Allocations by session.
    pub used: Arc<DashMap<String, usize>>,
    pub figures: Arc<Figures>,
}

impl AuthHandler for Guard {
    fn auth_handle(&self, username: &str, realm: &str, _: SocketAddr) -> Result<Vec<u8>, Error> {
        let Some(until) = expiry(username) else {
            Figures::count(&self.figures.forged);
            return Err(Error::ErrNoSuchUser);
        };
        // An allocation that lives may be kept: its credentials need to be good when it is made. Browsers go on with the
        // ones it was made with.
        if until <= self.clock.now() && !self.used.contains_key(session(username)) {
            Figures::count(&self.figures.expired);
            return Err(Error::ErrNoSuchUser);
        }
        self.last.set(username);
        Ok(generate_auth_key(username, realm, &self.secret.password(username)))
    }
}
