//! Frames to the client: those of the send queue, and replayed events.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use rooms::cursor::Verdict;
use rooms::id::RoomId;
use rooms::wire::close::Close;
use rooms::wire::code::Code;
use rooms::wire::server::{ServerFrame, event_frame};

use super::{RealtimeSession, SessionEnd};
use crate::hub::room::AttachOutcome;
use crate::hub::send_queue::QueueItem;
use crate::hub::{EventFrame, SubmitError};
use crate::telemetry::metrics::METRICS;
use crate::ws::joined_rooms::{EventSource, Replay};
use crate::ws::transport::FrameTransport;

/// Events replayed before the session handles the next message from the client.
const REPLAY_PAGE_EVENTS: u32 = 64;

impl<T: FrameTransport> RealtimeSession<T> {
    /// Writes all queued frames and sends them.
    pub(super) async fn drain_send_queue(&mut self) -> Result<(), SessionEnd> {
        while let Some(item) = self.connection.send_queue.take() {
            match item.map_err(SessionEnd::Close)? {
                QueueItem::Frame(text) => self.transport.write(text),
                QueueItem::Event { room, prev, seq, text } => self.deliver(room, prev, seq, text),
                QueueItem::Evicted(room) => {
                    self.rooms.remove(room);
                    self.send(&ServerFrame::Left { room, code: Code::Forbidden });
                }
            }
            if self.transport.is_full() {
                self.flush().await?;
            }
        }
        self.flush().await
    }

    /// Writes an event if it follows the client's cursor. A gap starts a replay.
    fn deliver(&mut self, room: RoomId, prev: u64, seq: u64, text: Bytes) {
        let Some(joined) = self.rooms.get_mut(room) else { return };
        match joined.cursor.judge(prev, seq) {
            Verdict::Deliver => self.transport.write(text),
            Verdict::Repeat => {}
            Verdict::Gap => {
                if !joined.is_replaying() {
                    joined.source = EventSource::Replay(Box::new(Replay::after(joined.cursor.position())));
                }
            }
        }
    }

    /// Sends one page of a replay. After the last page the room becomes live.
    pub(super) async fn replay_page(&mut self) -> Result<(), SessionEnd> {
        let Some((room, read_up_to)) = self.rooms.first_replay() else { return Ok(()) };
        let permit = self.hub.replay_permit().await;
        let page = self.hub.history(room, read_up_to, REPLAY_PAGE_EVENTS).await;
        drop(permit);
        let Ok(page) = page else {
            return Err(SessionEnd::Close(Close::Failure));
        };
        let is_last = page.len() < REPLAY_PAGE_EVENTS as usize;
        for stored in &page {
            let Some(joined) = self.rooms.get_mut(room) else { return Ok(()) };
            if let EventSource::Replay(replay) = &mut joined.source {
                replay.read_up_to = stored.seq;
            }
            let prev = joined.cursor.position();
            if stored.seq > prev
                && joined.may_see(stored.seq, &stored.canonical)
                && joined.cursor.judge(prev, stored.seq) == Verdict::Deliver
            {
                self.transport.write(event_frame(room, prev, &stored.canonical).into());
            }
            if self.transport.is_full() {
                self.flush().await?;
            }
        }
        if is_last {
            self.attach_live(room).await;
        }
        Ok(())
    }

    /// Subscribes to the room after a replay.
    async fn attach_live(&mut self, room: RoomId) {
        let Some(cursor) = self.rooms.get_mut(room).map(|joined| joined.cursor.position()) else { return };
        match self.hub.attach(room, &self.connection, cursor).await {
            Ok(AttachOutcome::Live { room_view, missing, head }) => {
                self.become_live(room, room_view.head, missing, head);
            }
            Ok(AttachOutcome::NeedsReplay { .. }) => {}
            Err(error) => self.evict(room, &error).await,
        }
    }

    /// Sends the events between the replay and the subscription, then `live`. `live_head` is the room's head at attach.
    pub(super) fn become_live(&mut self, room: RoomId, live_head: u64, missing: Vec<EventFrame>, head: Arc<AtomicU64>) {
        for event in missing {
            self.deliver(room, event.prev, event.seq, event.text);
        }
        let source = EventSource::Live { head };
        let former = self.rooms.get_mut(room).map(|it| std::mem::replace(&mut it.source, source));
        if let Some(EventSource::Replay(replay)) = former {
            METRICS.resume.observe_since(replay.started_at);
        }
        self.send(&ServerFrame::Live { room, head: live_head });
    }

    /// Removes the client from a room that it may no longer read or that cannot serve it.
    async fn evict(&mut self, room: RoomId, error: &SubmitError) {
        self.rooms.remove(room);
        self.hub.detach(room, self.connection.id).await;
        self.send(&ServerFrame::Left { room, code: error.code() });
    }
}
