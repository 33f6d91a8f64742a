//! The other nodes: what they say is passed on to the rooms, and what they may have said unheard is looked up.
//!
//! The bus makes things fast, the store makes them right. Each second the heads of all rooms in memory are compared with
//! the store's, so that an event whose message was lost arrives all the same.

pub(super) mod message;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rooms::id::RoomId;
use tokio::time::{MissedTickBehavior, interval};

use super::room::Request;
use super::{Hub, Inner, UNLOADED};
use crate::bus::{Channel, Heard, Inbox};

/// How often the heads of all rooms are compared with the store's.
const COMPARE: Duration = Duration::from_secs(1);

impl Hub {
    /// Follows the other nodes for as long as there is a hub.
    pub fn follow(&self, inbox: Inbox) {
        if self.inner.bus.is_shared() {
            tokio::spawn(listen(Arc::downgrade(&self.inner), inbox));
            tokio::spawn(compare(Arc::downgrade(&self.inner)));
        }
    }
}

async fn listen(hub: Weak<Inner>, mut inbox: Inbox) {
    while let Some(heard) = inbox.next().await {
        let Some(hub) = hub.upgrade() else { return };
        match heard {
            Heard::Message { channel, text } => hub.heard(channel, text),
            Heard::Joined(rooms) => hub.catch_up(&rooms).await,
            Heard::Gap => hub.heal().await,
        }
    }
}

async fn compare(hub: Weak<Inner>) {
    let mut ticks = interval(COMPARE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(hub) = hub.upgrade() else { return };
        let rooms: Vec<RoomId> = hub.rooms.iter().map(|room| *room.key()).collect();
        hub.catch_up(&rooms).await;
    }
}

impl Inner {
    fn heard(&self, channel: Channel, text: String) {
        let Some((from, _)) = message::open(&text) else { return };
        if from == self.bus.node() {
            return;
        }
        match channel {
            Channel::Room(room) => self.pass(room, Request::Heard(text)),
            Channel::Node(_) | Channel::All => {}
        }
    }

    /// After anything may have been missed.
    async fn heal(&self) {
        let rooms: Vec<RoomId> = self.rooms.iter().map(|room| *room.key()).collect();
        self.catch_up(&rooms).await;
    }

    /// Tells those of these rooms that are behind the store.
    async fn catch_up(&self, rooms: &[RoomId]) {
        let head_here = |room: &RoomId| {
            let head = self.rooms.get(room)?.head.load(Ordering::Relaxed);
            (head != UNLOADED).then_some(head)
        };
        let loaded: Vec<RoomId> = rooms.iter().filter(|room| head_here(room).is_some()).copied().collect();
        let heads = match self.store.heads(&loaded).await {
            Ok(heads) => heads,
            Err(error) => {
                tracing::warn!(%error, "the rooms could not be compared with the store; that is tried again");
                return;
            }
        };
        for (room, head) in heads {
            if head_here(&room).is_some_and(|here| here < head) {
                self.pass(room, Request::Behind { head });
            }
        }
    }

    /// Hands a request to a room that is in memory. One that has no time for it finds out by the next comparison.
    fn pass(&self, room: RoomId, request: Request) {
        if let Some(seat) = self.rooms.get(&room) {
            let _ = seat.inbox.try_send(Box::new(request));
        }
    }
}
