//! Credentials that end by themselves: the user name says when, and the password proves that the hub said so.
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

use crate::config::TurnSecret;

/// How long credentials last.
pub const LIFETIME: Duration = Duration::from_secs(300);

/// Why there is no secret to share with the relay.
#[derive(Debug, thiserror::Error)]
#[error("cannot read or make the secret that is shared with the relay, {0}: {1}")]
pub struct SecretError(PathBuf, std::io::Error);

/// What the hub and the relay share.
#[derive(Clone)]
pub struct Secret(SecretString);

/// A session's user name and password.
pub struct Issued {
    pub username: String,
    pub password: String,
    pub expires_at: Timestamp,
}

impl Secret {
    /// The configured one, or one that is made at the first start and kept in a file that only its owner reads.
    pub fn open(from: &TurnSecret) -> Result<Self, SecretError> {
        match from {
            TurnSecret::Given(secret) => Ok(Self(secret.clone())),
            TurnSecret::File(path) => {
                let text = match std::fs::read_to_string(path) {
                    Ok(text) => text.trim().to_owned(),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                        make(path).map_err(|error| SecretError(path.clone(), error))?
                    }
                    Err(error) => return Err(SecretError(path.clone(), error)),
                };
                Ok(Self(SecretString::from(text)))
            }
        }
    }

    /// Credentials of a session from `now` on. Who the session belongs to cannot be told from them.
    pub fn issue(&self, session: SessionId, now: Timestamp) -> Issued {
        let expires_at = now.plus(LIFETIME);
        let id: String =
            Sha256::digest(session.0.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let username = format!("{}:{id}", expires_at.micros().div_euclid(1_000_000));
        let password = self.password(&username);
        Issued { username, password, expires_at }
    }

    /// The password that belongs to a user name.
    pub fn password(&self, username: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.0.expose_secret().as_bytes());
        BASE64_STANDARD.encode(hmac::sign(&key, username.as_bytes()))
    }
}

/// When the credentials of this user name end; none for a name that the hub does not write.
pub fn expiry(username: &str) -> Option<Timestamp> {
    let (seconds, id) = username.split_once(':')?;
    let digits = (9..=11).contains(&seconds.len()) && seconds.bytes().all(|byte| byte.is_ascii_digit());
    let hex = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let seconds: i64 = seconds.parse().ok().filter(|_| digits && hex)?;
    Some(Timestamp::from_micros(seconds.checked_mul(1_000_000)?))
}

/// The part of a user name that is the same for all credentials of a session.
pub fn session(username: &str) -> &str {
    username.split_once(':').map_or(username, |(_, id)| id)
}

fn make(path: &PathBuf) -> std::io::Result<String> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| std::io::Error::other("the system gives no random numbers"))?;
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
    fn credentials_say_when_they_end_and_not_whose_they_are() {
        let secret = Secret(SecretString::from("north".to_owned()));
        let session = SessionId(Uuid::from_u128(7));
        let now = Timestamp::from_micros(1_772_442_000_000_000);
        let issued = secret.issue(session, now);
        assert_eq!(expiry(&issued.username), Some(now.plus(LIFETIME)));
        assert!(!issued.username.contains(&session.0.simple().to_string()[..8]));
        // As `openssl dgst -sha1 -hmac north -binary | base64` has it.
        assert_eq!(secret.password("1433895918:filip"), "ng2uTGbzpQia+Jd+MPqu+GsTXO0=");
    }

    #[test]
    fn names_that_the_hub_does_not_write_have_no_expiry() {
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
