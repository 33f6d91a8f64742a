//! Refresh tokens of the form `family.counter.mac`, derived and never stored.
//!
//! A sign-in is a family. Its row holds the counter of the newest token. Redeeming a token advances the counter by
//! one, which only one of several concurrent requests can do. The MAC makes a token unguessable. A token's successor
//! can be derived again, so a client that lost the response gets the same successor for a short while. An older token
//! was stolen or copied, so it ends the family (RFC 9700, FAPI 2.0).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use rooms::id::SessionId;
use rooms::time::Timestamp;
use uuid::Uuid;

/// How long the previous token still redeems for the newest one.
pub const REDEMPTION_GRACE: Duration = Duration::from_secs(10);

/// A token with a valid MAC, which this hub therefore issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    pub family: SessionId,
    pub counter: u64,
}

impl RefreshToken {
    /// Encodes the token for the client.
    pub fn encode(&self, key: &hmac::Key) -> String {
        let mac = URL_SAFE_NO_PAD.encode(hmac::sign(key, self.message().as_bytes()));
        format!("{}.{mac}", self.message())
    }

    /// Decodes a client's token, or returns `None` if this hub did not issue it.
    pub fn decode(key: &hmac::Key, text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let (family, counter, mac) = (parts.next()?, parts.next()?, parts.next()?);
        let token = Self { family: SessionId(Uuid::try_parse(family).ok()?), counter: counter.parse().ok()? };
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        // Compares in constant time, over the canonical form of this token.
        hmac::verify(key, token.message().as_bytes(), &mac).ok()?;
        Some(token)
    }

    fn message(&self) -> String {
        format!("{}.{}", self.family.0.simple(), self.counter)
    }
}

/// How to redeem a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redemption {
    /// The newest token: advance the counter.
    Rotate,
    /// The previous token, within the grace period: issue the newest again.
    Repeat,
    /// An older token: end the family.
    Reused,
    /// A counter that the store does not know, as after a restored backup: it proves nothing.
    Unknown,
}

/// Decides how to redeem a token, given the family's newest counter and when it was reached.
pub fn redemption(counter: u64, newest: u64, rotated_at: Timestamp, now: Timestamp) -> Redemption {
    if counter == newest {
        Redemption::Rotate
    } else if counter > newest {
        Redemption::Unknown
    } else if counter + 1 == newest && now.since(rotated_at) <= REDEMPTION_GRACE {
        Redemption::Repeat
    } else {
        Redemption::Reused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes())
    }

    #[test]
    fn only_tokens_of_this_hub_are_decoded() {
        let token = RefreshToken { family: SessionId(Uuid::now_v7()), counter: 7 };
        let text = token.encode(&key("a"));
        assert_eq!(RefreshToken::decode(&key("a"), &text), Some(token));
        assert_eq!(RefreshToken::decode(&key("b"), &text), None, "another hub's");
        assert_eq!(RefreshToken::decode(&key("a"), &text.replacen(".7.", ".8.", 1)), None, "another counter");
        for bad in ["", ".", "..", "a.b.c", "\0", &text[..text.len() - 1], &format!("{text}x")] {
            assert_eq!(RefreshToken::decode(&key("a"), bad), None, "{bad}");
        }
    }

    #[test]
    fn only_the_previous_token_is_redeemed_again_within_the_grace_period() {
        let rotated = Timestamp::from_micros(1_000_000_000);
        let within = rotated.plus(REDEMPTION_GRACE);
        let after = within.plus(Duration::from_micros(1));
        assert_eq!(redemption(5, 5, rotated, after), Redemption::Rotate);
        assert_eq!(redemption(4, 5, rotated, within), Redemption::Repeat);
        assert_eq!(redemption(4, 5, rotated, after), Redemption::Reused);
        assert_eq!(redemption(3, 5, rotated, rotated), Redemption::Reused);
        assert_eq!(redemption(6, 5, rotated, rotated), Redemption::Unknown);
    }
}
