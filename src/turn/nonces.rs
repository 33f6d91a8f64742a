//! Nonces that prove that a client receives what the server sends to its address. The server stores none: a nonce states
//! when it was issued, and its code proves that the server issued it to this address.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ring::hmac;
use ring::rand::SystemRandom;

/// How long a nonce is valid.
const NONCE_LIFETIME: Duration = Duration::from_secs(3_600);
/// Hexadecimal digits of the time, and of the code.
const TIME_DIGITS: usize = 8;
const CODE_DIGITS: usize = 24;

/// Issues and checks nonces.
pub struct Nonces {
    key: hmac::Key,
    started: Instant,
}

impl Nonces {
    /// Creates an issuer with a random key. Fails if the system provides no random numbers.
    pub fn new() -> Result<Self, ring::error::Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?;
        Ok(Self { key, started: Instant::now() })
    }

    /// Issues a nonce to a client.
    pub fn issue(&self, client: SocketAddr, now: Instant) -> String {
        self.nonce(client, now.saturating_duration_since(self.started).as_secs())
    }

    /// Returns `true` if the server issued this nonce to this client, and it has not expired.
    pub fn is_valid(&self, nonce: &str, client: SocketAddr, now: Instant) -> bool {
        let issued = nonce.get(..TIME_DIGITS).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let now = now.saturating_duration_since(self.started).as_secs();
        issued.is_some_and(|issued| {
            now.saturating_sub(issued) < NONCE_LIFETIME.as_secs() && self.nonce(client, issued) == nonce
        })
    }

    fn nonce(&self, client: SocketAddr, seconds: u64) -> String {
        let code = hmac::sign(&self.key, format!("{seconds} {client}").as_bytes());
        let code: String = code.as_ref().iter().take(CODE_DIGITS / 2).map(|byte| format!("{byte:02x}")).collect();
        format!("{seconds:0TIME_DIGITS$x}{code}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonce_is_valid_for_one_client_and_one_hour() {
        let nonces = Nonces::new().unwrap();
        let (client, other): (SocketAddr, SocketAddr) =
            ("192.0.2.1:5000".parse().unwrap(), "192.0.2.1:5001".parse().unwrap());
        let start = Instant::now();
        let nonce = nonces.issue(client, start);
        assert!(nonces.is_valid(&nonce, client, start + NONCE_LIFETIME - Duration::from_secs(2)));
        assert!(!nonces.is_valid(&nonce, client, start + NONCE_LIFETIME + Duration::from_secs(2)));
        assert!(!nonces.is_valid(&nonce, other, start));
        for forged in ["", "0000000", "00000000", "zzzzzzzz", &"0".repeat(TIME_DIGITS + CODE_DIGITS), "é00000000"] {
            assert!(!nonces.is_valid(forged, client, start), "{forged}");
        }
    }
}
