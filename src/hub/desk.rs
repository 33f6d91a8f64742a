//! The desk of a call: which session of each person is in it, and what they must tell each other.
//!
//! Nothing here is stored. When the hub restarts, the sessions come back with what they hold, and the desk is as before.

use std::collections::VecDeque;
use std::time::Duration;

use rooms::id::{CallId, UserId};
use rooms::wire::call::{Attach, CallNotice, Description, Held, IceCandidate, Peer, SendCandidate, SendDescription};
use rooms::wire::code::Code;
use tokio::time::Instant;
use uuid::Uuid;

/// How long a session whose connection broke keeps camera and microphone to itself.
const LEASE: Duration = Duration::from_secs(15);
/// Candidates that are kept, and taken, for one description.
const MAX_CANDIDATES: usize = 128;
/// Peer connections that one session can hold.
const MAX_HELD: usize = rooms::case::call::MAX_MEMBERS - 1;

/// A notice and the connection it goes to.
pub type Post = (Uuid, CallNotice);

/// Who is at the desk.
#[derive(Debug)]
pub struct Desk {
    pub call: CallId,
    relay_only: bool,
    owners: Vec<Owner>,
    pairs: Vec<Pair>,
    last_epoch: u64,
}

/// The session that has a person's camera and microphone.
#[derive(Debug)]
struct Owner {
    user: UserId,
    device: Uuid,
    /// Absent since `lost` when its socket broke.
    connection: Result<Uuid, Instant>,
    held: Vec<Held>,
}

/// Two people, the lesser id first.
#[derive(Debug)]
struct Pair {
    users: [UserId; 2],
    /// Absent until both sides are there.
    epoch: Option<u64>,
    /// What each side sent to the other.
    ways: [Way; 2],
}

/// What one side sent in this epoch: the last description and what came after it.
#[derive(Debug, Default)]
struct Way {
    n: u64,
    kept: VecDeque<(u64, Message)>,
}

#[derive(Clone, Debug)]
enum Message {
    Description(Description),
    Candidate(IceCandidate),
}

impl Way {
    fn notice(from: UserId, epoch: u64, n: u64, message: Message) -> CallNotice {
        match message {
            Message::Description(description) => CallNotice::Description { from, epoch, n, description },
            Message::Candidate(candidate) => CallNotice::Candidate { from, epoch, n, candidate },
        }
    }
}

impl Owner {
    fn live(&self) -> Option<Uuid> {
        self.connection.ok()
    }

    fn holds(&self, peer: UserId) -> Option<Held> {
        self.held.iter().find(|held| held.peer == peer).copied()
    }

    /// Whether another session must ask to take over.
    fn keeps(&self, now: Instant) -> bool {
        self.connection.map_or_else(|lost| now < lost + LEASE, |_| true)
    }
}

impl Desk {
    pub fn new(call: CallId, relay_only: bool) -> Self {
        Self { call, relay_only, owners: Vec::new(), pairs: Vec::new(), last_epoch: 0 }
    }

    /// Gives camera and microphone of `user` to this session. `clock_ms` is the wall clock, which makes epochs of this
    /// hub later than those of one that was restarted.
    pub fn attach(
        &mut self,
        user: UserId,
        connection: Uuid,
        attach: &Attach,
        now: Instant,
        clock_ms: u64,
    ) -> Result<Vec<Post>, Code> {
        if attach.held.len() > MAX_HELD {
            return Err(Code::Invalid);
        }
        let mut posts = Vec::new();
        if let Some(at) = self.owners.iter().position(|owner| owner.user == user) {
            let former = &self.owners[at];
            if former.device != attach.device {
                if former.keeps(now) && !attach.take {
                    return Err(Code::MediaTaken);
                }
                posts.extend(former.live().map(|it| (it, CallNotice::Taken(rooms::command::Nothing {}))));
            }
            self.owners.remove(at);
        }
        let me = Owner { user, device: attach.device, connection: Ok(connection), held: attach.held.clone() };
        for other in &self.owners {
            let pair = pair_of(&mut self.pairs, user, other.user);
            let (mine, theirs) = (me.holds(other.user), other.holds(user));
            let Some(to_other) = other.live() else {
                if mine.is_none_or(|held| pair.epoch != Some(held.epoch)) {
                    pair.epoch = None;
                }
                continue;
            };
            let same = mine.filter(|mine| match pair.epoch {
                Some(epoch) => epoch == mine.epoch,
                None => theirs.is_some_and(|theirs| theirs.epoch == mine.epoch),
            });
            let epoch = match same {
                Some(held) => {
                    pair.resume(user, held.got);
                    // A hub that was restarted counts on from where the other side has heard this one.
                    if let (None, Some(theirs)) = (pair.epoch, theirs) {
                        pair.resume(other.user, theirs.got);
                    }
                    held.epoch
                }
                None => {
                    pair.ways = Default::default();
                    (self.last_epoch + 1).max(clock_ms)
                }
            };
            pair.epoch = Some(epoch);
            self.last_epoch = self.last_epoch.max(epoch);
            let resumed = same.is_some();
            let polite = polite(user, other.user);
            posts.push((connection, CallNotice::Peer(Peer { user: other.user, epoch, polite, resumed })));
            posts.push((to_other, CallNotice::Peer(Peer { user, epoch, polite: !polite, resumed })));
            if let Some(held) = same {
                let missed = pair.way(other.user).kept.iter().filter(|(n, _)| *n > held.got);
                let again = missed.map(|(n, message)| Way::notice(other.user, epoch, *n, message.clone()));
                posts.extend(again.map(|notice| (connection, notice)));
            }
        }
        self.owners.push(me);
        Ok(posts)
    }

    /// A session gives up camera and microphone of its own accord.
    pub fn detach(&mut self, connection: Uuid) -> Vec<Post> {
        let Some(at) = self.at(connection) else { return Vec::new() };
        let gone = self.owners.remove(at);
        self.pairs.retain(|pair| !pair.users.contains(&gone.user));
        self.tell_away(gone.user)
    }

    /// A connection broke: whoever was attached by it may come back.
    pub fn lost(&mut self, connection: Uuid, now: Instant) -> Vec<Post> {
        let Some(at) = self.at(connection) else { return Vec::new() };
        self.owners[at].connection = Err(now);
        self.tell_away(self.owners[at].user)
    }

    /// Forgets whoever is not in the call any more.
    pub fn keep(&mut self, is_in: impl Fn(UserId) -> bool) {
        self.owners.retain(|owner| is_in(owner.user));
        self.pairs.retain(|pair| pair.users.into_iter().all(&is_in));
    }

    pub fn description(&mut self, connection: Uuid, sent: SendDescription) -> Result<Option<Post>, Code> {
        let SendDescription { to, epoch, mut description } = sent;
        if self.relay_only {
            description.sdp = description.sdp.relayed();
        }
        self.pass(connection, to, epoch, Message::Description(description))
    }

    pub fn candidate(&mut self, connection: Uuid, sent: SendCandidate) -> Result<Option<Post>, Code> {
        let SendCandidate { to, epoch, mut candidate } = sent;
        if self.relay_only {
            match candidate.candidate.relayed() {
                Some(relayed) => candidate.candidate = relayed,
                None => return self.at(connection).map(|_| None).ok_or(Code::NotInCall),
            }
        }
        self.pass(connection, to, epoch, Message::Candidate(candidate))
    }

    /// Whether this connection is attached.
    pub fn has(&self, connection: Uuid) -> bool {
        self.at(connection).is_some()
    }

    fn at(&self, connection: Uuid) -> Option<usize> {
        self.owners.iter().position(|owner| owner.connection == Ok(connection))
    }

    /// Keeps a message for who may come back, and names where it goes now. Nothing goes out of what is stale.
    fn pass(&mut self, connection: Uuid, to: UserId, epoch: u64, message: Message) -> Result<Option<Post>, Code> {
        let from = self.at(connection).map(|at| self.owners[at].user).ok_or(Code::NotInCall)?;
        let Some(other) = self.owners.iter().find(|owner| owner.user == to && to != from) else { return Ok(None) };
        let pair = pair_of(&mut self.pairs, from, to);
        if pair.epoch != Some(epoch) {
            return Ok(None);
        }
        let way = pair.way(from);
        match &message {
            Message::Description(_) => way.kept.clear(),
            Message::Candidate(_) if way.kept.len() > MAX_CANDIDATES => return Err(Code::RateLimited),
            Message::Candidate(_) => {}
        }
        way.n += 1;
        way.kept.push_back((way.n, message.clone()));
        let notice = Way::notice(from, epoch, way.n, message);
        Ok(other.live().map(|connection| (connection, notice)))
    }

    fn tell_away(&self, user: UserId) -> Vec<Post> {
        self.owners.iter().filter_map(Owner::live).map(|connection| (connection, CallNotice::Away { user })).collect()
    }
}

impl Pair {
    /// What `from` sent.
    fn way(&mut self, from: UserId) -> &mut Way {
        let side = usize::from(from == self.users[1]);
        &mut self.ways[side]
    }

    /// `reader` has heard the other side up to `got`.
    fn resume(&mut self, reader: UserId, got: u64) {
        let side = usize::from(reader == self.users[0]);
        let way = &mut self.ways[side];
        way.n = way.n.max(got);
    }
}

fn pair_of(pairs: &mut Vec<Pair>, one: UserId, other: UserId) -> &mut Pair {
    let users = if one < other { [one, other] } else { [other, one] };
    let at = pairs.iter().position(|pair| pair.users == users).unwrap_or_else(|| {
        pairs.push(Pair { users, epoch: None, ways: Default::default() });
        pairs.len() - 1
    });
    &mut pairs[at]
}

/// Of two, one is polite; which one does not matter, as long as both are told the same.
fn polite(user: UserId, other: UserId) -> bool {
    user < other
}

#[cfg(test)]
mod tests;
