//! Where one connection stands in its rooms.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rooms::feed::Feed;
use rooms::id::RoomId;
use rooms::permission::{View, sees_canonical};

/// A joined room.
pub struct Reader {
    pub view: View,
    /// Which frames follow on what the client has.
    pub feed: Feed,
    pub state: State,
}

/// How the reader gets its events.
pub enum State {
    /// From the store, which was read up to `raw`.
    Replaying { raw: u64 },
    /// From the room itself; `head` is the last event that the view sees.
    Live { head: Arc<AtomicU64> },
}

impl Reader {
    /// A reader who has everything up to `cursor`.
    pub fn replaying(view: View, cursor: u64) -> Self {
        Self { view, feed: Feed::new(cursor), state: State::Replaying { raw: cursor } }
    }

    pub fn is_replaying(&self) -> bool {
        matches!(self.state, State::Replaying { .. })
    }

    /// The last event this reader should have, for beats; `None` while it still reads the store.
    pub fn head(&self) -> Option<u64> {
        match &self.state {
            State::Live { head } => Some(head.load(Ordering::Relaxed)),
            State::Replaying { .. } => None,
        }
    }

    /// Whether the reader may see a stored event.
    pub fn may_see(&self, seq: u64, canonical: &str) -> bool {
        sees_canonical(&self.view, seq, canonical)
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
            State::Replaying { raw } => Some((*room, raw)),
            State::Live { .. } => None,
        })
    }

    /// The last event that each live reader should have.
    pub fn heads(&self) -> impl Iterator<Item = (RoomId, u64)> {
        self.list.iter().filter_map(|(room, reader)| reader.head().map(|head| (*room, head)))
    }
}
