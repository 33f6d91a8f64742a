//! Who reads along: looking, listening, and what readers tell each other.

use std::sync::Arc;

use rooms::id::UserId;
use rooms::party::Thread;
use rooms::permission::View;
use rooms::refusal::Refusal;
use rooms::role::{Actor, Role};
use rooms::signal::{Mark, Presence, Signal};
use rooms::wire::server::ServerFrame;
use tokio::time::Instant;
use uuid::Uuid;

use super::{AttachOutcome, RoomTask, RoomView};
use crate::hub::SubmitError;
use crate::hub::connection::Connection;
use crate::hub::nodes::message::RoomMessage;
use crate::hub::send_queue::QueueItem;

impl RoomTask {
    /// Looks at what the store has now: whoever asks may have changed it on another node a moment ago.
    pub(super) async fn look_now(&mut self, actor: &Actor) -> Result<RoomView, SubmitError> {
        self.load().await?;
        if self.hub.bus.is_shared()
            && let Err(error) = self.refresh().await
        {
            tracing::debug!(room = %self.id, code = error.code().as_str(), "shown as it was last known");
        }
        self.look(actor).await
    }

    pub(super) async fn look(&mut self, actor: &Actor) -> Result<RoomView, SubmitError> {
        self.load().await?;
        let view = match self.view_of(actor)? {
            Some(view) => view,
            // Another node may have let them in, or opened the room, just now.
            None if self.hub.bus.is_shared() && self.refresh().await? => {
                self.view_of(actor)?.ok_or(SubmitError::NotFound)?
            }
            None => return Err(SubmitError::NotFound),
        };
        let room = self.room()?;
        let mut snapshot = room.snapshot(&view);
        snapshot.presence = self.presences.present().map(|user| Presence { user, here: true }).collect();
        snapshot.marks = match view {
            View::Care => self.marks.clone(),
            View::Pharmacy(_) | View::Courier(_) | View::Guest { .. } => {
                self.marks.iter().filter(|(user, _)| Some(**user) == actor.user()).map(|(u, m)| (*u, *m)).collect()
            }
        };
        Ok(RoomView { head: room.visible_head(&view), view, snapshot })
    }

    /// What an actor sees of the room; `None` also of a room that was never opened.
    fn view_of(&self, actor: &Actor) -> Result<Option<View>, SubmitError> {
        let room = self.room()?;
        Ok(room.view_of(actor, self.hub.clock.now()).filter(|_| room.head() > 0))
    }

    pub(super) async fn attach(
        &mut self,
        connection: &Arc<Connection>,
        cursor: u64,
    ) -> Result<AttachOutcome, SubmitError> {
        let mut room_view = Box::new(self.look(&connection.actor).await?);
        // Whoever comes from another node can have seen more than this one.
        if cursor > room_view.head && self.hub.bus.is_shared() && self.refresh().await? {
            room_view = Box::new(self.look(&connection.actor).await?);
        }
        if cursor > room_view.head {
            let why = "is beyond the room's last event; join with 0";
            return Err(Refusal::Invalid { field: "after", why }.into());
        }
        let is_first = !self.members.has(connection.user);
        let Some((missing, head)) = self.members.attach(connection, room_view.view, room_view.head, cursor) else {
            return Ok(AttachOutcome::NeedsReplay { room_view });
        };
        if is_first {
            self.tell_presence();
        }
        if self.presences.came(connection.user) {
            room_view.snapshot.presence.push(Presence { user: connection.user, here: true });
            self.relay_presence(connection.user, true, Some(connection.id));
        }
        self.is_opened |= connection.actor.role() == Role::Admin;
        self.party_changed(connection.user, true).await;
        Ok(AttachOutcome::Live { room_view, missing, head })
    }

    pub(super) fn detach(&mut self, connection: Uuid) {
        self.leave_desk(connection);
        let user = self.members.connections().find(|member| member.id == connection).map(|member| member.user);
        if self.members.detach(connection)
            && let Some(user) = user
        {
            self.leave(user);
            if !self.members.has(user) {
                self.tell_presence();
            }
        }
    }

    /// Starts the grace time, unless another connection of the person listens.
    pub(super) fn leave(&mut self, user: UserId) {
        if !self.members.has(user) {
            self.presences.went(user, Instant::now());
        }
    }

    /// Ends the listening of those whose part in the case is over.
    pub(super) fn put_out_unfit(&mut self) {
        let Some(loaded) = &self.loaded else { return };
        let now = self.hub.clock.now();
        for connection in self.members.unfit(|connection| loaded.room.view_of(&connection.actor, now)) {
            connection.send_queue.push(QueueItem::Evicted(self.id));
            self.detach(connection.id);
        }
        self.is_opened = self.members.connections().any(|connection| connection.actor.role() == Role::Admin);
    }

    pub(super) fn signal(&mut self, actor: &Actor, from: Option<Uuid>, signal: Signal) {
        let (Ok(room), Some(user)) = (self.room(), actor.user()) else { return };
        let Some(view) = room.view_of(actor, self.hub.clock.now()) else { return };
        if reads_thread(&view, thread_of(&signal)) {
            self.tell(&RoomMessage::Signal { user, signal: signal.clone() });
            self.relay_signal(user, signal, from);
        }
    }

    pub(super) fn relay_signal(&self, user: UserId, signal: Signal, except: Option<Uuid>) {
        let thread = thread_of(&signal);
        let frame = ServerFrame::Signal { room: self.id, from: user, signal };
        self.members.relay(&frame, except, |view| reads_thread(view, thread));
    }

    pub(super) fn mark(&mut self, actor: &Actor, from: Option<Uuid>, mark: Mark) {
        let (Ok(room), Some(user)) = (self.room(), actor.user()) else { return };
        let Some(view) = room.view_of(actor, self.hub.clock.now()) else { return };
        let head = room.visible_head(&view);
        let mark = Mark { delivered: mark.delivered.min(head), seen: mark.seen.min(head) };
        if let Some(mark) = self.relay_mark(user, view, mark, from) {
            self.hub.marks.save(self.id, user, mark);
            self.tell(&RoomMessage::Mark { user, view, mark });
        }
    }

    /// Notes a mark and tells those who may know of it; none if it says nothing new.
    pub(super) fn relay_mark(&mut self, user: UserId, view: View, mark: Mark, except: Option<Uuid>) -> Option<Mark> {
        let old = self.marks.get(&user).copied().unwrap_or_default();
        let seen = old.seen.max(mark.seen);
        let new = Mark { delivered: old.delivered.max(mark.delivered).max(seen), seen };
        if new == old {
            return None;
        }
        self.marks.insert(user, new);
        let frame = ServerFrame::Mark { room: self.id, user, mark: new };
        self.members.relay(&frame, except, |other| *other == View::Care || *other == view);
        Some(new)
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
