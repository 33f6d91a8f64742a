//! What comes from the client.

use rooms::command::Command;
use rooms::id::{CommandId, RoomId};
use rooms::refusal::{Detail, Refusal};
use rooms::signal::Mark;
use rooms::wire::client::{ClientFrame, FeedName};
use rooms::wire::close::Close;
use rooms::wire::code::Code;
use rooms::wire::explain::explain;
use rooms::wire::server::{ErrorFrame, ServerFrame};
use tokio::time::Instant;

use super::{End, Session};
use crate::hub::room::Attach;
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
    pub(super) async fn incoming(&mut self, incoming: Incoming) -> Result<(), End> {
        self.heard = Instant::now();
        let text = match incoming {
            Incoming::Text(text) => text,
            Incoming::Alive => return Ok(()),
            Incoming::Foreign => return Err(End::Close(Close::Protocol)),
            Incoming::End => return Err(End::Gone),
        };
        // Checked at each frame too: a timer may be late.
        if self.clock.now() >= self.expires_at {
            return Err(End::Close(Close::TokenExpired));
        }
        if self.limiter.check().is_err() {
            self.fault(Close::Flood)?;
            let message = "too many frames; slow down";
            let detail = Detail { retry_after_ms: Some(1_000), ..Detail::default() };
            return self.refuse(Code::RateLimited, message, detail, &text).await;
        }
        match serde_json::from_str::<ClientFrame>(&text) {
            Ok(frame) => self.frame(frame).await,
            Err(error) => {
                self.fault(Close::Protocol)?;
                let (code, message) = explain(&error);
                self.refuse(code, &message, Detail::default(), &text).await
            }
        }
    }

    fn fault(&mut self, close: Close) -> Result<(), End> {
        self.faults += 1;
        if self.faults > MAX_FAULTS { Err(End::Close(close)) } else { Ok(()) }
    }

    /// Answers a frame that was not taken, naming its command if that can be told.
    async fn refuse(&mut self, code: Code, message: &str, detail: Detail, text: &str) -> Result<(), End> {
        #[derive(serde::Deserialize)]
        struct Named {
            id: Option<CommandId>,
            room: Option<RoomId>,
        }
        let named = serde_json::from_str::<Named>(text).unwrap_or(Named { id: None, room: None });
        let (message, retryable) = (message.to_owned(), code.retryable());
        self.say(&ServerFrame::Error(ErrorFrame { id: named.id, room: named.room, code, message, retryable, detail }))
            .await
    }

    async fn frame(&mut self, frame: ClientFrame) -> Result<(), End> {
        match frame {
            ClientFrame::Hello { .. } => Err(End::Close(Close::Protocol)),
            ClientFrame::Auth { token } => self.renew(&token.0).await,
            ClientFrame::Join { room, after } => self.join(room, after).await,
            ClientFrame::Leave { room } => {
                self.readers.remove(&room);
                self.hub.detach(room, self.connection.id).await;
                self.say(&ServerFrame::Left { room, code: Code::NotJoined }).await
            }
            ClientFrame::Command { id, room, expect, command } => {
                let actor = self.connection.actor.clone();
                self.command(Submission { room, actor, id, command, expect }).await
            }
            ClientFrame::Signal { room, signal } => {
                if !self.readers.contains_key(&room) {
                    return self.not_joined(room).await;
                }
                self.hub.signal(room, &self.connection.actor, Some(self.connection.id), signal);
                Ok(())
            }
            ClientFrame::Call { room, call, signal } => {
                if !self.readers.contains_key(&room) {
                    return self.not_joined(room).await;
                }
                self.hub.call(room, &self.connection, call, signal);
                Ok(())
            }
            ClientFrame::Mark { room, delivered, seen } => {
                if !self.readers.contains_key(&room) {
                    return self.not_joined(room).await;
                }
                self.hub.mark(room, &self.connection.actor, Some(self.connection.id), Mark { delivered, seen });
                Ok(())
            }
            ClientFrame::Subscribe { feed } => self.subscribe(feed).await,
            ClientFrame::Unsubscribe { feed } => {
                self.feeds.retain(|known| *known != feed);
                self.hub.feeds().unsubscribe(&self.connection, feed).await;
                Ok(())
            }
            ClientFrame::Beat {} => Ok(()),
        }
    }

    async fn renew(&mut self, token: &str) -> Result<(), End> {
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

    async fn join(&mut self, room: RoomId, after: u64) -> Result<(), End> {
        if !self.readers.contains_key(&room) && self.readers.len() >= MAX_ROOMS {
            return self.too_many(room, "leave a room first; at most 64 can be joined").await;
        }
        match self.hub.attach(room, &self.connection, after).await {
            Ok(Attach::Live { look, missing, head }) => {
                self.readers.insert(room, Reader::replaying(look.view, after));
                self.say(&ServerFrame::Joined { room, head: look.head, snapshot: Box::new(look.snapshot) }).await?;
                self.live(room, look.head, missing, head).await
            }
            Ok(Attach::Behind { look }) => {
                self.readers.insert(room, Reader::replaying(look.view, after));
                self.say(&ServerFrame::Joined { room, head: look.head, snapshot: Box::new(look.snapshot) }).await
            }
            Err(error) => self.complain(Some(room), &error).await,
        }
    }

    async fn command(&mut self, submission: Submission) -> Result<(), End> {
        let (id, room) = (submission.id, submission.room);
        let error = if matches!(submission.command, Command::Request(_)) {
            // Opening a room makes its id, so it has an answer of its own: `POST /v1/bookings`.
            SubmitError::from(Refusal::Forbidden)
        } else if self.connection.begin_command(MAX_IN_FLIGHT) {
            self.hub.submit_from(&self.connection, submission);
            return Ok(());
        } else {
            SubmitError::Unavailable
        };
        self.say(&ServerFrame::Error(ErrorFrame { id: Some(id), room: Some(room), ..error.frame() })).await
    }

    async fn subscribe(&mut self, feed: FeedName) -> Result<(), End> {
        if !self.feeds.contains(&feed) {
            if self.feeds.len() >= MAX_FEEDS {
                let why = "unsubscribe from a feed first; at most 16 can be followed";
                return self.complain(None, &Refusal::Invalid { field: "feed", why }.into()).await;
            }
            self.feeds.push(feed);
        }
        if let Err(error) = self.hub.feeds().subscribe(&self.connection, feed).await {
            self.feeds.retain(|known| *known != feed);
            self.complain(None, &error).await?;
        }
        Ok(())
    }

    async fn too_many(&mut self, room: RoomId, why: &'static str) -> Result<(), End> {
        self.complain(Some(room), &Refusal::Invalid { field: "room", why }.into()).await
    }

    async fn not_joined(&mut self, room: RoomId) -> Result<(), End> {
        let (code, message) = (Code::NotJoined, "join the room first".to_owned());
        let retryable = code.retryable();
        self.say(&ServerFrame::Error(ErrorFrame {
            id: None,
            room: Some(room),
            code,
            message,
            retryable,
            detail: Detail::default(),
        }))
        .await
    }
}
