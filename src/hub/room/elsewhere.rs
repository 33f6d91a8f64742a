//! What happens to the room on other nodes.

use rooms::event::Event;

use super::RoomTask;
use crate::bus::Channel;
use crate::hub::nodes::message::{self, RoomMessage};
use crate::store::events::Sealed;

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
        let Some((_, body)) = message::open(text) else { return };
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
            None => tracing::debug!(room = %self.id, "a message of another node cannot be read"),
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
