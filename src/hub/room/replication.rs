//! Replication: publishes what happens in the room here, and applies what other nodes publish.

use rooms::event::Event;
use rooms::id::UserId;
use rooms::signal::Mark;
use tokio::time::Instant;

use super::task::RoomTask;
use crate::bus::{Channel, NodeId};
use crate::hub::cluster::message::{self, RoomMessage};
use crate::store::record::HashedRecord;

impl RoomTask {
    /// Publishes a message to the other nodes that have the room in memory.
    pub(super) fn publish(&self, message: &RoomMessage) {
        if self.hub.bus.is_shared()
            && let Some(text) = message::encode(self.hub.bus.node(), message)
        {
            self.hub.bus.publish(Channel::Room(self.id), text);
        }
    }

    /// Publishes the events of a commit.
    pub(super) fn publish_commit(&self, records: &[HashedRecord]) {
        if self.hub.bus.is_shared()
            && let Some(message) = RoomMessage::of_commit(records)
        {
            self.publish(&message);
        }
    }

    /// Applies a message of another node.
    pub(super) async fn receive(&mut self, text: &str) {
        let Some((from, body)) = message::decode(text) else { return };
        match message::parse(body) {
            Some(RoomMessage::Events(events)) => {
                let Some(room) = self.state.loaded() else { return };
                if events.last() <= room.head() {
                    return;
                }
                match self.state.new_events(&events) {
                    Some(records) => self.apply_remote(&records),
                    None => self.catch_up_to(events.last()).await,
                }
            }
            Some(RoomMessage::HeadAdvanced(head)) => self.catch_up_to(head).await,
            Some(RoomMessage::Signal { user, signal }) => self.relay_signal(user, signal, None),
            Some(RoomMessage::Mark { user, view, mark }) => {
                if let (true, Ok(room)) = (self.state.has_space_for_mark(user), self.state.room()) {
                    let head = room.head();
                    let mark = Mark { delivered: mark.delivered.min(head), seen: mark.seen.min(head) };
                    self.relay_mark(user, view, mark, None);
                }
            }
            Some(RoomMessage::PresenceReport(users)) => self.apply_presence_report(from, users).await,
            Some(RoomMessage::PresenceQuery) => {
                if !self.subscribers.is_empty() {
                    self.report_presence();
                }
            }
            None => tracing::debug!(room = %self.id, node = %from, "room message unreadable"),
        }
    }

    /// Publishes who is connected to this node.
    pub(super) fn report_presence(&mut self) {
        if self.hub.bus.is_shared() {
            let users = self.subscribers.users();
            self.presence.reported(users.is_empty(), Instant::now());
            self.publish(&RoomMessage::PresenceReport(users));
        }
    }

    /// Asks the other nodes for reports, and publishes this node's.
    pub(super) fn query_presence(&mut self) {
        self.publish(&RoomMessage::PresenceQuery);
        if !self.subscribers.is_empty() {
            self.report_presence();
        }
    }

    async fn apply_presence_report(&mut self, node: NodeId, users: Vec<UserId>) {
        for user in self.presence.remote_report(node, users.clone(), Instant::now()) {
            self.start_grace_period(user);
        }
        for user in users {
            if self.presence.connected(user) {
                self.relay_presence(user, true, None);
            }
            // Their own node submits this, too. But this node may have declared them absent while reports were lost.
            self.party_presence_changed(user, true).await;
        }
    }

    /// Reads the events up to `head` from the store if they are missing.
    pub(super) async fn catch_up_to(&mut self, head: u64) {
        let is_behind = self.state.loaded().is_some_and(|room| room.head() < head);
        if is_behind && let Err(error) = self.refresh().await {
            tracing::debug!(room = %self.id, code = error.code().as_str(), "catch-up failed, will retry");
        }
    }

    /// Applies events that were committed elsewhere, with all that follows from them.
    pub(super) fn apply_remote(&mut self, records: &[HashedRecord]) {
        for record in records {
            self.apply_committed(record);
        }
        if records.iter().any(|record| !matches!(record.record.event, Event::ChatSent(_))) {
            self.invalidate_feeds();
        }
        self.evict_unauthorized();
        self.retain_call_members();
    }
}
