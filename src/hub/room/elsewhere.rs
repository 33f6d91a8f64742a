//! What happens to the room on other nodes.

use rooms::event::Event;
use rooms::id::UserId;
use rooms::signal::Mark;
use tokio::time::Instant;

use super::RoomTask;
use crate::bus::{Channel, NodeId};
use crate::hub::nodes::message::{self, RoomMessage};
use crate::hub::presence::REPEAT;
use crate::store::events::Sealed;

/// People whose marks are kept of what other nodes say.
const MOST_MARKS: usize = 64;

impl RoomTask {
    /// Tells the other nodes that have the room.
    pub(super) fn tell(&self, message: &RoomMessage) {
        if self.hub.bus.is_shared()
            && let Some(text) = message::seal(self.hub.bus.node(), message)
        {
            self.hub.bus.publish(Channel::Room(self.id), text);
        }
    }

    /// Tells them what was committed here.
    pub(super) fn tell_events(&self, records: &[Sealed]) {
        if self.hub.bus.is_shared()
            && let Some(message) = RoomMessage::of(records)
        {
            self.tell(&message);
        }
    }

    /// Takes what another node says.
    pub(super) async fn heard(&mut self, text: &str) {
        let Some((from, body)) = message::open(text) else { return };
        match message::read(body) {
            Some(RoomMessage::Events(events)) => {
                let Some(loaded) = &self.loaded else { return };
                let head = loaded.room.head();
                if events.last() <= head {
                    return;
                }
                match events.behind(self.id, head, loaded.hash).filter(|_| !self.stale) {
                    Some(news) => self.moved_on(&news),
                    None => self.look_up(events.last()).await,
                }
            }
            Some(RoomMessage::Head(head)) => self.look_up(head).await,
            Some(RoomMessage::Signal { user, signal }) => self.relay_signal(user, signal, None),
            Some(RoomMessage::Mark { user, view, mark }) => {
                let known = self.marks.contains_key(&user) || self.marks.len() < MOST_MARKS;
                if let (true, Ok(room)) = (known, self.room()) {
                    let head = room.head();
                    let mark = Mark { delivered: mark.delivered.min(head), seen: mark.seen.min(head) };
                    self.relay_mark(user, view, mark, None);
                }
            }
            Some(RoomMessage::Here(users)) => self.here_elsewhere(from, users).await,
            Some(RoomMessage::Who) => {
                if !self.members.is_empty() {
                    self.tell_presence();
                }
            }
            None => tracing::debug!(room = %self.id, "a message of another node cannot be read"),
        }
    }

    /// Says who is connected to this node.
    pub(super) fn tell_presence(&mut self) {
        if self.hub.bus.is_shared() {
            let mut users: Vec<UserId> = self.members.connections().map(|member| member.user).collect();
            users.sort_unstable();
            users.dedup();
            self.repeat_at = (!users.is_empty()).then(|| Instant::now() + REPEAT);
            self.tell(&RoomMessage::Here(users));
        }
    }

    /// Says who is here, and asks the others.
    pub(super) fn ask_presence(&mut self) {
        self.tell(&RoomMessage::Who);
        if !self.members.is_empty() {
            self.tell_presence();
        }
    }

    async fn here_elsewhere(&mut self, node: NodeId, users: Vec<UserId>) {
        for user in self.presences.hear(node, users.clone(), Instant::now()) {
            self.leave(user);
        }
        for user in users {
            if self.presences.came(user) {
                self.relay_presence(user, true, None);
            }
            // Their own node says so too; but whoever was taken for gone, because nothing was heard, is back.
            self.party_changed(user, true).await;
        }
    }

    /// Reads from the store what is missing up to `head`.
    pub(super) async fn look_up(&mut self, head: u64) {
        let behind = self.loaded.as_ref().is_some_and(|loaded| loaded.room.head() < head);
        if behind && let Err(error) = self.refresh().await {
            tracing::debug!(room = %self.id, code = error.code().as_str(), "what another node did is read later");
        }
    }

    /// Applies what was committed elsewhere, and does what follows from it.
    pub(super) fn moved_on(&mut self, news: &[Sealed]) {
        for sealed in news {
            self.take_in(sealed);
        }
        if news.iter().any(|sealed| !matches!(sealed.record.event, Event::ChatSent(_))) {
            self.touch_feeds();
        }
        self.put_out_unfit();
        self.tidy_desk();
    }
}
