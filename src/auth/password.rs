//! Passwords: hashed with argon2id on blocking threads, on at most half of the cores.
//!
//! Attempts from unknown devices share a part of these threads, behind a queue of limited length. People who have signed
//! in from the same network before wait behind one such attempt at most, however many strangers try at the same time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;
use unicode_normalization::UnicodeNormalization;

use crate::config::edge::MAX_HASHING_QUEUE;

/// Argon2's memory, and its passes over it.
const ARGON2_MEMORY_KIB: u32 = 19 * 1024;
const ARGON2_PASSES: u32 = 2;
/// How long an attempt waits for a free hashing thread.
const HASHING_QUEUE_TIMEOUT: Duration = Duration::from_secs(10);

/// The length limits of a password: at least these characters, at most these bytes.
pub const MIN_PASSWORD_CHARS: usize = 8;
pub const MAX_PASSWORD_BYTES: usize = 256;

/// The passwords that attackers try first, one per line.
const COMMON_PASSWORDS: &str = include_str!("common_passwords.txt");

/// Who waits for a hashing thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceHistory {
    /// The account has been signed in to from this network before.
    Known,
    Unknown,
}

/// Too many attempts are queued; this one was rejected.
#[derive(Debug, thiserror::Error)]
#[error("too many people are signing in; try again in a few seconds")]
pub struct BusyError;

/// Whether a password matches a stored hash.
#[derive(Clone, PartialEq, Eq)]
pub enum PasswordMatch {
    No,
    Yes,
    /// The hash is from before passwords were normalized; `hash` is to replace it.
    OldForm {
        hash: String,
    },
}

/// Omits the hash.
impl fmt::Debug for PasswordMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PasswordMatch::No => "No",
            PasswordMatch::Yes => "Yes",
            PasswordMatch::OldForm { .. } => "OldForm",
        })
    }
}

/// Hashes and verifies passwords.
#[derive(Clone)]
pub struct Passwords {
    threads: Arc<Semaphore>,
    /// The threads that attempts from unknown devices may use.
    threads_for_unknown: Arc<Semaphore>,
    /// Places in the queue for attempts from unknown devices, and on their threads.
    places_for_unknown: Arc<Semaphore>,
    /// Compared with when there is no account, so that an unknown address takes as long as a wrong password.
    dummy_hash: Arc<str>,
}

impl Passwords {
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self::with_threads((cores / 2).max(1))
    }

    fn with_threads(threads: usize) -> Self {
        let for_unknown = (threads / 2).max(1);
        let dummy_hash = hash(b"nobody has this password").into();
        Self {
            threads: Arc::new(Semaphore::new(threads)),
            threads_for_unknown: Arc::new(Semaphore::new(for_unknown)),
            places_for_unknown: Arc::new(Semaphore::new(for_unknown + MAX_HASHING_QUEUE)),
            dummy_hash,
        }
    }

    /// Returns the hash to store, with its own salt. Normalizes the password to NFC first, because keyboards differ in how
    /// they compose a letter.
    pub async fn hash(&self, password: SecretString) -> Result<String, BusyError> {
        self.with_thread(DeviceHistory::Unknown, move || hash(composed(&password).expose_secret().as_bytes())).await
    }

    /// Returns whether the password matches the stored hash. Without a stored hash the answer is [`PasswordMatch::No`],
    /// after the same work.
    pub async fn verify(
        &self,
        password: SecretString,
        stored: Option<String>,
        device: DeviceHistory,
    ) -> Result<PasswordMatch, BusyError> {
        let dummy_hash = self.dummy_hash.clone();
        self.with_thread(device, move || {
            let expected = stored.as_deref().unwrap_or(&dummy_hash);
            let matches = |form: &SecretString| hash_matches(form.expose_secret().as_bytes(), expected);
            let composed = composed(&password);
            if matches(&composed) {
                return if stored.is_some() { PasswordMatch::Yes } else { PasswordMatch::No };
            }
            match old_forms(&password, &composed).iter().any(matches) && stored.is_some() {
                true => PasswordMatch::OldForm { hash: hash(composed.expose_secret().as_bytes()) },
                false => PasswordMatch::No,
            }
        })
        .await
    }

    async fn with_thread<T: Send + 'static>(
        &self,
        device: DeviceHistory,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BusyError> {
        let place = match device {
            DeviceHistory::Known => None,
            DeviceHistory::Unknown => Some(self.places_for_unknown.clone().try_acquire_owned().map_err(|_| BusyError)?),
        };
        let permits = async {
            let for_unknown = match device {
                DeviceHistory::Known => None,
                DeviceHistory::Unknown => Some(self.threads_for_unknown.clone().acquire_owned().await),
            };
            (for_unknown, self.threads.clone().acquire_owned().await)
        };
        let permits = tokio::time::timeout(HASHING_QUEUE_TIMEOUT, permits).await.map_err(|_| BusyError)?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop((permits, place));
            result
        });
        done.await.map_err(|_| BusyError)
    }
}

impl Default for Passwords {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns why a password is rejected, or `None` if it is acceptable. It must also differ from the account's address
/// and name.
pub fn weakness(password: &str, email: &str, name: &str) -> Option<&'static str> {
    let length = password.nfc().count();
    let lower = password.to_lowercase();
    if length < MIN_PASSWORD_CHARS {
        Some("must have at least 8 characters")
    } else if password.len() > MAX_PASSWORD_BYTES {
        Some("must have at most 256 bytes")
    } else if lower == email.to_lowercase() || lower == name.to_lowercase() {
        Some("must not be your e-mail address or your name")
    } else if COMMON_PASSWORDS.lines().any(|common| common == lower) {
        Some("is among those that attackers try first; choose another")
    } else {
        None
    }
}

/// Returns the password in the form that is hashed.
fn composed(password: &SecretString) -> SecretString {
    password.expose_secret().nfc().collect::<String>().into()
}

/// Returns the forms in which a password may have been hashed before it was normalized: as it is typed here, or as a keyboard
/// that decomposes letters typed it.
fn old_forms(password: &SecretString, composed: &SecretString) -> Vec<SecretString> {
    let (typed, composed) = (password.expose_secret(), composed.expose_secret());
    let decomposed: String = typed.nfd().collect();
    let mut forms: Vec<SecretString> = Vec::new();
    if decomposed != composed {
        forms.push(decomposed.clone().into());
    }
    if typed != composed && typed != decomposed {
        forms.push(typed.into());
    }
    forms
}

fn argon2() -> Argon2<'static> {
    let params =
        Params::new(ARGON2_MEMORY_KIB, ARGON2_PASSES, 1, None).expect("the parameters are within argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn hash(password: &[u8]) -> String {
    argon2().hash_password(password).expect("a password of any length can be hashed").to_string()
}

fn hash_matches(password: &[u8], stored: &str) -> bool {
    PasswordHash::new(stored).is_ok_and(|stored| argon2().verify_password(password, &stored).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn password_matches_its_own_hash_only() {
        let passwords = Passwords::new();
        let stored = passwords.hash("correct horse".into()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        let verify = async |password: &str, stored: Option<String>| {
            passwords.verify(password.into(), stored, DeviceHistory::Unknown).await.unwrap()
        };
        assert_eq!(verify("correct horse", Some(stored.clone())).await, PasswordMatch::Yes);
        assert_eq!(verify("wrong horse", Some(stored)).await, PasswordMatch::No);
        assert_eq!(verify("nobody has this password", None).await, PasswordMatch::No);
        assert_eq!(verify("x", Some("not a hash".to_owned())).await, PasswordMatch::No);
    }

    #[tokio::test]
    async fn password_matches_however_its_letters_are_composed() {
        let passwords = Passwords::new();
        let (composed, decomposed) = ("caf\u{e9} cr\u{e8}me", "cafe\u{301} cre\u{300}me");
        let verify = async |password: &str, stored: &str| {
            passwords.verify(password.into(), Some(stored.to_owned()), DeviceHistory::Unknown).await.unwrap()
        };
        let stored = passwords.hash(decomposed.into()).await.unwrap();
        assert_eq!(verify(composed, &stored).await, PasswordMatch::Yes);
        assert_eq!(verify(decomposed, &stored).await, PasswordMatch::Yes);
        for old in [composed, decomposed, "cafe\u{301} cr\u{e8}me"] {
            let old_hash = hash(old.as_bytes());
            let matched = verify(old, &old_hash).await;
            if let PasswordMatch::OldForm { hash } = &matched {
                assert_eq!(verify(composed, hash).await, PasswordMatch::Yes);
            }
            assert_eq!(matched == PasswordMatch::Yes, old == composed, "{matched:?}");
            assert_ne!(matched, PasswordMatch::No);
        }
        assert_ne!(
            verify(composed, &hash(decomposed.as_bytes())).await,
            PasswordMatch::No,
            "typed on another keyboard"
        );
        assert_eq!(verify("cafe creme", &stored).await, PasswordMatch::No);
    }

    #[tokio::test]
    async fn known_devices_wait_for_one_stranger_at_most_and_the_queue_is_bounded() {
        let passwords = Passwords::with_threads(1);
        let stranger = || {
            tokio::spawn({
                let passwords = passwords.clone();
                async move { passwords.verify("a guess".into(), None, DeviceHistory::Unknown).await }
            })
        };
        let strangers: Vec<_> = (0..MAX_HASHING_QUEUE + 20).map(|_| stranger()).collect();
        while passwords.places_for_unknown.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        passwords.verify("a password".into(), None, DeviceHistory::Known).await.unwrap();
        let waiting = strangers.iter().filter(|it| !it.is_finished()).count();
        assert!(waiting > MAX_HASHING_QUEUE / 2, "{waiting} strangers still wait");
        let mut rejected = 0;
        for stranger in strangers {
            rejected += usize::from(stranger.await.unwrap().is_err());
        }
        assert_eq!(rejected, 19, "the queue and the one thread admit the others");
    }

    #[test]
    fn weak_passwords_are_rejected() {
        assert!(weakness("short", "a@b.c", "A").is_some());
        assert!(weakness("Password123", "a@b.c", "A").is_some());
        assert!(weakness("Someone@Example.org", "someone@example.org", "A").is_some());
        assert!(weakness(&"x".repeat(257), "a@b.c", "A").is_some());
        assert!(weakness("an unusual sentence", "a@b.c", "A").is_none());
        assert!(weakness(&"long ".repeat(20), "a@b.c", "A").is_none(), "64 characters and more are fine");
    }
}
