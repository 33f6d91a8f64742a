//! Refresh tokens: `family.counter.mac`, derived and not stored.
//!
//! A sign-in is a family. Its row holds the counter of the newest token; a token is redeemed by moving the counter on
//! by one, which only one of many at the same time can do. The mac makes a token unguessable, and because the
//! successor of a token can be derived again, a client whose answer was lost gets the same successor for a short while.
//! What is older was stolen or copied, so it ends the family (RFC 9700, FAPI 2.0).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use rooms::id::SessionId;
use rooms::time::Timestamp;
use uuid::Uuid;

/// How long the token before the newest still gets the newest.
pub const GRACE: Duration = Duration::from_secs(10);

/// A token whose mac is right: this hub made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    pub family: SessionId,
    pub counter: u64,
}

impl RefreshToken {
    /// The text a client keeps.
    pub fn encode(&self, key: &hmac::Key) -> String {
        let mac = URL_SAFE_NO_PAD.encode(hmac::sign(key, self.message().as_bytes()));
        format!("{}.{mac}", self.message())
    }

    /// Reads a client's text; `None` if this hub did not make it.
    pub fn decode(key: &hmac::Key, text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let (family, counter, mac) = (parts.next()?, parts.next()?, parts.next()?);
        let token = Self { family: SessionId(Uuid::try_parse(family).ok()?), counter: counter.parse().ok()? };
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        // Compared in constant time, over the one way to write this token.
        hmac::verify(key, token.message().as_bytes(), &mac).ok()?;
        Some(token)
    }

    fn message(&self) -> String {
        format!("{}.{}", self.family.0.simple(), self.counter)
    }
}

/// What is to be done with a token whose family's newest counter is `newest`, reached at `rotated_at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the newest: move the counter on.
    Rotate,
    /// It was the newest a moment ago: hand out the newest once more.
    Again,
    /// It is older: end the family.
    Reused,
    /// From a future that the store has lost: it proves nothing.
    Unknown,
}

/// See [`Verdict`].
pub fn judge(counter: u64, newest: u64, rotated_at: Timestamp, now: Timestamp) -> Verdict {
    if counter == newest {
        Verdict::Rotate
    } else if counter > newest {
        Verdict::Unknown
    } else if counter + 1 == newest && now.since(rotated_at) <= GRACE {
        Verdict::Again
    } else {
        Verdict::Reused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes())
    }

    #[test]
    fn only_what_the_hub_made_is_read() {
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
    fn only_the_immediate_predecessor_is_forgiven_and_only_for_a_while() {
        let rotated = Timestamp::from_micros(1_000_000_000);
        let soon = rotated.plus(GRACE);
        let late = soon.plus(Duration::from_micros(1));
        assert_eq!(judge(5, 5, rotated, late), Verdict::Rotate);
        assert_eq!(judge(4, 5, rotated, soon), Verdict::Again);
        assert_eq!(judge(4, 5, rotated, late), Verdict::Reused);
        assert_eq!(judge(3, 5, rotated, rotated), Verdict::Reused);
        assert_eq!(judge(6, 5, rotated, rotated), Verdict::Unknown);
    }
}
