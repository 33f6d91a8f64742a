//! Who is connected to one room. A connection that breaks counts as gone only after a grace time, so that a reload or a
//! change of network does not flicker on the others' screens.

use std::collections::BTreeMap;
use std::time::Duration;

use rooms::id::UserId;
use tokio::time::Instant;

/// How long a person without a connection still counts as present.
pub const GRACE: Duration = Duration::from_secs(10);

/// The people of a room who were seen connected.
#[derive(Debug, Default)]
pub struct Presences {
    /// `None`: connected. An instant: gone, and forgotten then.
    people: BTreeMap<UserId, Option<Instant>>,
}

impl Presences {
    /// A connection came; true if the person was not present before.
    pub fn came(&mut self, user: UserId) -> bool {
        self.people.insert(user, None).is_none()
    }

    /// The person's last connection went.
    pub fn went(&mut self, user: UserId, now: Instant) {
        self.people.insert(user, Some(now + GRACE));
    }

    /// The next instant at which somebody's grace time is over.
    pub fn next(&self) -> Option<Instant> {
        self.people.values().flatten().min().copied()
    }

    /// Takes out everybody whose grace time is over.
    pub fn gone(&mut self, now: Instant) -> Vec<UserId> {
        let gone: Vec<UserId> = self
            .people
            .iter()
            .filter(|(_, until)| until.is_some_and(|until| until <= now))
            .map(|(user, _)| *user)
            .collect();
        for user in &gone {
            self.people.remove(user);
        }
        gone
    }

    /// Everybody who counts as present.
    pub fn present(&self) -> impl Iterator<Item = UserId> {
        self.people.keys().copied()
    }

    pub fn is_empty(&self) -> bool {
        self.people.is_empty()
    }
}
