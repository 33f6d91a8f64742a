//! Readers of the room: snapshots, subscriptions, and the signals and marks that readers exchange.

use std::sync::Arc;

use rooms::id::UserId;
use rooms::party::Thread;
use rooms::permission::View;
use rooms::refusal::Refusal;
use rooms::role::Actor;
use rooms::signal::{Mark, Presence, Signal};
use rooms::wire::server::ServerFrame;
use tokio::time::Instant;
use uuid::Uuid;

use super::task::RoomTask;
use super::{AttachOutcome, RoomView};
use crate::hub::cluster::message::RoomMessage;
use crate::hub::connection::Connection;
use crate::hub::send_queue::QueueItem;
use crate::hub::submission::SubmitError;

impl RoomTask {
    /// Refreshes the room from the store, then reads it: the caller may have just changed it on another node.
    pub(super) async fn read_fresh(&mut self, actor: &Actor) -> Result<RoomView, SubmitError> {
        self.load().await?;
        if self.hub.bus.is_shared()
            && let Err(error) = self.refresh().await
        {
            tracing::debug!(room = %self.id, code = error.code().as_str(), "refresh failed, serving the last known state");
        }
        self.read(actor).await
    }

    async fn read(&mut self, actor: &Actor) -> Result<RoomView, SubmitError> {
        self.load().await?;
        let view = match self.view_of(actor)? {
            Some(view) => view,
            // Another node may have admitted the actor, or opened the room, just now.
            None if self.hub.bus.is_shared() && self.refresh().await? => {
                self.view_of(actor)?.ok_or(SubmitError::NotFound)?
            }
            None => return Err(SubmitError::NotFound),
        };
        let room = self.state.room()?;
        let mut snapshot = room.snapshot(&view, self.hub.clock.now());
        snapshot.presence = self.presence.present().map(|user| Presence { user, here: true }).collect();
        snapshot.marks = self.state.marks_for(actor, &view);
        Ok(RoomView { head: room.visible_head(&view), view, snapshot })
    }

    fn view_of(&self, actor: &Actor) -> Result<Option<View>, SubmitError> {
        self.state.view_of(actor, self.hub.clock.now())
    }

    /// Subscribes a connection from `cursor` on.
    pub(super) async fn attach(
        &mut self,
        connection: &Arc<Connection>,
        cursor: u64,
    ) -> Result<AttachOutcome, SubmitError> {
        let mut room_view = Box::new(self.read(&connection.actor).await?);
        // A client that was connected to another node can be ahead of this one.
        if cursor > room_view.head && self.hub.bus.is_shared() && self.refresh().await? {
            room_view = Box::new(self.read(&connection.actor).await?);
        }
        if cursor > room_view.head {
            let why = "must not be beyond the room's last event; join with 0";
            return Err(Refusal::Invalid { field: "after", why }.into());
        }
        let is_first = !self.subscribers.has_user(connection.user);
        let Some((missing, head)) = self.subscribers.attach(connection, room_view.view, room_view.head, cursor) else {
            return Ok(AttachOutcome::NeedsReplay { room_view });
        };
        if is_first {
            self.report_presence();
        }
        if self.presence.connected(connection.user) {
            room_view.snapshot.presence.push(Presence { user: connection.user, here: true });
            self.relay_presence(connection.user, true, Some(connection.id));
        }
        self.party_presence_changed(connection.user, true).await;
        Ok(AttachOutcome::Live { room_view, missing, head })
    }

    /// Ends the subscription of a connection.
    pub(super) fn detach(&mut self, connection: Uuid) {
        self.disconnect_from_call(connection);
        let user = self.subscribers.connection(connection).map(|known| known.user);
        if self.subscribers.detach(connection)
            && let Some(user) = user
        {
            self.start_grace_period(user);
            if !self.subscribers.has_user(user) {
                self.report_presence();
            }
        }
    }

    /// Starts a person's grace period, unless another of their connections is subscribed.
    pub(super) fn start_grace_period(&mut self, user: UserId) {
        if !self.subscribers.has_user(user) {
            self.presence.disconnected(user, Instant::now());
        }
    }

    /// Ends the subscriptions of readers whose view has changed or expired.
    pub(super) fn evict_unauthorized(&mut self) {
        let Some(room) = self.state.loaded() else { return };
        let now = self.hub.clock.now();
        for connection in self.subscribers.unauthorized(|connection| room.view_of(&connection.actor, now)) {
            connection.send_queue.push(QueueItem::Evicted(self.id));
            self.detach(connection.id);
        }
        self.subscribers.rights_checked();
    }

    /// Relays a signal to the readers here and on other nodes.
    pub(super) fn signal(&mut self, actor: &Actor, from: Option<Uuid>, signal: Signal) {
        let (Ok(room), Some(user)) = (self.state.room(), actor.user()) else { return };
        let Some(view) = room.view_of(actor, self.hub.clock.now()) else { return };
        if reads_thread(&view, thread_of(&signal)) {
            self.publish(&RoomMessage::Signal { user, signal: signal.clone() });
            self.relay_signal(user, signal, from);
        }
    }

    pub(super) fn relay_signal(&self, user: UserId, signal: Signal, except: Option<Uuid>) {
        let thread = thread_of(&signal);
        let frame = ServerFrame::Signal { room: self.id, from: user, signal };
        self.subscribers.relay(&frame, except, |view| reads_thread(view, thread));
    }

    /// Advances a person's mark, up to the last event that they see.
    pub(super) fn mark(&mut self, actor: &Actor, from: Option<Uuid>, mark: Mark) {
        let (Ok(room), Some(user)) = (self.state.room(), actor.user()) else { return };
        let Some(view) = room.view_of(actor, self.hub.clock.now()) else { return };
        let head = room.visible_head(&view);
        let mark = Mark { delivered: mark.delivered.min(head), seen: mark.seen.min(head) };
        if let Some(mark) = self.relay_mark(user, view, mark, from) {
            self.hub.marks.save(self.id, user, mark);
            self.publish(&RoomMessage::Mark { user, view, mark });
        }
    }

    /// Advances a mark and relays it to those who may see it. Returns `None` if it was as far already.
    pub(super) fn relay_mark(&mut self, user: UserId, view: View, mark: Mark, except: Option<Uuid>) -> Option<Mark> {
        let mark = self.state.advance_mark(user, mark)?;
        let frame = ServerFrame::Mark { room: self.id, user, mark };
        self.subscribers.relay(&frame, except, |other| *other == View::Care || *other == view);
        Some(mark)
    }
}

fn thread_of(signal: &Signal) -> Thread {
    let Signal::Typing(typing) = signal;
    typing.thread
}

fn reads_thread(view: &View, thread: Thread) -> bool {
    match (view, thread) {
        (View::Care, _) | (View::Guest { .. }, Thread::Care) => true,
        (View::Pharmacy(own), Thread::Pharmacy(of)) => *own == of,
        (View::Pharmacy(_), Thread::Care) | (View::Courier(_), _) | (View::Guest { .. }, Thread::Pharmacy(_)) => false,
    }
}
