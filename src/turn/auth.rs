//! Who may use the relay.

use std::net::SocketAddr;
use std::sync::Arc;

use turn::Error;
use turn::auth::{AuthHandler, generate_auth_key};

use super::Figures;
use super::credentials::{Secret, expiry};
use super::gate::Last;
use crate::clock::Clock;

/// Lets in whoever proves to know the password that belongs to a user name which has not ended.
pub struct Guard {
    pub secret: Secret,
    pub clock: Clock,
    pub last: Last,
    pub figures: Arc<Figures>,
}

impl AuthHandler for Guard {
    fn auth_handle(&self, username: &str, realm: &str, _: SocketAddr) -> Result<Vec<u8>, Error> {
        let Some(until) = expiry(username) else {
            Figures::count(&self.figures.forged);
            return Err(Error::ErrNoSuchUser);
        };
        if until <= self.clock.now() {
            Figures::count(&self.figures.expired);
            return Err(Error::ErrNoSuchUser);
        }
        self.last.set(username);
        Ok(generate_auth_key(username, realm, &self.secret.password(username)))
    }
}
