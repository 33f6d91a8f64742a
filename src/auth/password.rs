//! Passwords: argon2id, on threads of their own and only a few at a time.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

/// Memory in KiB and passes over it.
const MEMORY: u32 = 19 * 1024;
const PASSES: u32 = 2;
/// How long a try waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Fewest and most characters of a password.
pub const MIN_LENGTH: usize = 8;
pub const MAX_LENGTH: usize = 256;

/// Those that are tried first by everybody, one a line.
const COMMON: &str = include_str!("common_passwords.txt");

/// So many tries wait that this one was given up.
#[derive(Debug, thiserror::Error)]
#[error("too many people sign in at the same time")]
pub struct Busy;

/// Hashes and compares.
#[derive(Clone)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    /// Compared with when there is no account, so that an unknown name takes as long as a wrong password.
    nobody: Arc<str>,
}

impl Passwords {
    pub fn new() -> Self {
        let turns = std::thread::available_parallelism().map_or(2, usize::from);
        let nobody = hash(b"nobody has this password").into();
        Self { turns: Arc::new(Semaphore::new(turns)), nobody }
    }

    /// The text to store, with a salt of its own.
    pub async fn hash(&self, password: SecretString) -> Result<String, Busy> {
        self.in_turn(move || hash(password.expose_secret().as_bytes())).await
    }

    /// Whether `password` is the one that `stored` was made from. Without `stored` it is not, after the same work.
    pub async fn matches(&self, password: SecretString, stored: Option<String>) -> Result<bool, Busy> {
        let nobody = self.nobody.clone();
        self.in_turn(move || {
            let same = same(password.expose_secret().as_bytes(), stored.as_deref().unwrap_or(&nobody));
            same && stored.is_some()
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let turn = tokio::time::timeout(PATIENCE, self.turns.clone().acquire_owned()).await.map_err(|_| Busy)?;
        let turn = turn.expect("the semaphore is never closed");
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        done.await.map_err(|_| Busy)
    }
}

impl Default for Passwords {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a password is not taken; `None` if it is. It must also not be the account's own address or name.
pub fn weakness(password: &str, email: &str, name: &str) -> Option<&'static str> {
    let length = password.chars().count();
    let lower = password.to_lowercase();
    if length < MIN_LENGTH {
        Some("must have at least 8 characters")
    } else if password.len() > MAX_LENGTH {
        Some("must have at most 256 bytes")
    } else if lower == email.to_lowercase() || lower == name.to_lowercase() {
        Some("must not be the address or the name")
    } else if COMMON.lines().any(|common| common == lower) {
        Some("is one that is guessed first; choose another")
    } else {
        None
    }
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY, PASSES, 1, None).expect("the parameters are within argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn hash(password: &[u8]) -> String {
    argon2().hash_password(password).expect("a password of any length can be hashed").to_string()
}

fn same(password: &[u8], stored: &str) -> bool {
    PasswordHash::new(stored).is_ok_and(|stored| argon2().verify_password(password, &stored).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let passwords = Passwords::new();
        let stored = passwords.hash("correct horse".into()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(passwords.matches("correct horse".into(), Some(stored.clone())).await.unwrap());
        assert!(!passwords.matches("wrong horse".into(), Some(stored)).await.unwrap());
        assert!(!passwords.matches("nobody has this password".into(), None).await.unwrap());
        assert!(!passwords.matches("x".into(), Some("not a hash".to_owned())).await.unwrap());
    }

    #[test]
    fn weak_passwords_are_named_as_such() {
        assert!(weakness("short", "a@b.c", "A").is_some());
        assert!(weakness("Password123", "a@b.c", "A").is_some());
        assert!(weakness("Someone@Example.org", "someone@example.org", "A").is_some());
        assert!(weakness(&"x".repeat(257), "a@b.c", "A").is_some());
        assert!(weakness("an unusual sentence", "a@b.c", "A").is_none());
        assert!(weakness(&"long ".repeat(20), "a@b.c", "A").is_none(), "64 characters and more are fine");
    }
}
