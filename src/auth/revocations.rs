//! Sign-ins that were ended and rights that changed, as long as a token from before could still be valid.
//!
//! A token is checked without the store. What it cannot know is here in memory, filled at start from what the store saw
//! within the last token's life, and announced to whoever keeps connections open.

use std::time::Duration;

use dashmap::DashMap;
use rooms::id::{SessionId, UserId};
use rooms::time::Timestamp;
use tokio::sync::broadcast;

use super::token::{AuthError, Claims};

/// Announcements that a slow listener may be behind by; beyond that it is told that it missed some.
const BEHIND: usize = 1024;

/// What ended or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// One sign-in.
    Session(SessionId),
    /// All of one person's: the account is disabled, or the person signed out everywhere.
    User(UserId),
    /// A person's rights: a fresh token is needed.
    Changed(UserId),
}

/// See the module.
pub struct Revocations {
    sessions: DashMap<SessionId, Timestamp>,
    /// By person: tokens with fewer `rights` are of before a change.
    rights: DashMap<UserId, (u64, Timestamp)>,
    announce: broadcast::Sender<Revocation>,
}

impl Revocations {
    pub fn new() -> Self {
        Self { sessions: DashMap::new(), rights: DashMap::new(), announce: broadcast::Sender::new(BEHIND) }
    }

    pub fn subscribe(&self) -> broadcast::Receiver<Revocation> {
        self.announce.subscribe()
    }

    /// A sign-in ended at `at`.
    pub fn end(&self, session: SessionId, at: Timestamp) {
        self.sessions.insert(session, at);
        self.tell(Revocation::Session(session));
    }

    /// All of one person's sign-ins ended at `at`; `sessions` are those that stood.
    pub fn end_all(&self, user: UserId, sessions: &[SessionId], at: Timestamp) {
        for session in sessions {
            self.sessions.insert(*session, at);
        }
        self.tell(Revocation::User(user));
    }

    /// A person's rights changed at `at`, for the `rights`th time; with `ended`, all their sign-ins are over too.
    pub fn change(&self, user: UserId, rights: u64, at: Timestamp, ended: bool) {
        let mut known = self.rights.entry(user).or_insert((rights, at));
        if known.0 < rights {
            *known = (rights, at);
        }
        drop(known);
        self.tell(if ended { Revocation::User(user) } else { Revocation::Changed(user) });
    }

    /// Refuses a token that was overtaken.
    pub fn check(&self, claims: &Claims) -> Result<(), AuthError> {
        if self.sessions.contains_key(&claims.session) {
            return Err(AuthError::Revoked);
        }
        match self.rights.get(&claims.user) {
            Some(known) if claims.rights < known.0 => Err(AuthError::Changed),
            _ => Ok(()),
        }
    }

    /// Forgets what no valid token can be from before of.
    pub fn forget(&self, now: Timestamp, token_life: Duration) {
        self.sessions.retain(|_, at| now.since(*at) <= token_life);
        self.rights.retain(|_, (_, at)| now.since(*at) <= token_life);
    }

    fn tell(&self, what: Revocation) {
        // An error says that nobody listens.
        let _ = self.announce.send(what);
    }
}

impl Default for Revocations {
    fn default() -> Self {
        Self::new()
    }
}
