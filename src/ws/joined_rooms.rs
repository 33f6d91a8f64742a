//! The rooms that a connection has joined, and how far the client has read each of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rooms::cursor::Cursor;
use rooms::id::RoomId;
use rooms::permission::{View, sees_canonical};
use tokio::time::Instant;

/// A joined room.
pub struct JoinedRoom {
    pub view: View,
    /// The last event that the client has; decides which frames may follow.
    pub cursor: Cursor,
    pub source: EventSource,
}

/// Where a joined room's events come from.
pub enum EventSource {
    /// The store, until the client has caught up.
    Replay(Box<Replay>),
    /// The room's subscription. `head` is the last event that the view sees.
    Live { head: Arc<AtomicU64> },
}

/// Progress of a replay. Boxed by its owner: most joined rooms are live and should not reserve space for it.
pub struct Replay {
    /// The last event read from the store, visible to the client or not.
    pub read_up_to: u64,
    pub started_at: Instant,
}

impl JoinedRoom {
    /// Creates a room that replays from the store after `cursor`.
    pub fn replaying(view: View, cursor: u64) -> Self {
        Self { view, cursor: Cursor::new(cursor), source: EventSource::Replay(Box::new(Replay::after(cursor))) }
    }

    pub fn is_replaying(&self) -> bool {
        matches!(self.source, EventSource::Replay(_))
    }

    /// Returns the last event that the client should have, for beats; `None` during a replay.
    pub fn head(&self) -> Option<u64> {
        match &self.source {
            EventSource::Live { head } => Some(head.load(Ordering::Acquire)),
            EventSource::Replay(_) => None,
        }
    }

    /// Returns whether the client may see a stored event.
    pub fn may_see(&self, seq: u64, canonical: &str) -> bool {
        sees_canonical(&self.view, seq, canonical)
    }
}

impl Replay {
    pub fn after(seq: u64) -> Self {
        Self { read_up_to: seq, started_at: Instant::now() }
    }
}

/// All joined rooms of a connection. Most connections join one or a few, so this is a list without spare capacity.
#[derive(Default)]
pub struct JoinedRooms {
    list: Vec<(RoomId, JoinedRoom)>,
}

impl JoinedRooms {
    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn contains(&self, room: RoomId) -> bool {
        self.list.iter().any(|(known, _)| *known == room)
    }

    pub fn get_mut(&mut self, room: RoomId) -> Option<&mut JoinedRoom> {
        self.list.iter_mut().find(|(known, _)| *known == room).map(|(_, joined)| joined)
    }

    /// Adds a room; replaces its former entry, if any.
    pub fn insert(&mut self, room: RoomId, joined: JoinedRoom) {
        match self.get_mut(room) {
            Some(known) => *known = joined,
            None => {
                self.list.reserve_exact(1);
                self.list.push((room, joined));
            }
        }
    }

    pub fn remove(&mut self, room: RoomId) {
        self.list.retain(|(known, _)| *known != room);
    }

    pub fn ids(&self) -> impl Iterator<Item = RoomId> {
        self.list.iter().map(|(room, _)| *room)
    }

    /// Returns a room whose replay is not finished, and the last event read from the store.
    pub fn first_replay(&self) -> Option<(RoomId, u64)> {
        self.list.iter().find_map(|(room, joined)| match joined.source {
            EventSource::Replay(ref replay) => Some((*room, replay.read_up_to)),
            EventSource::Live { .. } => None,
        })
    }

    /// Returns the last event that the client should have of each live room.
    pub fn heads(&self) -> impl Iterator<Item = (RoomId, u64)> {
        self.list.iter().filter_map(|(room, joined)| joined.head().map(|head| (*room, head)))
    }
}
