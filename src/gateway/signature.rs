//! Signatures of partners' messages: `t=SECONDS,v1=HEX`, the HMAC-SHA256 of `SECONDS.BODY` under a shared secret.
//!
//! A signature is good for five minutes, so that a message that was overheard cannot be sent again for long; within that
//! time the message's own id tells a repetition.

use std::time::Duration;

use ring::hmac;
use rooms::time::Timestamp;

/// How far a message's time may lie from now, either way.
pub const WINDOW: Duration = Duration::from_secs(300);
/// Signatures in one header that are looked at: one each under the old and the new secret, while a partner changes them.
const MAX_SIGNATURES: usize = 4;

/// Why a message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("the signature header must be t=SECONDS,v1=HEX")]
    Malformed,
    #[error("the signature does not fit the body")]
    Forged,
    #[error("the signature's time is more than five minutes away")]
    Expired,
}

/// The header's value for a body that is sent at `at`.
pub fn sign(secret: &[u8], at: Timestamp, body: &[u8]) -> String {
    let seconds = at.micros().div_euclid(1_000_000);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &message(&seconds.to_string(), body));
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

/// Checks the header of a body that came at `now`. Compares in constant time.
pub fn verify(secret: &[u8], header: &str, body: &[u8], now: Timestamp) -> Result<(), SignatureError> {
    let mut seconds = None;
    let mut signatures = Vec::new();
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", digits)) if seconds.is_none() => seconds = Some(digits),
            Some(("v1", hex)) if signatures.len() < MAX_SIGNATURES => signatures.push(hex),
            // Schemes of the future stand beside those that are known.
            Some(_) => {}
            None => return Err(SignatureError::Malformed),
        }
    }
    let digits = seconds.ok_or(SignatureError::Malformed)?;
    let at: i64 = digits.parse().map_err(|_| SignatureError::Malformed)?;
    if signatures.is_empty() {
        return Err(SignatureError::Malformed);
    }
    let (key, message) = (hmac::Key::new(hmac::HMAC_SHA256, secret), message(digits, body));
    let fits = |hex: &&str| unhex(hex).is_some_and(|tag| hmac::verify(&key, &message, &tag).is_ok());
    if !signatures.iter().any(fits) {
        return Err(SignatureError::Forged);
    }
    // Only who knows the secret learns that the time is wrong.
    let at = Timestamp::from_micros(at.saturating_mul(1_000_000));
    if now.since(at) > WINDOW || at.since(now) > WINDOW { Err(SignatureError::Expired) } else { Ok(()) }
}

fn message(seconds: &str, body: &[u8]) -> Vec<u8> {
    [seconds.as_bytes(), b".", body].concat()
}

fn unhex(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        hex.chars().map(|c| c.to_digit(16).and_then(|it| u8::try_from(it).ok())).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high * 16 + low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"a secret of some length";

    fn now() -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000)
    }

    #[test]
    fn what_was_signed_is_taken_and_nothing_else() {
        let header = sign(SECRET, now(), b"{}");
        assert_eq!(verify(SECRET, &header, b"{}", now()), Ok(()));
        assert_eq!(verify(SECRET, &header, b"{ }", now()), Err(SignatureError::Forged));
        assert_eq!(verify(b"another secret", &header, b"{}", now()), Err(SignatureError::Forged));
        let moved = header.replacen("t=1800000000", "t=1800000001", 1);
        assert_eq!(verify(SECRET, &moved, b"{}", now()), Err(SignatureError::Forged));
        let rotated = format!("{},{}", sign(b"old", now(), b"{}"), header.split_once(',').unwrap().1);
        assert_eq!(verify(SECRET, &rotated, b"{}", now()), Ok(()));
    }

    #[test]
    fn a_signature_is_good_for_five_minutes() {
        let header = sign(SECRET, now(), b"{}");
        let later = |seconds| now().plus(Duration::from_secs(seconds));
        assert_eq!(verify(SECRET, &header, b"{}", later(300)), Ok(()));
        assert_eq!(verify(SECRET, &header, b"{}", later(301)), Err(SignatureError::Expired));
        let early = sign(SECRET, later(301), b"{}");
        assert_eq!(verify(SECRET, &early, b"{}", now()), Err(SignatureError::Expired));
    }

    #[test]
    fn nonsense_in_the_header_is_refused_without_harm() {
        for header in ["", "t", "t=1", "v1=00", "t=x,v1=00", "t=99999999999999999999,v1=00"] {
            assert_eq!(verify(SECRET, header, b"{}", now()), Err(SignatureError::Malformed), "{header}");
        }
        for header in ["t=1800000000,v1=", "t=1800000000,v1=0", "t=1800000000,v1=é", "t=1800000000,v1=zz"] {
            assert_eq!(verify(SECRET, header, b"{}", now()), Err(SignatureError::Forged), "{header}");
        }
        assert_eq!(verify(SECRET, &format!("t={},v1=00", i64::MAX), b"{}", now()), Err(SignatureError::Forged));
    }

    /// The example of docs/partners.md, made with another tool.
    #[test]
    fn the_documented_example_is_a_good_signature() {
        let body = br#"{"id":"evt_1","type":"payment_intent.succeeded"}"#;
        let signature = "6d7c7ac86649512ed2a7a10ab85232516491daca81793d8361dd99c334d17026";
        let header = format!("t=1800000000,v1={signature}");
        assert_eq!(verify(b"whsec_example_secret_0123456789", &header, body, now()), Ok(()));
    }
}
