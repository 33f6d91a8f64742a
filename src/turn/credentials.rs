//! Time-limited credentials for the relay. The user name states when they expire, and the password proves that the hub
//! issued them.
//!
//! The scheme is coturn's `use-auth-secret` (draft-uberti-behave-turn-rest): user name `expiry:id`, password
//! base64(HMAC-SHA1(secret, user name)).

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use rooms::time::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::config::TurnSecretSource;

/// The realm that the relay announces. Clients include it in what they authenticate.
pub const REALM: &str = "wardroom";

/// How long credentials are valid.
pub const CREDENTIAL_LIFETIME: Duration = Duration::from_secs(300);

/// Stands for the room in user names for a check outside a call.
const NO_ROOM: &str = "-";

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

    /// Issues credentials for the embedded relay, valid from `now`. `serial` orders them against revocations.
    pub fn issue(&self, owner: AllocationOwner, serial: i64, now: Timestamp) -> Credentials {
        let room = owner.room.map_or(NO_ROOM.to_owned(), |room| room.to_string());
        self.issue_to(&format!("{}.{}.{room}.{serial:016x}", owner.session, owner.person), now)
    }

    /// Issues credentials for an external relay. Their user name ends in the person alone, because coturn's quota counts
    /// the allocations of one such name.
    pub fn issue_external(&self, person: OwnerTag, now: Timestamp) -> Credentials {
        self.issue_to(&person.to_string(), now)
    }

    fn issue_to(&self, id: &str, now: Timestamp) -> Credentials {
        let expires_at = now.plus(CREDENTIAL_LIFETIME);
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

/// A hash that identifies a session, a person or a room to the relay, and reveals none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OwnerTag([u8; 8]);

impl OwnerTag {
    pub fn of(id: Uuid) -> Self {
        let mut tag = [0; 8];
        tag.copy_from_slice(&Sha256::digest(id.as_bytes())[..8]);
        Self(tag)
    }

    fn parse(hex: &str) -> Option<Self> {
        (hex.len() == 16 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(())?;
        Some(Self(u64::from_str_radix(hex, 16).ok()?.to_be_bytes()))
    }
}

impl fmt::Display for OwnerTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// Whose allocation it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocationOwner {
    pub session: OwnerTag,
    pub person: OwnerTag,
    /// The room of the call; `None` for a check outside a call.
    pub room: Option<OwnerTag>,
}

/// What a user name of the embedded relay states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayUsername {
    pub expires_at: Timestamp,
    pub owner: AllocationOwner,
    pub serial: i64,
}

impl RelayUsername {
    /// Parses a user name, or returns `None` for one that the hub does not issue.
    pub fn parse(username: &str) -> Option<Self> {
        let (seconds, id) = username.split_once(':')?;
        let is_number = (9..=11).contains(&seconds.len()) && seconds.bytes().all(|byte| byte.is_ascii_digit());
        let seconds: i64 = seconds.parse().ok().filter(|_| is_number)?;
        let mut parts = id.split('.');
        let [session, person, room, serial] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
        let room = if room == NO_ROOM { None } else { Some(OwnerTag::parse(room)?) };
        let owner = AllocationOwner { session: OwnerTag::parse(session)?, person: OwnerTag::parse(person)?, room };
        let serial = i64::from_be_bytes(OwnerTag::parse(serial)?.0);
        let expires_at = Timestamp::from_micros(seconds.checked_mul(1_000_000)?);
        parts.next().is_none().then_some(Self { expires_at, owner, serial })
    }
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

    fn owner(room: Option<OwnerTag>) -> AllocationOwner {
        let tag = |id| OwnerTag::of(Uuid::from_u128(id));
        AllocationOwner { session: tag(7), person: tag(8), room }
    }

    #[test]
    fn user_name_states_expiry_and_owner_and_hides_who_it_is() {
        let secret = RelaySecret(SecretString::from("north".to_owned()));
        let now = Timestamp::from_micros(1_772_442_000_000_000);
        for room in [None, Some(OwnerTag::of(Uuid::from_u128(9)))] {
            let issued = secret.issue(owner(room), 12_345, now);
            let expires_at = now.plus(CREDENTIAL_LIFETIME);
            let expected = RelayUsername { expires_at, owner: owner(room), serial: 12_345 };
            assert_eq!(RelayUsername::parse(&issued.username), Some(expected));
            assert!(!issued.username.contains(&Uuid::from_u128(7).simple().to_string()[16..]));
        }
        // The expected value comes from `openssl dgst -sha1 -hmac north -binary | base64`.
        assert_eq!(secret.password("1433895918:filip"), "ng2uTGbzpQia+Jd+MPqu+GsTXO0=");
    }

    #[test]
    fn user_names_of_another_form_are_rejected() {
        let tag = "0123456789abcdef";
        for name in [
            String::new(),
            "1772442000".to_owned(),
            format!("1772442000:{tag}"),
            format!("1772442000:{tag}.{tag}.-"),
            format!("1772442000:{tag}.{tag}.-.{tag}.{tag}"),
            format!("1772442000:{tag}.{tag}.x.{tag}"),
            format!("1772442000:{tag}.+123456789abcdef.-.{tag}"),
            format!(":{tag}.{tag}.-.{tag}"),
            format!("x:{tag}.{tag}.-.{tag}"),
            format!("-772442000:{tag}.{tag}.-.{tag}"),
            format!("99999999999999999999:{tag}.{tag}.-.{tag}"),
            "1772442000:alice".to_owned(),
        ] {
            assert_eq!(RelayUsername::parse(&name), None, "{name}");
        }
        assert!(RelayUsername::parse(&format!("1772442000:{tag}.{tag}.-.{tag}")).is_some());
    }
}
