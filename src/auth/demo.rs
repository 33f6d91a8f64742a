//! Links that sign demo people in: in demo mode, on loopback, as long as this process lives.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dashmap::DashMap;
use ring::rand::{SecureRandom, SystemRandom};
use rooms::id::UserId;
use sha2::{Digest, Sha256};

/// What a demo link carries.
pub struct DemoToken(pub String);

/// Outside demo mode there are none, and none can be made.
pub struct DemoTokens {
    /// By the token's hash; `None` outside demo mode.
    people: Option<DashMap<[u8; 32], UserId>>,
}

impl DemoTokens {
    pub fn new(demo: bool) -> Self {
        Self { people: demo.then(DashMap::new) }
    }

    /// A token for this person; `None` outside demo mode.
    pub fn make(&self, user: UserId) -> Option<DemoToken> {
        let people = self.people.as_ref()?;
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).ok()?;
        let token = URL_SAFE_NO_PAD.encode(bytes);
        people.insert(Sha256::digest(&token).into(), user);
        Some(DemoToken(token))
    }

    /// Whose token this is.
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
    fn outside_demo_mode_no_link_signs_anybody_in() {
        let user = UserId(Uuid::now_v7());
        let demo = DemoTokens::new(true);
        let token = demo.make(user).unwrap();
        assert_eq!(demo.find(&token.0), Some(user));
        assert_eq!(demo.find("other"), None);
        let serve = DemoTokens::new(false);
        assert!(serve.make(user).is_none());
        assert_eq!(serve.find(&token.0), None);
    }
}
