//! Links that sign demo people in. They exist in demo mode only, which listens on loopback, and expire with the
//! process.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dashmap::DashMap;
use ring::rand::{SecureRandom, SystemRandom};
use rooms::id::UserId;
use sha2::{Digest, Sha256};

/// The token in a demo link.
pub struct DemoToken(pub String);

/// The issued tokens. Outside demo mode there are none, and none can be issued.
pub struct DemoTokens {
    /// People by the hash of their token; `None` outside demo mode.
    people: Option<DashMap<[u8; 32], UserId>>,
}

impl DemoTokens {
    pub fn new(demo: bool) -> Self {
        Self { people: demo.then(DashMap::new) }
    }

    /// Issues a token for this person, or `None` outside demo mode.
    pub fn issue(&self, user: UserId) -> Option<DemoToken> {
        let people = self.people.as_ref()?;
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).ok()?;
        let token = URL_SAFE_NO_PAD.encode(bytes);
        people.insert(Sha256::digest(&token).into(), user);
        Some(DemoToken(token))
    }

    /// Returns the person that a token signs in.
    pub fn find(&self, token: &str) -> Option<UserId> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        self.people.as_ref()?.get(&hash).map(|user| *user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn demo_links_work_in_demo_mode_only() {
        let user = UserId(Uuid::now_v7());
        let demo = DemoTokens::new(true);
        let token = demo.issue(user).unwrap();
        assert_eq!(demo.find(&token.0), Some(user));
        assert_eq!(demo.find("other"), None);
        let serve = DemoTokens::new(false);
        assert!(serve.issue(user).is_none());
        assert_eq!(serve.find(&token.0), None);
    }
}
