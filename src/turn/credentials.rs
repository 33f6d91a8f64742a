//! Time-limited credentials for the relay. The user name states when they expire, and the password proves that the hub
//! issued them.
//!
//! The scheme is coturn's `use-auth-secret` (draft-uberti-behave-turn-rest): user name `expiry:id`, password
//! base64(HMAC-SHA1(secret, user name)).

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use rooms::id::SessionId;
use rooms::time::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::config::TurnSecretSource;

/// The realm that the relay announces. Clients include it in what they authenticate.
pub const REALM: &str = "wardroom";

/// How long credentials are valid.
pub const CREDENTIAL_LIFETIME: Duration = Duration::from_secs(300);

/// Why the secret that hub and relay share is not available.
#[derive(Debug, thiserror::Error)]
#[error("cannot read or create the TURN secret {0}: {1}")]
pub struct SecretError(PathBuf, std::io::Error);

/// The secret that hub and relay share.
#[derive(Clone)]
pub struct RelaySecret(SecretString);

/// A session's user name and password, with their expiry.
pub struct Credentials {
    pub username: String,
    pub password: String,
    pub expires_at: Timestamp,
}

impl RelaySecret {
    /// Returns the configured secret, or reads it from its file, which is created at first start for its owner only.
    pub fn open(settings: &TurnSecretSource) -> Result<Self, SecretError> {
        match settings {
            TurnSecretSource::Given(secret) => Ok(Self(secret.clone())),
            TurnSecretSource::File(path) => {
                let text = match std::fs::read_to_string(path) {
                    Ok(text) => text.trim().to_owned(),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                        create(path).map_err(|error| SecretError(path.clone(), error))?
                    }
                    Err(error) => return Err(SecretError(path.clone(), error)),
                };
                Ok(Self(SecretString::from(text)))
            }
        }
    }

    /// Issues credentials that are valid from `now`. They do not reveal whose session it is.
    pub fn issue(&self, session: SessionId, now: Timestamp) -> Credentials {
        let expires_at = now.plus(CREDENTIAL_LIFETIME);
        let id: String =
            Sha256::digest(session.0.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let username = format!("{}:{id}", expires_at.micros().div_euclid(1_000_000));
        let password = self.password(&username);
        Credentials { username, password, expires_at }
    }

    /// Returns the password for a user name.
    pub fn password(&self, username: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.0.expose_secret().as_bytes());
        BASE64_STANDARD.encode(hmac::sign(&key, username.as_bytes()))
    }
}

/// Returns when credentials expire, or `None` for a user name that the hub does not issue.
pub fn expiry(username: &str) -> Option<Timestamp> {
    let (seconds, id) = username.split_once(':')?;
    let digits = (9..=11).contains(&seconds.len()) && seconds.bytes().all(|byte| byte.is_ascii_digit());
    let hex = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let seconds: i64 = seconds.parse().ok().filter(|_| digits && hex)?;
    Some(Timestamp::from_micros(seconds.checked_mul(1_000_000)?))
}

/// Returns the part of a user name that all credentials of a session share.
pub fn session(username: &str) -> &str {
    username.split_once(':').map_or(username, |(_, id)| id)
}

fn create(path: &PathBuf) -> std::io::Result<String> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| std::io::Error::other("the system provides no random numbers"))?;
    let text = BASE64_STANDARD.encode(bytes);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn credentials_state_their_expiry_and_hide_their_session() {
        let secret = RelaySecret(SecretString::from("north".to_owned()));
        let session = SessionId(Uuid::from_u128(7));
        let now = Timestamp::from_micros(1_772_442_000_000_000);
        let issued = secret.issue(session, now);
        assert_eq!(expiry(&issued.username), Some(now.plus(CREDENTIAL_LIFETIME)));
        assert!(!issued.username.contains(&session.0.simple().to_string()[..8]));
        // The expected value comes from `openssl dgst -sha1 -hmac north -binary | base64`.
        assert_eq!(secret.password("1433895918:filip"), "ng2uTGbzpQia+Jd+MPqu+GsTXO0=");
    }

    #[test]
    fn user_names_of_another_form_have_no_expiry() {
        for name in [
            "",
            "1772442000",
            ":0123456789abcdef",
            "x:0123456789abcdef",
            "1772442000:",
            "1772442000:alice",
            "99999999999999999999:0123456789abcdef",
            "-772442000:0123456789abcdef",
        ] {
            assert_eq!(expiry(name), None, "{name}");
        }
    }
}
