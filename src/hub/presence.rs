//! Who is connected to one room. A connection that breaks counts as gone only after a grace time, so that a reload or a
//! change of network does not flicker on the others' screens.
//!
//! Other nodes say who is connected to them, and say it again and again; who was not named for a while is not there any
//! more.

use std::time::Duration;

use rooms::id::UserId;
use tokio::time::Instant;

use crate::bus::NodeId;

/// How long a person without a connection still counts as present.
pub const GRACE: Duration = Duration::from_secs(10);
/// How often a node says who is connected to it.
pub const REPEAT: Duration = Duration::from_secs(5);
/// How long what a node said stands: three repeats may be lost.
const LAPSE: Duration = Duration::from_secs(16);
/// People and nodes that are kept of what others say.
const MOST: usize = 64;

/// The people of a room who were seen connected.
#[derive(Debug, Default)]
pub struct Presences {
    /// Few, so a list. `None`: connected. An instant: gone, and forgotten then.
    people: Vec<(UserId, Option<Instant>)>,
    elsewhere: Vec<Elsewhere>,
}

/// What another node said last.
#[derive(Debug)]
struct Elsewhere {
    node: NodeId,
    users: Vec<UserId>,
    until: Instant,
}

impl Presences {
    /// A connection came; true if the person was not present before.
    pub fn came(&mut self, user: UserId) -> bool {
        self.set(user, None)
    }

    /// The person's last connection to this node went.
    pub fn went(&mut self, user: UserId, now: Instant) {
        if !self.is_elsewhere(user) {
            self.set(user, Some(now + GRACE));
        }
    }

    /// A person is expected to come within this time.
    pub fn expect(&mut self, user: UserId, now: Instant, within: Duration) {
        if !self.people.iter().any(|(known, _)| *known == user) {
            self.set(user, Some(now + within));
        }
    }

    /// Another node says who is connected to it. The answer is who was and is no more.
    pub fn hear(&mut self, node: NodeId, mut users: Vec<UserId>, now: Instant) -> Vec<UserId> {
        users.truncate(MOST);
        let known = self.elsewhere.iter().position(|known| known.node == node);
        let mut before = known.map_or(Vec::new(), |at| self.elsewhere.swap_remove(at).users);
        before.retain(|user| !users.contains(user));
        if self.elsewhere.len() < MOST && !users.is_empty() {
            self.elsewhere.push(Elsewhere { node, users, until: now + LAPSE });
        }
        before
    }

    /// Forgets what nodes said that were silent since. The answer is who was connected to them.
    pub fn lapse(&mut self, now: Instant) -> Vec<UserId> {
        self.elsewhere.extract_if(.., |known| known.until <= now).flat_map(|known| known.users).collect()
    }

    /// Nobody can be heard now: for nobody does time run out.
    pub fn hold(&mut self, now: Instant) {
        for until in self.people.iter_mut().filter_map(|(_, until)| until.as_mut()) {
            *until = (*until).max(now + GRACE);
        }
        for known in &mut self.elsewhere {
            known.until = known.until.max(now + LAPSE);
        }
    }

    /// The next instant at which somebody's time is over.
    pub fn next(&self) -> Option<Instant> {
        let graces = self.people.iter().filter_map(|(_, until)| *until);
        graces.chain(self.elsewhere.iter().map(|known| known.until)).min()
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

    /// Whether somebody's grace time runs.
    pub fn is_waiting(&self) -> bool {
        self.people.iter().any(|(_, until)| until.is_some())
    }

    fn is_elsewhere(&self, user: UserId) -> bool {
        self.elsewhere.iter().any(|known| known.users.contains(&user))
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

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn who_is_connected_to_another_node_is_not_gone() {
        let (user, now) = (UserId(Uuid::now_v7()), Instant::now());
        let [one, other] = [NodeId(Uuid::from_u128(1)), NodeId(Uuid::from_u128(2))];
        let mut presences = Presences::default();
        assert!(presences.came(user));
        assert!(presences.hear(one, vec![user], now).is_empty());
        assert!(presences.hear(other, vec![user], now).is_empty());
        presences.went(user, now);
        assert!(!presences.is_waiting() && presences.gone(now + LAPSE).is_empty());
        assert_eq!(presences.hear(one, Vec::new(), now), [user]);
        presences.went(user, now);
        assert!(!presences.is_waiting(), "the other node still has them");
        assert_eq!(presences.lapse(now + LAPSE), [user], "and then it is silent");
        presences.went(user, now + LAPSE);
        assert_eq!(presences.gone(now + LAPSE + GRACE), [user]);
    }

    #[test]
    fn while_nobody_can_be_heard_nobodys_time_runs_out() {
        let (here, there) = (UserId(Uuid::now_v7()), UserId(Uuid::now_v7()));
        let (now, mut presences) = (Instant::now(), Presences::default());
        presences.came(here);
        presences.went(here, now);
        presences.came(there);
        presences.hear(NodeId(Uuid::nil()), vec![there], now);
        let later = now + Duration::from_secs(60);
        presences.hold(later);
        assert!(presences.gone(later).is_empty() && presences.lapse(later).is_empty());
        assert_eq!(presences.next(), Some(later + GRACE));
    }
}
