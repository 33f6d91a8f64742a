//! Who is connected to one room. A connection that breaks counts as gone only after a grace time, so that a reload or a
//! change of network does not flicker on the others' screens.

use std::time::Duration;

use rooms::id::UserId;
use tokio::time::Instant;

/// How long a person without a connection still counts as present.
pub const GRACE: Duration = Duration::from_secs(10);

/// The people of a room who were seen connected.
#[derive(Debug, Default)]
pub struct Presences {
    /// Few, so a list. `None`: connected. An instant: gone, and forgotten then.
    people: Vec<(UserId, Option<Instant>)>,
}

impl Presences {
    /// A connection came; true if the person was not present before.
    pub fn came(&mut self, user: UserId) -> bool {
        self.set(user, None)
    }

    /// The person's last connection went.
    pub fn went(&mut self, user: UserId, now: Instant) {
        self.set(user, Some(now + GRACE));
    }

    /// The next instant at which somebody's grace time is over.
    pub fn next(&self) -> Option<Instant> {
        self.people.iter().filter_map(|(_, until)| *until).min()
    }

    /// Takes out everybody whose grace time is over.
    pub fn gone(&mut self, now: Instant) -> Vec<UserId> {
        let gone = self.people.extract_if(.., |(_, until)| until.is_some_and(|until| until <= now));
        gone.map(|(user, _)| user).collect()
    }

    /// Everybody who counts as present.
    pub fn present(&self) -> impl Iterator<Item = UserId> {
        self.people.iter().map(|(user, _)| *user)
    }

    pub fn is_empty(&self) -> bool {
        self.people.is_empty()
    }

    /// True if the person was not there before.
    fn set(&mut self, user: UserId, until: Option<Instant>) -> bool {
        match self.people.iter_mut().find(|(known, _)| *known == user) {
            Some((_, known)) => {
                *known = until;
                false
            }
            None => {
                self.people.reserve_exact(1);
                self.people.push((user, until));
                true
            }
        }
    }
}
