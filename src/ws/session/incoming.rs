//! What comes from the client.

use rooms::command::Command;
use rooms::id::{CommandId, RoomId};
use rooms::refusal::{Detail, Refusal};
use rooms::signal::Mark;
use rooms::wire::client::{ClientFrame, FeedName};
use rooms::wire::close::Close;
use rooms::wire::code::Code;
use rooms::wire::parse_error::parse_error;
use rooms::wire::server::{ErrorFrame, ServerFrame};
use tokio::time::Instant;

use super::{End, Session};
use crate::hub::room::AttachOutcome;
use crate::hub::{Submission, SubmitError};
use crate::ws::reader::Reader;
use crate::ws::transport::{Incoming, Transport};

/// Frames beyond the rate, or that make no sense, until the connection is closed.
const MAX_FAULTS: u32 = 100;
/// Commands of one connection that may be unanswered.
const MAX_IN_FLIGHT: u32 = 64;
/// Rooms and feeds one connection may have open.
const MAX_ROOMS: usize = 64;
const MAX_FEEDS: usize = 16;

impl<T: Transport> Session<T> {
    /// Takes what came. A frame whose answer must be waited for comes back, for [`look_into`](Self::look_into).
    pub(super) fn incoming(&mut self, incoming: Incoming) -> Result<Option<Box<ClientFrame>>, End> {
        self.heard = Instant::now();
        let text = match incoming {
            Incoming::Text(text) => text,
            Incoming::Alive => return Ok(None),
            Incoming::Foreign => return Err(End::Close(Close::Protocol)),
            Incoming::End => return Err(End::Gone),
        };
        // Checked at each frame too: a timer may be late.
        if self.clock.now() >= self.expires_at {
            return Err(End::Close(Close::TokenExpired));
        }
        if self.limiter.check().is_err() {
            self.fault(Close::Flood)?;
            let detail = Detail { retry_after_ms: Some(1_000), ..Detail::default() };
            self.refuse(Code::RateLimited, "too many frames; slow down", detail, &text);
            return Ok(None);
        }
        match serde_json::from_str::<ClientFrame>(&text) {
            Ok(frame) => self.frame(frame),
            Err(error) => {
                self.fault(Close::Protocol)?;
                let (code, message) = parse_error(&error);
                self.refuse(code, &message, Detail::default(), &text);
                Ok(None)
            }
        }
    }

    fn fault(&mut self, close: Close) -> Result<(), End> {
        self.faults += 1;
        if self.faults > MAX_FAULTS { Err(End::Close(close)) } else { Ok(()) }
    }

    /// Answers a frame that was not taken, naming its command if that can be told.
    fn refuse(&mut self, code: Code, message: &str, detail: Detail, text: &str) {
        #[derive(serde::Deserialize)]
        struct Named {
            id: Option<CommandId>,
            room: Option<RoomId>,
        }
        let named = serde_json::from_str::<Named>(text).unwrap_or(Named { id: None, room: None });
        let (message, retryable) = (message.to_owned(), code.retryable());
        self.say(&ServerFrame::Error(ErrorFrame { id: named.id, room: named.room, code, message, retryable, detail }));
    }

    /// Does what needs no waiting.
    fn frame(&mut self, frame: ClientFrame) -> Result<Option<Box<ClientFrame>>, End> {
        match frame {
            ClientFrame::Hello { .. } => return Err(End::Close(Close::Protocol)),
            ClientFrame::Auth { token } => self.renew(&token.0)?,
            ClientFrame::Command { id, room, expect, command } => {
                let actor = self.connection.actor.clone();
                self.command(Submission { room, actor, id, command, expect });
            }
            ClientFrame::Signal { room, signal } => {
                if self.has_joined(room) {
                    self.hub.signal(room, &self.connection.actor, Some(self.connection.id), signal);
                }
            }
            ClientFrame::Call { room, call, signal } => {
                if self.has_joined(room) {
                    self.hub.call(room, &self.connection, call, signal);
                }
            }
            ClientFrame::Mark { room, delivered, seen } => {
                if self.has_joined(room) {
                    let mark = Mark { delivered, seen };
                    self.hub.mark(room, &self.connection.actor, Some(self.connection.id), mark);
                }
            }
            ClientFrame::Beat {} => {}
            ClientFrame::Join { .. }
            | ClientFrame::Leave { .. }
            | ClientFrame::Subscribe { .. }
            | ClientFrame::Unsubscribe { .. } => return Ok(Some(Box::new(frame))),
        }
        Ok(None)
    }

    /// Does what rooms or feeds must be asked for.
    pub(super) async fn look_into(&mut self, frame: Box<ClientFrame>) -> Result<(), End> {
        match *frame {
            ClientFrame::Join { room, after } => self.join(room, after).await,
            ClientFrame::Leave { room } => {
                self.readers.remove(room);
                self.hub.detach(room, self.connection.id).await;
                self.say(&ServerFrame::Left { room, code: Code::NotJoined });
            }
            ClientFrame::Subscribe { feed } => self.subscribe(feed).await,
            ClientFrame::Unsubscribe { feed } => {
                self.feeds.retain(|known| *known != feed);
                self.hub.feeds().unsubscribe(&self.connection, feed).await;
            }
            _ => {}
        }
        Ok(())
    }

    fn renew(&mut self, token: &str) -> Result<(), End> {
        let claims = self.auth.verify(token, self.clock.now()).map_err(|error| End::Close(error.close()))?;
        if claims.session != self.connection.session || claims.user != self.connection.user {
            return Err(End::Close(Close::Unauthenticated));
        }
        if claims.actor() != self.connection.actor {
            // Other rights than this connection was opened with: it starts anew with them.
            return Err(End::Close(Close::TokenExpired));
        }
        self.expires_at = claims.expires_at;
        self.warned = false;
        Ok(())
    }

    async fn join(&mut self, room: RoomId, after: u64) {
        if !self.readers.has(room) && self.readers.len() >= MAX_ROOMS {
            let why = "cannot be joined: at most 64 rooms at a time; leave one first";
            return self.complain(Some(room), &Refusal::Invalid { field: "room", why }.into());
        }
        self.hub.connect_queue().wait_turn().await;
        let (room_view, live) = match self.hub.attach(room, &self.connection, after).await {
            Ok(AttachOutcome::Live { room_view, missing, head }) => (room_view, Some((missing, head))),
            Ok(AttachOutcome::NeedsReplay { room_view }) => (room_view, None),
            Err(error) => return self.complain(Some(room), &error),
        };
        let at = room_view.head;
        self.readers.insert(room, Reader::replaying(room_view.view, after));
        self.say(&ServerFrame::Joined { room, head: at, snapshot: Box::new(room_view.snapshot) });
        if let Some((missing, head)) = live {
            self.live(room, at, missing, head);
        }
    }

    fn command(&mut self, submission: Submission) {
        let (id, room) = (submission.id, submission.room);
        let error = if matches!(submission.command, Command::Request(_)) {
            // Opening a room makes its id, so it has an answer of its own: `POST /v1/bookings`.
            SubmitError::from(Refusal::Forbidden)
        } else if self.connection.begin_command(MAX_IN_FLIGHT) {
            return self.hub.submit_from(&self.connection, submission);
        } else {
            SubmitError::Unavailable
        };
        self.say(&ServerFrame::Error(ErrorFrame { id: Some(id), room: Some(room), ..error.frame() }));
    }

    async fn subscribe(&mut self, feed: FeedName) {
        if !self.feeds.contains(&feed) {
            if self.feeds.len() >= MAX_FEEDS {
                let why = "cannot be followed: at most 16 feeds at a time; unsubscribe from one first";
                return self.complain(None, &Refusal::Invalid { field: "feed", why }.into());
            }
            self.feeds.push(feed);
        }
        if let Err(error) = self.hub.feeds().subscribe(&self.connection, feed).await {
            self.feeds.retain(|known| *known != feed);
            self.complain(None, &error);
        }
    }

    /// Whether the client is in the room; if not, it is told.
    fn has_joined(&mut self, room: RoomId) -> bool {
        let joined = self.readers.has(room);
        if !joined {
            let (code, message) = (Code::NotJoined, "join the room first".to_owned());
            let (retryable, detail) = (code.retryable(), Detail::default());
            let error = ErrorFrame { id: None, room: Some(room), code, message, retryable, detail };
            self.say(&ServerFrame::Error(error));
        }
        joined
    }
}
