//! What goes to the client: what waits in the outbox, and what a reader lacks.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use rooms::cursor::Verdict;
use rooms::id::RoomId;
use rooms::wire::close::Close;
use rooms::wire::code::Code;
use rooms::wire::server::{ServerFrame, event_frame};

use super::{End, Session};
use crate::hub::room::AttachOutcome;
use crate::hub::send_queue::QueueItem;
use crate::hub::{EventFrame, SubmitError};
use crate::telemetry::metrics::METRICS;
use crate::ws::reader::{Replay, State};
use crate::ws::transport::Transport;

/// Events that are replayed between two looks at what the client sends.
const PAGE: u32 = 64;

impl<T: Transport> Session<T> {
    /// Writes what was said and what waits in the outbox.
    pub(super) async fn drain(&mut self) -> Result<(), End> {
        while let Some(out) = self.connection.send_queue.take() {
            match out.map_err(End::Close)? {
                QueueItem::Frame(text) => self.transport.write(text),
                QueueItem::Event { room, prev, seq, text } => self.deliver(room, prev, seq, text),
                QueueItem::Evicted(room) => {
                    self.readers.remove(room);
                    self.say(&ServerFrame::Left { room, code: Code::Forbidden });
                }
            }
            if self.transport.is_full() {
                self.flush().await?;
            }
        }
        self.flush().await
    }

    /// Writes an event if it follows on what the client has; after a gap the store is read.
    fn deliver(&mut self, room: RoomId, prev: u64, seq: u64, text: Bytes) {
        let Some(reader) = self.readers.get_mut(room) else { return };
        match reader.feed.judge(prev, seq) {
            Verdict::Deliver => self.transport.write(text),
            Verdict::Repeat => {}
            Verdict::Gap => {
                if !reader.is_replaying() {
                    reader.state = State::Replaying(Replay::from(reader.feed.position()));
                }
            }
        }
    }

    /// Sends one page of what a reader lacks, and lets it go live when there is no more.
    pub(super) async fn replay(&mut self) -> Result<(), End> {
        let Some((room, raw)) = self.readers.replaying() else { return Ok(()) };
        let turn = self.hub.replay_permit().await;
        let page = self.hub.history(room, raw, PAGE).await;
        drop(turn);
        let Ok(page) = page else {
            return Err(End::Close(Close::Failure));
        };
        let last = page.len() < PAGE as usize;
        for stored in &page {
            let Some(reader) = self.readers.get_mut(room) else { return Ok(()) };
            if let State::Replaying(replay) = &mut reader.state {
                replay.raw = stored.seq;
            }
            let prev = reader.feed.position();
            if stored.seq > prev
                && reader.may_see(stored.seq, &stored.canonical)
                && reader.feed.judge(prev, stored.seq) == Verdict::Deliver
            {
                self.transport.write(event_frame(room, prev, &stored.canonical).into());
            }
            if self.transport.is_full() {
                self.flush().await?;
            }
        }
        if last {
            self.go_live(room).await;
        }
        Ok(())
    }

    async fn go_live(&mut self, room: RoomId) {
        let Some(cursor) = self.readers.get_mut(room).map(|reader| reader.feed.position()) else { return };
        match self.hub.attach(room, &self.connection, cursor).await {
            Ok(AttachOutcome::Live { room_view, missing, head }) => self.live(room, room_view.head, missing, head),
            Ok(AttachOutcome::NeedsReplay { .. }) => {}
            Err(error) => self.put_out(room, &error).await,
        }
    }

    pub(super) fn live(&mut self, room: RoomId, at: u64, missing: Vec<EventFrame>, head: Arc<AtomicU64>) {
        for sent in missing {
            self.deliver(room, sent.prev, sent.seq, sent.text);
        }
        let former = self.readers.get_mut(room).map(|it| std::mem::replace(&mut it.state, State::Live { head }));
        if let Some(State::Replaying(replay)) = former {
            METRICS.resume.observe_since(replay.begin);
        }
        self.say(&ServerFrame::Live { room, head: at });
    }

    /// Ends a reader that has no right to the room any more, or cannot be served.
    async fn put_out(&mut self, room: RoomId, error: &SubmitError) {
        self.readers.remove(room);
        self.hub.detach(room, self.connection.id).await;
        self.say(&ServerFrame::Left { room, code: error.code() });
    }
}
