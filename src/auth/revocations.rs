//! Sign-ins that were ended and rights that changed, as long as a token from before could still be valid.
//!
//! A token is checked without the store. What it cannot know is here in memory, filled at start from what the store saw
//! within the last token's life, and announced to whoever keeps connections open. What happens on other nodes is learnt
//! from the store, too.

use std::time::Duration;

use dashmap::DashMap;
use rooms::id::{SessionId, UserId};
use rooms::time::Timestamp;
use tokio::sync::{Notify, broadcast};

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
    /// Something ended or changed on this node.
    made_here: Notify,
}

impl Revocations {
    pub fn new() -> Self {
        let announce = broadcast::Sender::new(BEHIND);
        Self { sessions: DashMap::new(), rights: DashMap::new(), announce, made_here: Notify::new() }
    }

    pub fn subscribe(&self) -> broadcast::Receiver<Revocation> {
        self.announce.subscribe()
    }

    /// Waits until something ended or changed on this node, which the others do not know.
    pub async fn made_here(&self) {
        self.made_here.notified().await;
    }

    /// A sign-in ended at `at`.
    pub fn end(&self, session: SessionId, at: Timestamp) {
        self.sessions.insert(session, at);
        self.tell(Revocation::Session(session));
        self.made_here.notify_one();
    }

    /// A sign-in ended, as the store has it.
    pub fn learn_end(&self, session: SessionId, at: Timestamp) {
        if self.sessions.insert(session, at).is_none() {
            self.tell(Revocation::Session(session));
        }
    }

    /// A person's rights changed, as the store has it.
    pub fn learn_change(&self, user: UserId, rights: u64, at: Timestamp) {
        let mut known = self.rights.entry(user).or_insert((0, at));
        if known.0 < rights {
            *known = (rights, at);
            drop(known);
            self.tell(Revocation::Changed(user));
        }
    }

    /// All of one person's sign-ins ended at `at`; `sessions` are those that stood.
    pub fn end_all(&self, user: UserId, sessions: &[SessionId], at: Timestamp) {
        for session in sessions {
            self.sessions.insert(*session, at);
        }
        self.tell(Revocation::User(user));
        self.made_here.notify_one();
    }

    /// A person's rights changed at `at`, for the `rights`th time; with `ended`, all their sign-ins are over too.
    pub fn change(&self, user: UserId, rights: u64, at: Timestamp, ended: bool) {
        let mut known = self.rights.entry(user).or_insert((rights, at));
        if known.0 < rights {
            *known = (rights, at);
        }
        drop(known);
        self.tell(if ended { Revocation::User(user) } else { Revocation::Changed(user) });
        self.made_here.notify_one();
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

    /// Forgets what is older than this.
    pub fn forget(&self, now: Timestamp, age: Duration) {
        self.sessions.retain(|_, at| now.since(*at) <= age);
        self.rights.retain(|_, (_, at)| now.since(*at) <= age);
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
