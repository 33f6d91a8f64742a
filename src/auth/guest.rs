//! Links that let a guest into one consultation.
//!
//! A link carries a signed token that says which guest of which room, and until when. Nothing of it is stored: whether
//! the guest is still welcome is the room's to say, each time the link is used and at every look into the room.

use rooms::id::{RoomId, SessionId, UserId};
use rooms::role::Role;
use rooms::text::Line;
use rooms::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::token::{Claims, end_of, issue, open, sign};
use super::{Auth, AuthError};

/// `typ` of links: no access token can stand in for one, nor the other way round.
const TYPE: &str = "guest+jwt";

/// Whom a link lets in, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestLink {
    pub room: RoomId,
    pub guest: UserId,
    pub name: Line,
    pub until: Timestamp,
}

/// The payload, in the names of RFC 7519 where it has them.
#[derive(Serialize, Deserialize)]
struct Payload {
    iss: String,
    aud: String,
    sub: UserId,
    room: RoomId,
    name: Line,
    exp: i64,
}

impl Auth {
    /// The text that a link carries.
    pub fn guest_token(&self, link: &GuestLink) -> String {
        let payload = Payload {
            iss: self.inner.settings.issuer.clone(),
            aud: self.inner.settings.audience.clone(),
            sub: link.guest,
            room: link.room,
            name: link.name.clone(),
            exp: link.until.utc().timestamp(),
        };
        sign(&self.inner.keys, TYPE, &payload)
    }

    /// Reads a link's text.
    pub fn guest_link(&self, token: &str, now: Timestamp) -> Result<GuestLink, AuthError> {
        let Payload { sub, room, name, exp, .. } = open(&self.inner.keys, &self.inner.settings, TYPE, token)?;
        let until = Timestamp::from_micros(exp.saturating_mul(1_000_000));
        if until <= now { Err(AuthError::Expired) } else { Ok(GuestLink { room, guest: sub, name, until }) }
    }

    /// An access token for a guest, no longer than the link. `device` is drawn by the page: it keeps its session when it
    /// comes for another token.
    pub fn guest_access(&self, link: &GuestLink, device: Uuid, now: Timestamp) -> (String, Claims) {
        let claims = Claims {
            user: link.guest,
            session: SessionId(Uuid::new_v5(&link.guest.0, device.as_bytes())),
            role: Role::Guest,
            name: link.name.clone(),
            pharmacy: None,
            rights: 0,
            issued_at: now,
            expires_at: end_of(now, self.inner.settings.access).min(link.until),
        };
        (issue(&self.inner.keys, &self.inner.settings, &claims), claims)
    }
}
