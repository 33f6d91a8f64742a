//! One connection of a person who has said who they are: frames in, frames out, time.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use rooms::command::Command;
use rooms::feed::Offer;
use rooms::id::RoomId;
use rooms::refusal::{Detail, Refusal};
use rooms::signal::Mark;
use rooms::time::Timestamp;
use rooms::wire::MAX_FRAME;
use rooms::wire::client::{ClientFrame, FeedName};
use rooms::wire::close::Close;
use rooms::wire::code::Code;
use rooms::wire::explain::explain;
use rooms::wire::server::{ErrorFrame, Head, ServerFrame, Welcome, event_frame};
use tokio::time::{Instant, sleep_until};

use super::reader::{Reader, State};
use super::transport::{Gone, Incoming, Transport};
use crate::auth::{Auth, Claims};
use crate::clock::Clock;
use crate::hub::connection::Connection;
use crate::hub::outbox::{Out, Outbox};
use crate::hub::room::Attach;
use crate::hub::{Hub, Submission, SubmitError};

/// How often the hub says that it is alive.
pub const BEAT: Duration = Duration::from_secs(15);
/// A client that was not heard for this long is closed.
const SILENCE: Duration = Duration::from_secs(25);
/// How long before its end a token is warned of.
const WARNING: Duration = Duration::from_secs(60);
/// Frames a second a client may send for long, and at once.
const RATE: NonZeroU32 = NonZeroU32::new(50).expect("50 is not 0");
const BURST: NonZeroU32 = NonZeroU32::new(200).expect("200 is not 0");
/// Frames beyond the rate, or that make no sense, until the connection is closed.
const MAX_FAULTS: u32 = 100;
/// Commands of one connection that may be unanswered.
const MAX_IN_FLIGHT: u32 = 64;
/// Rooms and feeds one connection may have open.
const MAX_ROOMS: usize = 64;
const MAX_FEEDS: usize = 16;
/// Events that are replayed between two looks at what the client sends.
const PAGE: u32 = 64;

/// Why a session ended.
enum End {
    /// The client is gone; there is nobody to tell.
    Gone,
    Close(Close),
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        End::Gone
    }
}

/// A running session.
pub struct Session<T> {
    hub: Hub,
    auth: Auth,
    clock: Clock,
    transport: T,
    connection: Arc<Connection>,
    readers: BTreeMap<RoomId, Reader>,
    feeds: Vec<FeedName>,
    expires_at: Timestamp,
    warned: bool,
    heard: Instant,
    beat: Instant,
    limiter: DefaultDirectRateLimiter,
    faults: u32,
}

impl<T: Transport> Session<T> {
    pub fn new(
        hub: Hub,
        auth: Auth,
        clock: Clock,
        transport: T,
        connection: Arc<Connection>,
        expires_at: Timestamp,
    ) -> Self {
        let now = Instant::now();
        // The first beat comes at a time of its own, so that the beats of many who came back together spread.
        let first = BEAT.mul_f64(f64::from(connection.id.as_fields().2) / f64::from(u16::MAX));
        Self {
            hub,
            auth,
            clock,
            transport,
            connection,
            readers: BTreeMap::new(),
            feeds: Vec::new(),
            expires_at,
            warned: false,
            heard: now,
            beat: now + first,
            limiter: RateLimiter::direct(Quota::per_second(RATE).allow_burst(BURST)),
            faults: 0,
        }
    }

    /// Serves the client until one side ends it.
    pub async fn run(mut self, claims: &Claims) {
        let end = match self.welcome(claims).await {
            Ok(()) => self.serve().await,
            Err(end) => end,
        };
        for room in self.readers.keys() {
            self.hub.detach(*room, self.connection.id).await;
        }
        for feed in std::mem::take(&mut self.feeds) {
            self.hub.feeds().unsubscribe(&self.connection, feed).await;
        }
        // It counts no more, however long a client that is gone leaves the closing handshake unanswered.
        self.hub.connections().remove(self.connection.id);
        if let End::Close(why) = end {
            tracing::debug!(connection = %self.connection.id, code = why.code(), "connection closed by the hub");
            self.transport.close(why).await;
        }
    }

    async fn welcome(&mut self, claims: &Claims) -> Result<(), End> {
        let welcome = ServerFrame::Welcome(Welcome {
            connection: self.connection.id.to_string(),
            session: claims.session,
            user: claims.user,
            name: claims.name.as_str().to_owned(),
            role: claims.role,
            now: self.clock.now(),
            token_expires_at: claims.expires_at,
            beat_ms: u64::try_from(BEAT.as_millis()).unwrap_or(u64::MAX),
            max_frame: MAX_FRAME,
        });
        self.say(&welcome).await?;
        self.flush().await
    }

    async fn serve(&mut self) -> End {
        loop {
            let replaying = self.readers.values().any(Reader::is_replaying);
            let deadline = self.deadline();
            let step = tokio::select! {
                biased;
                incoming = self.transport.next() => self.incoming(incoming).await,
                () = self.connection.outbox.ready() => Ok(()),
                () = sleep_until(deadline) => self.tick().await,
                () = std::future::ready(()), if replaying => self.replay().await,
            };
            let step = match step {
                Ok(()) => self.drain().await,
                Err(end) => Err(end),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    // --- out ---

    async fn say(&mut self, frame: &ServerFrame) -> Result<(), End> {
        self.put(frame.encode().into()).await
    }

    async fn put(&mut self, text: Bytes) -> Result<(), End> {
        unless_closed(&self.connection.outbox, self.transport.write(text)).await
    }

    async fn flush(&mut self) -> Result<(), End> {
        unless_closed(&self.connection.outbox, self.transport.flush()).await
    }

    async fn complain(&mut self, room: Option<RoomId>, error: &SubmitError) -> Result<(), End> {
        self.say(&ServerFrame::Error(ErrorFrame { room, ..error.frame() })).await
    }

    /// Writes what waits in the outbox.
    async fn drain(&mut self) -> Result<(), End> {
        while let Some(out) = self.connection.outbox.take() {
            match out.map_err(End::Close)? {
                Out::Frame(text) => self.put(text).await?,
                Out::Event { room, prev, seq, text } => self.deliver(room, prev, seq, text).await?,
                Out::Left(room) => {
                    self.readers.remove(&room);
                    self.say(&ServerFrame::Left { room, code: Code::Forbidden }).await?;
                }
            }
        }
        self.flush().await
    }

    /// Writes an event if it follows on what the client has; after a gap the store is read.
    async fn deliver(&mut self, room: RoomId, prev: u64, seq: u64, text: Bytes) -> Result<(), End> {
        let Some(reader) = self.readers.get_mut(&room) else { return Ok(()) };
        match reader.feed.offer(prev, seq) {
            Offer::Deliver => self.put(text).await?,
            Offer::Repeat => {}
            Offer::Gap => {
                if !reader.is_replaying() {
                    reader.state = State::Replaying { raw: reader.feed.cursor() };
                }
            }
        }
        Ok(())
    }

    /// Sends one page of what a reader lacks, and lets it go live when there is no more.
    async fn replay(&mut self) -> Result<(), End> {
        let Some((room, raw)) = self.readers.iter().find_map(|(room, reader)| match reader.state {
            State::Replaying { raw } => Some((*room, raw)),
            State::Live { .. } => None,
        }) else {
            return Ok(());
        };
        let Ok(page) = self.hub.store().events_after(room, raw, PAGE).await else {
            return Err(End::Close(Close::Failure));
        };
        let last = page.len() < PAGE as usize;
        for stored in &page {
            let Some(reader) = self.readers.get_mut(&room) else { return Ok(()) };
            reader.state = State::Replaying { raw: stored.seq };
            let prev = reader.feed.cursor();
            if stored.seq > prev
                && reader.may_see(&stored.canonical)
                && reader.feed.offer(prev, stored.seq) == Offer::Deliver
            {
                self.put(event_frame(room, prev, &stored.canonical).into()).await?;
            }
        }
        if last { self.go_live(room).await } else { Ok(()) }
    }

    async fn go_live(&mut self, room: RoomId) -> Result<(), End> {
        let Some(cursor) = self.readers.get(&room).map(|reader| reader.feed.cursor()) else { return Ok(()) };
        match self.hub.attach(room, &self.connection, cursor).await {
            Ok(Attach::Live { look, missing, head }) => self.live(room, look.head, missing, head).await,
            Ok(Attach::Behind { .. }) => Ok(()),
            Err(error) => self.put_out(room, &error).await,
        }
    }

    async fn live(
        &mut self,
        room: RoomId,
        at: u64,
        missing: Vec<crate::hub::Sent>,
        head: Arc<std::sync::atomic::AtomicU64>,
    ) -> Result<(), End> {
        for sent in missing {
            self.deliver(room, sent.prev, sent.seq, sent.text).await?;
        }
        if let Some(reader) = self.readers.get_mut(&room) {
            reader.state = State::Live { head };
        }
        self.say(&ServerFrame::Live { room, head: at }).await
    }

    /// Ends a reader that has no right to the room any more, or cannot be served.
    async fn put_out(&mut self, room: RoomId, error: &SubmitError) -> Result<(), End> {
        self.readers.remove(&room);
        self.hub.detach(room, self.connection.id).await;
        self.say(&ServerFrame::Left { room, code: error.code() }).await
    }

    // --- time ---

    fn deadline(&self) -> Instant {
        let mut next = self.beat;
        if T::ANSWERS {
            next = next.min(self.heard + SILENCE);
        }
        let now = self.clock.now();
        let ends = if self.warned { self.expires_at } else { self.warning_at() };
        next.min(Instant::now() + ends.since(now))
    }

    fn warning_at(&self) -> Timestamp {
        let micros = i64::try_from(WARNING.as_micros()).unwrap_or(0);
        Timestamp::from_micros(self.expires_at.micros() - micros)
    }

    async fn tick(&mut self) -> Result<(), End> {
        let now = Instant::now();
        let clock = self.clock.now();
        if clock >= self.expires_at {
            return Err(End::Close(Close::TokenExpired));
        }
        if T::ANSWERS && now >= self.heard + SILENCE {
            return Err(End::Close(Close::Silent));
        }
        if !self.warned && clock >= self.warning_at() {
            self.warned = true;
            self.say(&ServerFrame::Expiring { at: self.expires_at }).await?;
        }
        if now >= self.beat {
            self.beat = now + BEAT;
            self.send_beat().await?;
        }
        Ok(())
    }

    async fn send_beat(&mut self) -> Result<(), End> {
        let heads = self
            .readers
            .iter()
            .filter_map(|(room, reader)| reader.head().map(|head| Head { room: *room, head }))
            .collect();
        self.say(&ServerFrame::Beat { at: self.clock.now(), heads }).await
    }

    // --- in ---

    async fn incoming(&mut self, incoming: Incoming) -> Result<(), End> {
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
            id: Option<rooms::id::CommandId>,
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

/// Waits for a write. A client that does not read can keep it waiting for long; when its outbox overflows meanwhile, or
/// it is closed from outside, there is nothing to wait for any more.
async fn unless_closed(outbox: &Outbox, write: impl Future<Output = Result<(), Gone>>) -> Result<(), End> {
    let mut write = std::pin::pin!(write);
    loop {
        tokio::select! {
            biased;
            written = write.as_mut() => return Ok(written?),
            () = outbox.ready() => {
                if let Some(why) = outbox.closed() {
                    return Err(End::Close(why));
                }
            }
        }
    }
}
