//! Links that admit a guest to one consultation.
//!
//! A link carries a signed token that names the room, the guest, and the expiry. The hub stores nothing of it. The
//! room decides whether the guest is still admitted, each time the link is used or the room is read.

use rooms::id::{RoomId, SessionId, UserId};
use rooms::role::Role;
use rooms::text::Text;
use rooms::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::token::{Claims, expiry_after, issue, sign, verify_payload};
use super::{Auth, AuthError};

/// `typ` of guest links, so that a link cannot serve as an access token, nor the reverse.
const GUEST_LINK_TYPE: &str = "guest+jwt";

/// Which guest a link admits, to which room, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestLink {
    pub room: RoomId,
    pub guest: UserId,
    pub name: Text<200>,
    pub until: Timestamp,
}

/// The token's payload, with the claim names of RFC 7519 where they exist.
#[derive(Serialize, Deserialize)]
struct GuestLinkPayload {
    iss: String,
    aud: String,
    sub: UserId,
    room: RoomId,
    name: Text<200>,
    exp: i64,
}

impl Auth {
    /// Encodes the token of a link.
    pub fn guest_token(&self, link: &GuestLink) -> String {
        let payload = GuestLinkPayload {
            iss: self.inner.settings.issuer.clone(),
            aud: self.inner.settings.audience.clone(),
            sub: link.guest,
            room: link.room,
            name: link.name.clone(),
            exp: link.until.utc().timestamp(),
        };
        sign(&self.inner.keys, GUEST_LINK_TYPE, &payload)
    }

    /// Verifies a link's token.
    pub fn guest_link(&self, token: &str, now: Timestamp) -> Result<GuestLink, AuthError> {
        let GuestLinkPayload { sub, room, name, exp, .. } =
            verify_payload(&self.inner.keys, &self.inner.settings, GUEST_LINK_TYPE, token)?;
        let until = Timestamp::from_micros(exp.saturating_mul(1_000_000));
        if until <= now { Err(AuthError::Expired) } else { Ok(GuestLink { room, guest: sub, name, until }) }
    }

    /// Issues a guest's access token, which expires no later than the link. The page generates `device` and repeats
    /// it, so that a renewed token keeps its session.
    pub fn guest_access(&self, link: &GuestLink, device: Uuid, now: Timestamp) -> (String, Claims) {
        let claims = Claims {
            user: link.guest,
            session: SessionId(Uuid::new_v5(&link.guest.0, device.as_bytes())),
            role: Role::Guest,
            name: link.name.clone(),
            pharmacy: None,
            rights: 0,
            issued_at: now,
            expires_at: expiry_after(now, self.inner.settings.access_lifetime).min(link.until),
        };
        (issue(&self.inner.keys, &self.inner.settings, &claims), claims)
    }
}
