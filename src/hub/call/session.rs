//! Signalling state of one call: which session holds each person's media, and what each pair of peers has exchanged.
//!
//! The state is not stored. After a restart of the hub the sessions attach again with what they hold, and the state is
//! rebuilt from that. Who may attach, and on which node a session is connected, is decided by the callers.

use std::collections::VecDeque;
use std::time::Duration;

use rooms::id::{CallId, UserId};
use rooms::wire::call::{Attach, CallNotice, Description, Held, IceCandidate, Peer, SendCandidate, SendDescription};
use rooms::wire::code::Code;
use tokio::time::Instant;
use uuid::Uuid;

/// How long a disconnected session keeps its person's camera and microphone.
const MEDIA_OWNER_GRACE: Duration = Duration::from_secs(15);
/// Candidates accepted, and kept for replay, after one description.
const MAX_CANDIDATES: usize = 128;
/// Peer connections that one session can hold.
const MAX_HELD: usize = rooms::case::call::MAX_MEMBERS - 1;

/// A notice and the connection to deliver it to.
pub type OutgoingNotice = (Uuid, CallNotice);

/// The signalling state of one call.
#[derive(Debug)]
pub struct CallSignaling {
    pub call: CallId,
    relay_only: bool,
    owners: Vec<MediaOwner>,
    pairs: Vec<PeerPair>,
    last_epoch: u64,
}

/// The one device of a person that holds camera and microphone.
#[derive(Debug)]
struct MediaOwner {
    user: UserId,
    device: Uuid,
    /// The connection, or the time at which it broke.
    connection: Result<Uuid, Instant>,
    held: Vec<Held>,
}

/// Two people and what they exchange.
#[derive(Debug)]
struct PeerPair {
    /// The lesser id first.
    users: [UserId; 2],
    /// `None` until both sides are attached.
    epoch: Option<u64>,
    /// One per sender, in the order of `users`.
    directions: [Direction; 2],
}

/// The messages of one sender in this epoch: the last description and the candidates after it.
#[derive(Debug, Default)]
struct Direction {
    seq: u64,
    replay: VecDeque<(u64, PeerMessage)>,
}

#[derive(Clone, Debug)]
enum PeerMessage {
    Description(Description),
    Candidate(IceCandidate),
}

impl PeerMessage {
    fn into_notice(self, from: UserId, epoch: u64, n: u64) -> CallNotice {
        match self {
            PeerMessage::Description(description) => CallNotice::Description { from, epoch, n, description },
            PeerMessage::Candidate(candidate) => CallNotice::Candidate { from, epoch, n, candidate },
        }
    }
}

impl MediaOwner {
    fn connected(&self) -> Option<Uuid> {
        self.connection.ok()
    }

    fn held_with(&self, peer: UserId) -> Option<Held> {
        self.held.iter().find(|held| held.peer == peer).copied()
    }

    /// Whether another device must set `take` to replace this one.
    fn is_protected(&self, now: Instant) -> bool {
        self.connection.map_or_else(|lost| now < lost + MEDIA_OWNER_GRACE, |_| true)
    }
}

impl CallSignaling {
    pub fn new(call: CallId, relay_only: bool) -> Self {
        Self { call, relay_only, owners: Vec::new(), pairs: Vec::new(), last_epoch: 0 }
    }

    /// Makes this session the media owner of `user`. New epochs are at least `clock_ms`, the wall clock, so that they
    /// exceed those of a hub that was restarted.
    pub fn attach(
        &mut self,
        user: UserId,
        connection: Uuid,
        attach: &Attach,
        now: Instant,
        clock_ms: u64,
    ) -> Result<Vec<OutgoingNotice>, Code> {
        if attach.held.len() > MAX_HELD {
            return Err(Code::Invalid);
        }
        let mut outgoing = Vec::new();
        if let Some(at) = self.owners.iter().position(|owner| owner.user == user) {
            let former = &self.owners[at];
            if former.device != attach.device {
                if former.is_protected(now) && !attach.take {
                    return Err(Code::MediaTaken);
                }
                outgoing.extend(former.connected().map(|it| (it, CallNotice::Taken(rooms::command::Nothing {}))));
            }
            self.owners.remove(at);
        }
        let own = MediaOwner { user, device: attach.device, connection: Ok(connection), held: attach.held.clone() };
        for other in &self.owners {
            let pair = pair_of(&mut self.pairs, user, other.user);
            let (mine, theirs) = (own.held_with(other.user), other.held_with(user));
            let Some(to_other) = other.connected() else {
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
                    // After a restart the numbers continue from what the other side has received, too.
                    if let (None, Some(theirs)) = (pair.epoch, theirs) {
                        pair.resume(other.user, theirs.got);
                    }
                    held.epoch
                }
                None => {
                    pair.directions = Default::default();
                    (self.last_epoch + 1).max(clock_ms)
                }
            };
            pair.epoch = Some(epoch);
            self.last_epoch = self.last_epoch.max(epoch);
            let resumed = same.is_some();
            let polite = is_polite(user, other.user);
            outgoing.push((connection, CallNotice::Peer(Peer { user: other.user, epoch, polite, resumed })));
            outgoing.push((to_other, CallNotice::Peer(Peer { user, epoch, polite: !polite, resumed })));
            if let Some(held) = same {
                let missed = pair.sent_by(other.user).replay.iter().filter(|(n, _)| *n > held.got);
                let notices = missed.map(|(n, message)| message.clone().into_notice(other.user, epoch, *n));
                outgoing.extend(notices.map(|notice| (connection, notice)));
            }
        }
        self.owners.push(own);
        Ok(outgoing)
    }

    /// Releases camera and microphone at the session's own request.
    pub fn detach(&mut self, connection: Uuid) -> Vec<OutgoingNotice> {
        let Some(at) = self.position(connection) else { return Vec::new() };
        let former = self.owners.remove(at);
        self.pairs.retain(|pair| !pair.users.contains(&former.user));
        self.announce_away(former.user)
    }

    /// Notes that a connection broke. Its session may attach again within [`MEDIA_OWNER_GRACE`].
    pub fn disconnected(&mut self, connection: Uuid, now: Instant) -> Vec<OutgoingNotice> {
        let Some(at) = self.position(connection) else { return Vec::new() };
        self.owners[at].connection = Err(now);
        self.announce_away(self.owners[at].user)
    }

    /// Removes everybody who is no longer a member of the call.
    pub fn retain_members(&mut self, is_member: impl Fn(UserId) -> bool) {
        self.owners.retain(|owner| is_member(owner.user));
        self.pairs.retain(|pair| pair.users.into_iter().all(&is_member));
    }

    pub fn description(&mut self, connection: Uuid, sent: SendDescription) -> Result<Option<OutgoingNotice>, Code> {
        let SendDescription { to, epoch, mut description } = sent;
        if self.relay_only {
            description.sdp = description.sdp.relayed();
        }
        self.forward(connection, to, epoch, PeerMessage::Description(description))
    }

    pub fn candidate(&mut self, connection: Uuid, sent: SendCandidate) -> Result<Option<OutgoingNotice>, Code> {
        let SendCandidate { to, epoch, mut candidate } = sent;
        if self.relay_only {
            match candidate.candidate.relayed() {
                Some(relayed) => candidate.candidate = relayed,
                None => return self.position(connection).map(|_| None).ok_or(Code::NotInCall),
            }
        }
        self.forward(connection, to, epoch, PeerMessage::Candidate(candidate))
    }

    pub fn is_attached(&self, connection: Uuid) -> bool {
        self.position(connection).is_some()
    }

    fn position(&self, connection: Uuid) -> Option<usize> {
        self.owners.iter().position(|owner| owner.connection == Ok(connection))
    }

    /// Keeps a message for replay and addresses it to the peer if it is connected. Messages of a stale epoch are
    /// dropped.
    fn forward(
        &mut self,
        connection: Uuid,
        to: UserId,
        epoch: u64,
        message: PeerMessage,
    ) -> Result<Option<OutgoingNotice>, Code> {
        let from = self.position(connection).map(|at| self.owners[at].user).ok_or(Code::NotInCall)?;
        let Some(other) = self.owners.iter().find(|owner| owner.user == to && to != from) else { return Ok(None) };
        let pair = pair_of(&mut self.pairs, from, to);
        if pair.epoch != Some(epoch) {
            return Ok(None);
        }
        let direction = pair.sent_by(from);
        match &message {
            PeerMessage::Description(_) => direction.replay.clear(),
            PeerMessage::Candidate(_) if direction.replay.len() > MAX_CANDIDATES => return Err(Code::RateLimited),
            PeerMessage::Candidate(_) => {}
        }
        direction.seq += 1;
        direction.replay.push_back((direction.seq, message.clone()));
        let notice = message.into_notice(from, epoch, direction.seq);
        Ok(other.connected().map(|connection| (connection, notice)))
    }

    fn announce_away(&self, user: UserId) -> Vec<OutgoingNotice> {
        let connected = self.owners.iter().filter_map(MediaOwner::connected);
        connected.map(|connection| (connection, CallNotice::Away { user })).collect()
    }
}

impl PeerPair {
    /// The messages that `sender` sent.
    fn sent_by(&mut self, sender: UserId) -> &mut Direction {
        let side = usize::from(sender == self.users[1]);
        &mut self.directions[side]
    }

    /// Continues the numbers of the messages to `receiver`, who has received them up to `got`.
    fn resume(&mut self, receiver: UserId, got: u64) {
        let side = usize::from(receiver == self.users[0]);
        let direction = &mut self.directions[side];
        direction.seq = direction.seq.max(got);
    }
}

fn pair_of(pairs: &mut Vec<PeerPair>, one: UserId, other: UserId) -> &mut PeerPair {
    let users = if one < other { [one, other] } else { [other, one] };
    let at = pairs.iter().position(|pair| pair.users == users).unwrap_or_else(|| {
        pairs.push(PeerPair { users, epoch: None, directions: Default::default() });
        pairs.len() - 1
    });
    &mut pairs[at]
}

/// Exactly one of two peers must be polite; which one does not matter.
fn is_polite(user: UserId, other: UserId) -> bool {
    user < other
}

#[cfg(test)]
mod tests;
