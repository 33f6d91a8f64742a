//! Signatures of partners' messages: `t=SECONDS,v1=HEX`, the HMAC-SHA256 of `SECONDS.BODY` under a shared secret.
//!
//! A signature is valid for five minutes, which limits replays of an intercepted message. Within that window, the
//! message's id reveals a replay.

use std::time::Duration;

use ring::hmac;
use rooms::time::Timestamp;

/// How far a message's time may differ from now, in either direction.
pub const SIGNATURE_TOLERANCE: Duration = Duration::from_secs(300);
/// Signatures of one header that are checked. While a partner rotates its secret, it signs under both.
const MAX_SIGNATURES: usize = 4;

/// Why a signature is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("the signature header must be t=SECONDS,v1=HEX")]
    Malformed,
    #[error("the signature does not match the body")]
    Forged,
    #[error("the signature's time is more than five minutes away")]
    Expired,
}

/// Returns the header of a body that is sent at `at`.
pub fn sign(secret: &[u8], at: Timestamp, body: &[u8]) -> String {
    let seconds = at.micros().div_euclid(1_000_000);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &signed_bytes(&seconds.to_string(), body));
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

/// Verifies the header of a body received at `now`. Compares in constant time.
pub fn verify(secret: &[u8], header: &str, body: &[u8], now: Timestamp) -> Result<(), SignatureError> {
    let mut seconds = None;
    let mut signatures = Vec::new();
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", digits)) if seconds.is_none() => seconds = Some(digits),
            Some(("v1", hex)) if signatures.len() < MAX_SIGNATURES => signatures.push(hex),
            // Ignore unknown schemes, so that partners can introduce new ones.
            Some(_) => {}
            None => return Err(SignatureError::Malformed),
        }
    }
    let digits = seconds.ok_or(SignatureError::Malformed)?;
    let at: i64 = digits.parse().map_err(|_| SignatureError::Malformed)?;
    if signatures.is_empty() {
        return Err(SignatureError::Malformed);
    }
    let (key, content) = (hmac::Key::new(hmac::HMAC_SHA256, secret), signed_bytes(digits, body));
    let matches = |hex: &&str| decode_hex(hex).is_some_and(|tag| hmac::verify(&key, &content, &tag).is_ok());
    if !signatures.iter().any(matches) {
        return Err(SignatureError::Forged);
    }
    // Check the time last: only a holder of the secret learns that it is wrong.
    let at = Timestamp::from_micros(at.saturating_mul(1_000_000));
    if now.since(at) > SIGNATURE_TOLERANCE || at.since(now) > SIGNATURE_TOLERANCE {
        Err(SignatureError::Expired)
    } else {
        Ok(())
    }
}

fn signed_bytes(seconds: &str, body: &[u8]) -> Vec<u8> {
    [seconds.as_bytes(), b".", body].concat()
}

fn decode_hex(hex: &str) -> Option<Vec<u8>> {
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
    fn only_the_signed_body_verifies() {
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
    fn signature_is_valid_for_five_minutes() {
        let header = sign(SECRET, now(), b"{}");
        let later = |seconds| now().plus(Duration::from_secs(seconds));
        assert_eq!(verify(SECRET, &header, b"{}", later(300)), Ok(()));
        assert_eq!(verify(SECRET, &header, b"{}", later(301)), Err(SignatureError::Expired));
        let early = sign(SECRET, later(301), b"{}");
        assert_eq!(verify(SECRET, &early, b"{}", now()), Err(SignatureError::Expired));
    }

    #[test]
    fn malformed_headers_are_rejected_without_panic() {
        for header in ["", "t", "t=1", "v1=00", "t=x,v1=00", "t=99999999999999999999,v1=00"] {
            assert_eq!(verify(SECRET, header, b"{}", now()), Err(SignatureError::Malformed), "{header}");
        }
        for header in ["t=1800000000,v1=", "t=1800000000,v1=0", "t=1800000000,v1=é", "t=1800000000,v1=zz"] {
            assert_eq!(verify(SECRET, header, b"{}", now()), Err(SignatureError::Forged), "{header}");
        }
        assert_eq!(verify(SECRET, &format!("t={},v1=00", i64::MAX), b"{}", now()), Err(SignatureError::Forged));
    }

    /// The example in docs/partners.md, computed with another tool.
    #[test]
    fn documented_example_verifies() {
        let body = br#"{"id":"evt_1","type":"payment_intent.succeeded"}"#;
        let signature = "6d7c7ac86649512ed2a7a10ab85232516491daca81793d8361dd99c334d17026";
        let header = format!("t=1800000000,v1={signature}");
        assert_eq!(verify(b"whsec_example_secret_0123456789", &header, body, now()), Ok(()));
    }
}
