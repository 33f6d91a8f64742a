//! One connection of a person who has said who they are: frames in, frames out, time.

mod incoming;
mod outgoing;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::MonotonicClock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use rooms::id::RoomId;
use rooms::time::Timestamp;
use rooms::wire::MAX_FRAME_BYTES;
use rooms::wire::client::FeedName;
use rooms::wire::close::Close;
use rooms::wire::server::{ErrorFrame, Head, ServerFrame, Welcome};
use tokio::time::{Instant, sleep_until};

use super::reader::Readers;
use super::transport::{Gone, Transport};
use crate::auth::{Auth, Claims};
use crate::clock::Clock;
use crate::hub::connection::Connection;
use crate::hub::send_queue::SendQueue;
use crate::hub::{Hub, SubmitError};

/// How often the hub says that it is alive.
pub const BEAT: Duration = Duration::from_secs(15);
/// A client that was not heard for this long is closed.
const SILENCE: Duration = Duration::from_secs(25);
/// How long before its end a token is warned of.
const WARNING: Duration = Duration::from_secs(60);
/// Frames a second a client may send for long, and at once.
const RATE: NonZeroU32 = NonZeroU32::new(50).expect("50 is not 0");
const BURST: NonZeroU32 = NonZeroU32::new(200).expect("200 is not 0");

/// How many frames come. By the system's clock: making the library's own for each connection asks the processor what it can
/// do, which takes long in a virtual machine.
type Limiter = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<std::time::Instant>>;

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
    readers: Readers,
    feeds: Vec<FeedName>,
    expires_at: Timestamp,
    warned: bool,
    heard: Instant,
    beat: Instant,
    limiter: Limiter,
    faults: u32,
}

impl<T: Transport> Session<T> {
    /// A session that begins with the client's welcome.
    pub fn new(hub: Hub, auth: Auth, clock: Clock, transport: T, connection: Arc<Connection>, claims: &Claims) -> Self {
        let now = Instant::now();
        // The first beat comes at a time of its own, so that the beats of many who came back together spread.
        let first = BEAT.mul_f64(f64::from(connection.id.as_fields().2) / f64::from(u16::MAX));
        let mut session = Self {
            hub,
            auth,
            clock,
            transport,
            connection,
            readers: Readers::default(),
            feeds: Vec::new(),
            expires_at: claims.expires_at,
            warned: false,
            heard: now,
            beat: now + first,
            limiter: RateLimiter::direct_with_clock(Quota::per_second(RATE).allow_burst(BURST), MonotonicClock),
            faults: 0,
        };
        session.welcome(claims);
        session
    }

    fn welcome(&mut self, claims: &Claims) {
        self.say(&ServerFrame::Welcome(Welcome {
            connection: self.connection.id.to_string(),
            session: claims.session,
            user: claims.user,
            name: claims.name.as_str().to_owned(),
            role: claims.role,
            now: self.clock.now(),
            token_expires_at: claims.expires_at,
            beat_ms: u64::try_from(BEAT.as_millis()).unwrap_or(u64::MAX),
            max_frame: MAX_FRAME_BYTES,
        }));
    }

    /// Serves the client until one side ends it.
    pub async fn run(mut self: Box<Self>) {
        let end = self.serve().await;
        // Boxed, as everything that most connections never or rarely wait for, so that an idle one stays small.
        Box::pin(self.finish(end)).await;
    }

    async fn finish(self: Box<Self>, end: End) {
        let Self { hub, mut transport, connection, readers, feeds, .. } = *self;
        let leave = async {
            hub.disconnect_queue().wait_turn().await;
            for room in readers.rooms() {
                hub.detach(room, connection.id).await;
            }
            for feed in feeds {
                hub.feeds().unsubscribe(&connection, feed).await;
            }
            // It counts no more, however long a client that is gone leaves the closing handshake unanswered.
            hub.connections().remove(connection.id);
        };
        let tell = async {
            if let End::Close(why) = end {
                tracing::debug!(connection = %connection.id, code = why.code(), "connection closed by the hub");
                transport.close(why).await;
            }
        };
        // Side by side: where many are sent away at once, nobody waits for a turn to leave before learning of it.
        tokio::join!(leave, tell);
    }

    async fn serve(&mut self) -> End {
        loop {
            // First, so that the welcome goes out.
            if let Err(end) = self.drain().await {
                return end;
            }
            let replaying = self.readers.replaying().is_some();
            let deadline = self.deadline();
            let step = tokio::select! {
                biased;
                incoming = self.transport.next() => match self.incoming(incoming) {
                    Ok(None) => Ok(()),
                    Ok(Some(frame)) => Box::pin(self.look_into(frame)).await,
                    Err(end) => Err(end),
                },
                () = self.connection.send_queue.ready() => Ok(()),
                () = sleep_until(deadline) => Box::pin(self.tick()).await,
                () = std::future::ready(()), if replaying => Box::pin(self.replay()).await,
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    // --- out ---

    /// Hands a frame over; it goes out when what is at hand is done.
    fn say(&mut self, frame: &ServerFrame) {
        self.transport.write(frame.encode().into());
    }

    fn complain(&mut self, room: Option<RoomId>, error: &SubmitError) {
        self.say(&ServerFrame::Error(ErrorFrame { room, ..error.frame() }));
    }

    async fn flush(&mut self) -> Result<(), End> {
        unless_closed(&self.connection.send_queue, self.transport.flush()).await
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
            self.say(&ServerFrame::Expiring { at: self.expires_at });
        }
        if now >= self.beat {
            self.beat = now + BEAT;
            self.send_beat().await?;
        }
        Ok(())
    }

    async fn send_beat(&mut self) -> Result<(), End> {
        let mut heads: Vec<_> = self.readers.heads().map(|(room, head)| Head { room, head }).collect();
        // What the beat names goes out before it, or the client would take it for lost and join again.
        self.drain().await?;
        heads.retain(|Head { room, .. }| self.readers.get_mut(*room).is_some_and(|reader| !reader.is_replaying()));
        self.say(&ServerFrame::Beat { at: self.clock.now(), heads });
        Ok(())
    }
}

/// Waits for a write. A client that does not read can keep it waiting for long; when its outbox overflows meanwhile, or
/// it is closed from outside, there is nothing to wait for any more.
async fn unless_closed(send_queue: &SendQueue, write: impl Future<Output = Result<(), Gone>>) -> Result<(), End> {
    let mut write = std::pin::pin!(write);
    loop {
        tokio::select! {
            biased;
            written = write.as_mut() => return Ok(written?),
            () = send_queue.ready() => {
                if let Some(why) = send_queue.closed() {
                    return Err(End::Close(why));
                }
            }
        }
    }
}
