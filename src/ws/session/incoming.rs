//! Frames from the client.

use rooms::command::Command;
use rooms::id::{CommandId, RoomId};
use rooms::refusal::{Detail, Refusal};
use rooms::signal::Mark;
use rooms::wire::client::{ClientFrame, FeedName};
use rooms::wire::close::Close;
use rooms::wire::code::Code;
use rooms::wire::parse_error::{ParseError, frame_error};
use rooms::wire::server::{ErrorFrame, ServerFrame};
use tokio::time::Instant;

use super::{RealtimeSession, SessionEnd};
use crate::hub::room::AttachOutcome;
use crate::hub::{Submission, SubmitError};
use crate::ws::joined_rooms::JoinedRoom;
use crate::ws::transport::{FrameTransport, Incoming};

/// Malformed frames that a connection may send before the hub closes it.
const MAX_MALFORMED_FRAMES: u32 = 100;
/// Maximum number of unanswered commands per connection.
const MAX_IN_FLIGHT: u32 = 64;
/// Maximum numbers of joined rooms and subscribed feeds per connection.
pub const MAX_ROOMS: usize = 64;
pub const MAX_FEEDS: usize = 16;

impl<T: FrameTransport> RealtimeSession<T> {
    /// Handles a message from the client. Returns a frame that needs [`handle_async`](Self::handle_async).
    pub(super) fn receive(&mut self, incoming: Incoming) -> Result<Option<Box<ClientFrame>>, SessionEnd> {
        self.last_received_at = Instant::now();
        // Everything that wakes the session counts against its rate, before the kind of message matters.
        let is_over_rate = self.limiter.check().is_err();
        if is_over_rate && self.excess.check().is_err() {
            return Err(SessionEnd::Close(Close::Flood));
        }
        let text = match incoming {
            Incoming::Text(text) => text,
            Incoming::Keepalive => return Ok(None),
            Incoming::Unsupported => return Err(SessionEnd::Close(Close::Protocol)),
            Incoming::End => return Err(SessionEnd::Disconnected),
        };
        // The timer may be late, so check each frame as well.
        if self.clock.now() >= self.expires_at {
            return Err(SessionEnd::Close(Close::TokenExpired));
        }
        if is_over_rate {
            let detail = Detail { retry_after_ms: Some(1_000), ..Detail::default() };
            self.reject_text(
                Code::RateLimited,
                "you send too many frames; wait a second before the next",
                detail,
                &text,
            );
            return Ok(None);
        }
        match serde_json::from_str::<ClientFrame>(&text) {
            Ok(frame) => self.handle(frame),
            Err(error) => {
                self.malformed += 1;
                if self.malformed > MAX_MALFORMED_FRAMES {
                    return Err(SessionEnd::Close(Close::Protocol));
                }
                let ParseError { code, message, field } = frame_error(&text, &error);
                self.reject_text(code, &message, Detail { field, ..Detail::default() }, &text);
                Ok(None)
            }
        }
    }

    /// Sends an error for a rejected frame. Names its command and room if the text has readable ids.
    fn reject_text(&mut self, code: Code, message: &str, detail: Detail, text: &str) {
        #[derive(serde::Deserialize)]
        struct FrameIds {
            id: Option<CommandId>,
            room: Option<RoomId>,
        }
        let ids = serde_json::from_str::<FrameIds>(text).unwrap_or(FrameIds { id: None, room: None });
        let (message, retryable) = (message.to_owned(), code.retryable());
        self.send(&ServerFrame::Error(ErrorFrame { id: ids.id, room: ids.room, code, message, retryable, detail }));
    }

    /// Handles a frame, or returns it if that requires waiting.
    fn handle(&mut self, frame: ClientFrame) -> Result<Option<Box<ClientFrame>>, SessionEnd> {
        match frame {
            ClientFrame::Hello { .. } => return Err(SessionEnd::Close(Close::Protocol)),
            ClientFrame::Auth { token } => self.renew_token(&token.0)?,
            ClientFrame::Command { id, room, expect, command } => {
                let actor = self.connection.actor.clone();
                self.submit_command(Submission { room, actor, id, command, expect });
            }
            ClientFrame::Signal { room, signal } => {
                if self.require_joined(room) {
                    self.hub.signal(room, &self.connection.actor, Some(self.connection.id), signal);
                }
            }
            ClientFrame::Call { room, call, signal } => {
                if self.require_joined(room) {
                    self.hub.call(room, &self.connection, call, signal);
                }
            }
            ClientFrame::Mark { room, delivered, seen } => {
                if self.require_joined(room) {
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

    /// Handles a frame that waits for rooms or feeds.
    pub(super) async fn handle_async(&mut self, frame: Box<ClientFrame>) -> Result<(), SessionEnd> {
        match *frame {
            ClientFrame::Join { room, after } => self.join(room, after).await,
            ClientFrame::Leave { room } => {
                self.rooms.remove(room);
                self.hub.detach(room, self.connection.id).await;
                self.send(&ServerFrame::Left { room, code: Code::NotJoined });
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

    fn renew_token(&mut self, token: &str) -> Result<(), SessionEnd> {
        let claims = self.auth.verify(token, self.clock.now()).map_err(|error| SessionEnd::Close(error.close()))?;
        if claims.session != self.connection.session || claims.user != self.connection.user {
            return Err(SessionEnd::Close(Close::Unauthenticated));
        }
        if claims.actor() != self.connection.actor {
            // The connection was opened with other rights. The client must reconnect to use the new ones.
            return Err(SessionEnd::Close(Close::TokenExpired));
        }
        self.expires_at = claims.expires_at;
        self.has_warned = false;
        Ok(())
    }

    async fn join(&mut self, room: RoomId, after: u64) {
        if !self.rooms.contains(room) && self.rooms.len() >= MAX_ROOMS {
            let why = "cannot be joined: at most 64 rooms at a time; leave one first";
            return self.send_error(Some(room), &Refusal::Invalid { field: "room", why }.into());
        }
        self.hub.connect_queue().wait_turn().await;
        let (room_view, live) = match self.hub.join(room, &self.connection, after).await {
            Ok(AttachOutcome::Live { room_view, missing, head }) => (room_view, Some((missing, head))),
            Ok(AttachOutcome::NeedsReplay { room_view }) => (room_view, None),
            Err(error) => return self.send_error(Some(room), &error),
        };
        let joined_head = room_view.head;
        self.rooms.insert(room, JoinedRoom::replaying(room_view.view, after));
        self.send(&ServerFrame::Joined { room, head: joined_head, snapshot: Box::new(room_view.snapshot) });
        if let Some((missing, head)) = live {
            self.become_live(room, joined_head, missing, head);
        }
    }

    fn submit_command(&mut self, submission: Submission) {
        let (id, room) = (submission.id, submission.room);
        let error = if matches!(submission.command, Command::Request(_)) {
            // The hub chooses the ids of new rooms, which an ack cannot carry: see `POST /v1/bookings`.
            SubmitError::from(Refusal::Forbidden)
        } else if self.connection.begin_command(MAX_IN_FLIGHT) {
            return self.hub.submit_from(&self.connection, submission);
        } else {
            SubmitError::Unavailable
        };
        self.send(&ServerFrame::Error(ErrorFrame { id: Some(id), room: Some(room), ..error.frame() }));
    }

    async fn subscribe(&mut self, feed: FeedName) {
        if !self.feeds.contains(&feed) {
            if self.feeds.len() >= MAX_FEEDS {
                let why = "cannot be followed: at most 16 feeds at a time; unsubscribe from one first";
                return self.send_error(None, &Refusal::Invalid { field: "feed", why }.into());
            }
            self.feeds.push(feed);
        }
        if let Err(error) = self.hub.feeds().subscribe(&self.connection, feed).await {
            self.feeds.retain(|known| *known != feed);
            self.send_error(None, &error);
        }
    }

    /// Returns whether the client has joined the room, and sends an error if not.
    fn require_joined(&mut self, room: RoomId) -> bool {
        let joined = self.rooms.contains(room);
        if !joined {
            let (code, message) = (Code::NotJoined, "join the room first".to_owned());
            let (retryable, detail) = (code.retryable(), Detail::default());
            let error = ErrorFrame { id: None, room: Some(room), code, message, retryable, detail };
            self.send(&ServerFrame::Error(error));
        }
        joined
    }
}
