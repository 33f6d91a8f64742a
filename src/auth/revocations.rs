//! Ended sign-ins and changed rights, kept for as long as a token from before them could still be valid.
//!
//! A token is verified without the store, so it cannot reveal its own revocation. This module holds what it lacks in
//! memory. It is filled from the store at start and kept up to date from other nodes, and it notifies those that hold
//! connections open.

use std::time::Duration;

use dashmap::DashMap;
use rooms::id::{SessionId, UserId};
use rooms::time::Timestamp;
use tokio::sync::{Notify, broadcast};

use super::token::{AuthError, Claims};

/// Announcements that a slow receiver may lag behind; beyond that it learns that it missed some.
const MAX_PENDING_ANNOUNCEMENTS: usize = 1024;

/// A sign-in that ended, or rights that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// One sign-in ended.
    Session(SessionId),
    /// All sign-ins of a person ended: the account is disabled, or the person signed out everywhere.
    User(UserId),
    /// A person's rights changed: they need a fresh token.
    RightsChanged(UserId),
}

/// The revocations that this node knows.
pub struct Revocations {
    sessions: DashMap<SessionId, Timestamp>,
    /// By person: tokens with a smaller `rights` were issued before the change.
    rights: DashMap<UserId, (u64, Timestamp)>,
    announcements: broadcast::Sender<Revocation>,
    /// Signals a revocation that originates on this node.
    local_revocation: Notify,
}

impl Revocations {
    pub fn new() -> Self {
        let announcements = broadcast::Sender::new(MAX_PENDING_ANNOUNCEMENTS);
        Self { sessions: DashMap::new(), rights: DashMap::new(), announcements, local_revocation: Notify::new() }
    }

    pub fn subscribe(&self) -> broadcast::Receiver<Revocation> {
        self.announcements.subscribe()
    }

    /// Waits for a revocation that originates on this node, which other nodes do not know yet.
    pub async fn local_revocation(&self) {
        self.local_revocation.notified().await;
    }

    /// Records that a sign-in ended on this node.
    pub fn end_session(&self, session: SessionId, at: Timestamp) {
        self.sessions.insert(session, at);
        self.notify(Revocation::Session(session));
        self.local_revocation.notify_one();
    }

    /// Records that a sign-in ended according to the store.
    pub fn load_session_end(&self, session: SessionId, at: Timestamp) {
        if self.sessions.insert(session, at).is_none() {
            self.notify(Revocation::Session(session));
        }
    }

    /// Records that a person's rights changed according to the store.
    pub fn load_rights_change(&self, user: UserId, rights: u64, at: Timestamp) {
        let mut known = self.rights.entry(user).or_insert((0, at));
        if known.0 < rights {
            *known = (rights, at);
            drop(known);
            self.notify(Revocation::RightsChanged(user));
        }
    }

    /// Records that all sign-ins of a person ended on this node; `sessions` are those that were active.
    pub fn end_all_sessions(&self, user: UserId, sessions: &[SessionId], at: Timestamp) {
        for session in sessions {
            self.sessions.insert(*session, at);
        }
        self.notify(Revocation::User(user));
        self.local_revocation.notify_one();
    }

    /// Records that a person's rights changed on this node. With `is_disabled`, all of their sign-ins ended too.
    pub fn change_rights(&self, user: UserId, rights: u64, at: Timestamp, is_disabled: bool) {
        let mut known = self.rights.entry(user).or_insert((rights, at));
        if known.0 < rights {
            *known = (rights, at);
        }
        drop(known);
        self.notify(if is_disabled { Revocation::User(user) } else { Revocation::RightsChanged(user) });
        self.local_revocation.notify_one();
    }

    /// Rejects a token that a revocation has superseded.
    pub fn check(&self, claims: &Claims) -> Result<(), AuthError> {
        if self.sessions.contains_key(&claims.session) {
            return Err(AuthError::Revoked);
        }
        match self.rights.get(&claims.user) {
            Some(known) if claims.rights < known.0 => Err(AuthError::RightsChanged),
            _ => Ok(()),
        }
    }

    /// Removes revocations older than `age`.
    pub fn remove_older(&self, now: Timestamp, age: Duration) {
        self.sessions.retain(|_, at| now.since(*at) <= age);
        self.rights.retain(|_, (_, at)| now.since(*at) <= age);
    }

    fn notify(&self, revocation: Revocation) {
        // An error means that there is no receiver.
        let _ = self.announcements.send(revocation);
    }
}

impl Default for Revocations {
    fn default() -> Self {
        Self::new()
    }
}
