//! Presence: who is connected to a room. After a disconnect a grace period hides reloads and network changes from
//! others.
//!
//! Other nodes report who is connected to them, and repeat the report. A report that is not repeated expires.

use std::time::Duration;

use rooms::id::UserId;
use tokio::time::Instant;

use crate::bus::NodeId;

/// How long a person without a connection still counts as present.
pub const GRACE_PERIOD: Duration = Duration::from_secs(10);
/// How often a node repeats its report.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// How long a report is valid: three repeats may be lost.
const REPORT_LIFETIME: Duration = Duration::from_secs(16);
/// Nodes whose reports are kept, and people kept of each.
const MAX_REMOTE: usize = 64;

/// The people who are present in a room.
#[derive(Debug, Default)]
pub struct Presence {
    /// A list, because they are few.
    people: Vec<PresentPerson>,
    remote: Vec<RemotePresence>,
    /// When this node repeats its report.
    report_at: Option<Instant>,
}

#[derive(Debug)]
struct PresentPerson {
    user: UserId,
    /// The end of the grace period, or `None` while connected.
    grace_until: Option<Instant>,
}

/// The last report of another node.
#[derive(Debug)]
struct RemotePresence {
    node: NodeId,
    users: Vec<UserId>,
    valid_until: Instant,
}

impl Presence {
    /// Notes a connection. Returns `true` if the person was not present before.
    pub fn connected(&mut self, user: UserId) -> bool {
        self.set(user, None)
    }

    /// Starts the grace period after the last connection to this node, unless another node reports one.
    pub fn disconnected(&mut self, user: UserId, now: Instant) {
        if !self.is_reported(user) {
            self.set(user, Some(now + GRACE_PERIOD));
        }
    }

    /// Counts a person as present for this long, so that they can connect.
    pub fn expect(&mut self, user: UserId, now: Instant, within: Duration) {
        if !self.people.iter().any(|person| person.user == user) {
            self.set(user, Some(now + within));
        }
    }

    /// Replaces a node's report. Returns the people whom the node no longer reports.
    pub fn remote_report(&mut self, node: NodeId, mut users: Vec<UserId>, now: Instant) -> Vec<UserId> {
        users.truncate(MAX_REMOTE);
        let known = self.remote.iter().position(|remote| remote.node == node);
        let mut before = known.map_or(Vec::new(), |at| self.remote.swap_remove(at).users);
        before.retain(|user| !users.contains(user));
        if self.remote.len() < MAX_REMOTE && !users.is_empty() {
            self.remote.push(RemotePresence { node, users, valid_until: now + REPORT_LIFETIME });
        }
        before
    }

    /// Drops reports that were not repeated. Returns the people whom they named.
    pub fn expire_remote(&mut self, now: Instant) -> Vec<UserId> {
        self.remote.extract_if(.., |remote| remote.valid_until <= now).flat_map(|remote| remote.users).collect()
    }

    /// Extends all deadlines while reports of other nodes cannot arrive.
    pub fn freeze(&mut self, now: Instant) {
        for until in self.people.iter_mut().filter_map(|person| person.grace_until.as_mut()) {
            *until = (*until).max(now + GRACE_PERIOD);
        }
        for remote in &mut self.remote {
            remote.valid_until = remote.valid_until.max(now + REPORT_LIFETIME);
        }
    }

    /// Returns the time of the next expiry or report.
    pub fn next_deadline(&self) -> Option<Instant> {
        let graces = self.people.iter().filter_map(|person| person.grace_until);
        graces.chain(self.remote.iter().map(|remote| remote.valid_until)).chain(self.report_at).min()
    }

    /// Removes and returns the people whose grace period has ended.
    pub fn expire(&mut self, now: Instant) -> Vec<UserId> {
        let expired = self.people.extract_if(.., |person| person.grace_until.is_some_and(|until| until <= now));
        expired.map(|person| person.user).collect()
    }

    /// Returns everybody who counts as present.
    pub fn present(&self) -> impl Iterator<Item = UserId> {
        self.people.iter().map(|person| person.user)
    }

    pub fn has_grace_period(&self) -> bool {
        self.people.iter().any(|person| person.grace_until.is_some())
    }

    pub fn is_report_due(&self, now: Instant) -> bool {
        self.report_at.is_some_and(|at| at <= now)
    }

    /// Notes that this node has published its report. An empty one is not repeated.
    pub fn reported(&mut self, is_empty: bool, now: Instant) {
        self.report_at = (!is_empty).then(|| now + REPORT_INTERVAL);
    }

    fn is_reported(&self, user: UserId) -> bool {
        self.remote.iter().any(|remote| remote.users.contains(&user))
    }

    /// Returns `true` if the person was not present before.
    fn set(&mut self, user: UserId, grace_until: Option<Instant>) -> bool {
        match self.people.iter_mut().find(|person| person.user == user) {
            Some(person) => {
                person.grace_until = grace_until;
                false
            }
            None => {
                self.people.reserve_exact(1);
                self.people.push(PresentPerson { user, grace_until });
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
    fn person_connected_to_another_node_stays_present() {
        let (user, now) = (UserId(Uuid::now_v7()), Instant::now());
        let [one, other] = [NodeId(Uuid::from_u128(1)), NodeId(Uuid::from_u128(2))];
        let mut presence = Presence::default();
        assert!(presence.connected(user));
        assert!(presence.remote_report(one, vec![user], now).is_empty());
        assert!(presence.remote_report(other, vec![user], now).is_empty());
        presence.disconnected(user, now);
        assert!(!presence.has_grace_period() && presence.expire(now + REPORT_LIFETIME).is_empty());
        assert_eq!(presence.remote_report(one, Vec::new(), now), [user]);
        presence.disconnected(user, now);
        assert!(!presence.has_grace_period(), "the other node still reports a connection");
        assert_eq!(presence.expire_remote(now + REPORT_LIFETIME), [user], "the report was not repeated");
        presence.disconnected(user, now + REPORT_LIFETIME);
        assert_eq!(presence.expire(now + REPORT_LIFETIME + GRACE_PERIOD), [user]);
    }

    #[test]
    fn nobody_expires_while_presence_is_frozen() {
        let (here, there) = (UserId(Uuid::now_v7()), UserId(Uuid::now_v7()));
        let (now, mut presence) = (Instant::now(), Presence::default());
        presence.connected(here);
        presence.disconnected(here, now);
        presence.connected(there);
        presence.remote_report(NodeId(Uuid::nil()), vec![there], now);
        let later = now + Duration::from_secs(60);
        presence.freeze(later);
        assert!(presence.expire(later).is_empty() && presence.expire_remote(later).is_empty());
        assert_eq!(presence.next_deadline(), Some(later + GRACE_PERIOD));
    }

    #[test]
    fn report_is_repeated_until_it_is_empty() {
        let (now, mut presence) = (Instant::now(), Presence::default());
        presence.reported(false, now);
        assert!(!presence.is_report_due(now) && presence.is_report_due(now + REPORT_INTERVAL));
        presence.reported(true, now + REPORT_INTERVAL);
        assert_eq!(presence.next_deadline(), None);
    }
}
