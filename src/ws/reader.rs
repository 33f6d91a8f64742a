//! Where one connection stands in its rooms.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rooms::cursor::Cursor;
use rooms::id::RoomId;
use rooms::permission::{View, sees_canonical};
use tokio::time::Instant;

/// A joined room.
pub struct Reader {
    pub view: View,
    /// Which frames follow on what the client has.
    pub feed: Cursor,
    pub state: State,
}

/// How the reader gets its events.
pub enum State {
    /// From the store.
    Replaying(Box<Replay>),
    /// From the room itself; `head` is the last event that the view sees.
    Live { head: Arc<AtomicU64> },
}

/// A way through the store; boxed, because most readers are live and keep no place for it.
pub struct Replay {
    /// The store was read up to this event.
    pub raw: u64,
    pub begin: Instant,
}

impl Reader {
    /// A reader who has everything up to `cursor`.
    pub fn replaying(view: View, cursor: u64) -> Self {
        Self { view, feed: Cursor::new(cursor), state: State::Replaying(Replay::from(cursor)) }
    }

    pub fn is_replaying(&self) -> bool {
        matches!(self.state, State::Replaying(_))
    }

    /// The last event this reader should have, for beats; `None` while it still reads the store.
    pub fn head(&self) -> Option<u64> {
        match &self.state {
            State::Live { head } => Some(head.load(Ordering::Acquire)),
            State::Replaying(_) => None,
        }
    }

    /// Whether the reader may see a stored event.
    pub fn may_see(&self, seq: u64, canonical: &str) -> bool {
        sees_canonical(&self.view, seq, canonical)
    }
}

impl Replay {
    pub fn from(raw: u64) -> Box<Self> {
        Box::new(Self { raw, begin: Instant::now() })
    }
}

/// The rooms that a connection has joined: one or few with most, so a list without spare places.
#[derive(Default)]
pub struct Readers {
    list: Vec<(RoomId, Reader)>,
}

impl Readers {
    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn has(&self, room: RoomId) -> bool {
        self.list.iter().any(|(known, _)| *known == room)
    }

    pub fn get_mut(&mut self, room: RoomId) -> Option<&mut Reader> {
        self.list.iter_mut().find(|(known, _)| *known == room).map(|(_, reader)| reader)
    }

    /// Adds a reader, in the place of a former one of the same room.
    pub fn insert(&mut self, room: RoomId, reader: Reader) {
        match self.get_mut(room) {
            Some(known) => *known = reader,
            None => {
                self.list.reserve_exact(1);
                self.list.push((room, reader));
            }
        }
    }

    pub fn remove(&mut self, room: RoomId) {
        self.list.retain(|(known, _)| *known != room);
    }

    pub fn rooms(&self) -> impl Iterator<Item = RoomId> {
        self.list.iter().map(|(room, _)| *room)
    }

    /// A room whose reader still reads the store, and how far it got.
    pub fn replaying(&self) -> Option<(RoomId, u64)> {
        self.list.iter().find_map(|(room, reader)| match reader.state {
            State::Replaying(ref replay) => Some((*room, replay.raw)),
            State::Live { .. } => None,
        })
    }

    /// The last event that each live reader should have.
    pub fn heads(&self) -> impl Iterator<Item = (RoomId, u64)> {
        self.list.iter().filter_map(|(room, reader)| reader.head().map(|head| (*room, head)))
    }
}
