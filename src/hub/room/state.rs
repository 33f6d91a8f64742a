//! A room's state in memory: what its log says, and how far people have read.
//!
//! The state does no I/O. The task reads the log and the marks, and installs them here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rooms::event::Event;
use rooms::id::{RoomId, UserId};
use rooms::permission::View;
use rooms::record::{GENESIS, Hash, Record, chain};
use rooms::role::Actor;
use rooms::room::Room;
use rooms::signal::Mark;
use rooms::time::Timestamp;

use crate::bus::RoomSubscription;
use crate::hub::cluster::message::CommittedEvents;
use crate::hub::submission::{Submission, SubmitError};
use crate::store::record::{Append, HashedRecord, StoredRecord};

/// People whose marks are kept of what other nodes publish.
const MAX_REMOTE_MARKS: usize = 64;

/// The state of one room.
pub struct RoomState {
    /// `None` before the first request.
    log: Option<ReplayedLog>,
    /// Set after a commit with an unknown outcome: the store may be ahead.
    is_stale: bool,
    /// The number of the last event in memory, for comparison with the store.
    head: Arc<AtomicU64>,
    marks: BTreeMap<UserId, Mark>,
    /// While this exists, other nodes' messages about the room arrive.
    _subscription: RoomSubscription,
}

/// A log applied event by event.
pub struct ReplayedLog {
    room: Room,
    /// The hash of the last event.
    hash: Hash,
}

impl ReplayedLog {
    pub fn new(room: RoomId) -> Self {
        Self { room: Room::new(room), hash: GENESIS }
    }

    pub fn head(&self) -> u64 {
        self.room.head()
    }

    pub fn apply(&mut self, record: &HashedRecord) {
        self.room.apply(&record.record);
        self.hash = record.hash;
    }
}

impl RoomState {
    pub fn new(head: Arc<AtomicU64>, subscription: RoomSubscription) -> Self {
        Self { log: None, is_stale: false, head, marks: BTreeMap::new(), _subscription: subscription }
    }

    /// Returns the room, or an error if its log was not read yet.
    pub fn room(&self) -> Result<&Room, SubmitError> {
        self.loaded().ok_or(SubmitError::Unavailable)
    }

    pub fn loaded(&self) -> Option<&Room> {
        self.log.as_ref().map(|log| &log.room)
    }

    /// Whether the room is known to have events.
    pub fn exists(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.head() > 0)
    }

    /// Replaces the state by what the store has.
    pub fn install(&mut self, log: ReplayedLog, marks: BTreeMap<UserId, Mark>) {
        self.head.store(log.head(), Ordering::Relaxed);
        self.log = Some(log);
        self.marks = marks;
        self.is_stale = false;
    }

    pub fn is_stale(&self) -> bool {
        self.is_stale
    }

    pub fn set_stale(&mut self, is_stale: bool) {
        self.is_stale = is_stale;
    }

    /// Applies the next event of the log.
    pub fn apply(&mut self, record: &HashedRecord) {
        if let Some(log) = &mut self.log {
            log.apply(record);
            self.head.store(record.seq, Ordering::Relaxed);
        }
    }

    /// Whether a stored event is the next one of the log in memory.
    pub fn is_followed_by(&self, next: &StoredRecord) -> bool {
        self.log
            .as_ref()
            .is_some_and(|log| next.seq == log.head() + 1 && next.hash == chain(&log.hash, &next.canonical))
    }

    /// Returns the new ones of another node's events, or `None` if they do not follow the log in memory.
    pub fn new_events(&self, events: &CommittedEvents) -> Option<Vec<HashedRecord>> {
        let log = self.log.as_ref().filter(|_| !self.is_stale)?;
        events.after(log.room.id(), log.head(), log.hash)
    }

    /// Turns the events of a command into an append: numbered, in canonical form, and hashed.
    pub fn hash_chain(
        &self,
        submission: &Submission,
        command_hash: Hash,
        events: Vec<Event>,
        at: Timestamp,
    ) -> Result<Append, SubmitError> {
        let log = self.log.as_ref().ok_or(SubmitError::Unavailable)?;
        let by = submission.actor.by();
        let sender = submission.actor.user();
        let command = sender.map(|_| submission.id);
        let has_projection = events.iter().any(|event| !matches!(event, Event::ChatSent(_)));
        let (mut seq, mut hash) = (log.head(), log.hash);
        let records: Vec<HashedRecord> = events
            .into_iter()
            .map(|event| {
                seq += 1;
                let record = Record { room: submission.room, seq, at, actor: by.clone(), command, event };
                let canonical = record.canonical();
                hash = chain(&hash, &canonical);
                HashedRecord { seq, canonical: canonical.into(), hash, record: Arc::new(record) }
            })
            .collect();
        let (after, wake_at, parties) = if has_projection {
            let mut room = log.room.clone();
            for record in &records {
                room.apply(&record.record);
            }
            (Some(Box::new(room.snapshot(&View::Care, at))), room.wake_at(), room.parties())
        } else {
            (None, None, log.room.parties())
        };
        Ok(Append {
            room: submission.room,
            records,
            before: log.hash,
            sender,
            command,
            command_hash,
            after,
            wake_at,
            parties,
            booking_limits: None,
        })
    }

    /// Returns the view of an actor; `None` also if the room was never opened.
    pub fn view_of(&self, actor: &Actor, now: Timestamp) -> Result<Option<View>, SubmitError> {
        let room = self.room()?;
        Ok(room.view_of(actor, now).filter(|_| room.head() > 0))
    }

    /// Returns the marks that an actor may see: all in the care view, otherwise only their own.
    pub fn marks_for(&self, actor: &Actor, view: &View) -> BTreeMap<UserId, Mark> {
        match view {
            View::Care => self.marks.clone(),
            View::Pharmacy(_) | View::Courier(_) | View::Guest { .. } => {
                self.marks.iter().filter(|(user, _)| Some(**user) == actor.user()).map(|(u, m)| (*u, *m)).collect()
            }
        }
    }

    /// Whether there is space for a mark of this person that another node published.
    pub fn has_space_for_mark(&self, user: UserId) -> bool {
        self.marks.contains_key(&user) || self.marks.len() < MAX_REMOTE_MARKS
    }

    /// Advances a person's mark and returns it, or `None` if it was as far already.
    pub fn advance_mark(&mut self, user: UserId, mark: Mark) -> Option<Mark> {
        let old = self.marks.get(&user).copied().unwrap_or_default();
        let seen = old.seen.max(mark.seen);
        let new = Mark { delivered: old.delivered.max(mark.delivered).max(seen), seen };
        if new == old {
            return None;
        }
        self.marks.insert(user, new);
        Some(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Bus;
    use uuid::Uuid;

    fn state() -> (RoomState, Arc<AtomicU64>) {
        let head = Arc::new(AtomicU64::new(u64::MAX));
        (RoomState::new(head.clone(), Bus::Local.subscribe(RoomId(Uuid::nil()))), head)
    }

    #[test]
    fn room_is_unavailable_until_its_log_is_installed() {
        let (mut state, head) = state();
        assert!(state.room().is_err() && state.loaded().is_none());
        state.set_stale(true);
        state.install(ReplayedLog::new(RoomId(Uuid::nil())), BTreeMap::new());
        assert!(state.room().is_ok() && !state.is_stale());
        assert_eq!(head.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn marks_only_advance_and_seen_implies_delivered() {
        let (mut state, _) = state();
        let user = UserId(Uuid::from_u128(1));
        assert_eq!(state.advance_mark(user, Mark { delivered: 2, seen: 5 }), Some(Mark { delivered: 5, seen: 5 }));
        assert_eq!(state.advance_mark(user, Mark { delivered: 4, seen: 3 }), None);
        assert_eq!(state.advance_mark(user, Mark { delivered: 7, seen: 0 }), Some(Mark { delivered: 7, seen: 5 }));
    }
}
