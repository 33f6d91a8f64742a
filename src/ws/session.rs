//! The session of an authenticated client: receives frames, sends frames, and keeps time.

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

pub use self::incoming::{MAX_FEEDS, MAX_ROOMS};
use super::joined_rooms::JoinedRooms;
use super::transport::{DisconnectedError, FrameTransport};
use crate::auth::{Auth, Claims};
use crate::clock::Clock;
use crate::hub::connection::Connection;
use crate::hub::send_queue::SendQueue;
use crate::hub::{Hub, SubmitError};
use crate::telemetry::panics::contain;
use crate::telemetry::security::{self, SecurityEvent};

/// Interval between two beats from the hub.
const BEAT_INTERVAL: Duration = Duration::from_secs(15);
/// The hub closes a connection that has received nothing for this long.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(25);
/// How long before its token expires the hub warns the client.
const EXPIRY_WARNING_TIME: Duration = Duration::from_secs(60);
/// Frames per second that a client may send on average, and in a burst.
const FRAMES_PER_SECOND: NonZeroU32 = NonZeroU32::new(50).expect("50 is not 0");
const MAX_BURST_FRAMES: NonZeroU32 = NonZeroU32::new(200).expect("200 is not 0");
/// Rejected frames over that rate that the hub tolerates: a second, and at once. A client that keeps 16 commands in flight
/// and pauses for a second after `rate_limited` has at most 16 frames rejected a second, however many it has to send.
const EXCESS_FRAMES_PER_SECOND: NonZeroU32 = NonZeroU32::new(20).expect("20 is not 0");
const MAX_EXCESS_FRAMES: NonZeroU32 = NonZeroU32::new(100).expect("100 is not 0");

/// Limits the rate of received frames. It uses the system's clock, because creating the library's own clock per connection
/// executes CPUID, which is slow in a virtual machine.
type FrameRateLimiter = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<std::time::Instant>>;

/// Why a session ended.
enum SessionEnd {
    /// The client has disconnected and receives no close frame.
    Disconnected,
    Close(Close),
}

impl From<DisconnectedError> for SessionEnd {
    fn from(_: DisconnectedError) -> Self {
        SessionEnd::Disconnected
    }
}

/// A running session.
pub struct RealtimeSession<T> {
    hub: Hub,
    auth: Auth,
    clock: Clock,
    transport: T,
    connection: Arc<Connection>,
    rooms: JoinedRooms,
    feeds: Vec<FeedName>,
    expires_at: Timestamp,
    has_warned: bool,
    last_received_at: Instant,
    next_beat_at: Instant,
    limiter: FrameRateLimiter,
    /// Frames over the rate that are forgiven.
    excess: FrameRateLimiter,
    malformed: u32,
}

impl<T: FrameTransport> RealtimeSession<T> {
    /// Creates a session and queues the client's welcome.
    pub fn new(hub: Hub, auth: Auth, clock: Clock, transport: T, connection: Arc<Connection>, claims: &Claims) -> Self {
        let now = Instant::now();
        // A random delay of the first beat spreads the beats of clients that reconnected together.
        let first_delay = BEAT_INTERVAL.mul_f64(f64::from(connection.id.as_fields().2) / f64::from(u16::MAX));
        let quota = Quota::per_second(FRAMES_PER_SECOND).allow_burst(MAX_BURST_FRAMES);
        let excess = Quota::per_second(EXCESS_FRAMES_PER_SECOND).allow_burst(MAX_EXCESS_FRAMES);
        let mut session = Self {
            hub,
            auth,
            clock,
            transport,
            connection,
            rooms: JoinedRooms::default(),
            feeds: Vec::new(),
            expires_at: claims.expires_at,
            has_warned: false,
            last_received_at: now,
            next_beat_at: now + first_delay,
            limiter: RateLimiter::direct_with_clock(quota, MonotonicClock),
            excess: RateLimiter::direct_with_clock(excess, MonotonicClock),
            malformed: 0,
        };
        session.send_welcome(claims);
        session
    }

    fn send_welcome(&mut self, claims: &Claims) {
        self.send(&ServerFrame::Welcome(Welcome {
            connection: self.connection.id.to_string(),
            session: claims.session,
            user: claims.user,
            name: claims.name.as_str().to_owned(),
            role: claims.role,
            now: self.clock.now(),
            token_expires_at: claims.expires_at,
            beat_ms: u64::try_from(BEAT_INTERVAL.as_millis()).unwrap_or(u64::MAX),
            max_frame: MAX_FRAME_BYTES,
        }));
    }

    /// Serves the client until either side ends the session.
    pub async fn run(mut self: Box<Self>) {
        // After a panic too: a session that does not leave its rooms would count as present for ever.
        let end = contain(self.serve()).await.unwrap_or(SessionEnd::Close(Close::Failure));
        // Boxed, like every future that connections rarely await, so that an idle connection stays small.
        Box::pin(self.finish(end)).await;
    }

    async fn finish(self: Box<Self>, end: SessionEnd) {
        let Self { hub, mut transport, connection, rooms, feeds, .. } = *self;
        let leave = async {
            hub.disconnect_queue().wait_turn().await;
            for room in rooms.ids() {
                hub.detach(room, connection.id).await;
            }
            for feed in feeds {
                hub.feeds().unsubscribe(&connection, feed).await;
            }
            // Frees the connection's slot even if the client never completes the closing handshake.
            hub.connections().remove(connection.id);
        };
        let close = async {
            if let SessionEnd::Close(why) = end {
                if why == Close::Flood {
                    security::record(
                        SecurityEvent::FloodClosed,
                        Some(connection.user),
                        Some(connection.address),
                        "socket",
                    );
                }
                tracing::debug!(connection = %connection.id, code = why.code(), "connection closed by hub");
                transport.close(why).await;
            }
        };
        // Concurrently: when the hub closes many connections at once, no client waits in the queue for its close frame.
        tokio::join!(leave, close);
    }

    async fn serve(&mut self) -> SessionEnd {
        loop {
            // Before the first wait, so that the welcome is sent.
            if let Err(end) = self.drain_send_queue().await {
                return end;
            }
            let is_replaying = self.rooms.first_replay().is_some();
            let deadline = self.deadline();
            let step = tokio::select! {
                biased;
                incoming = self.transport.next() => match self.receive(incoming) {
                    Ok(None) => Ok(()),
                    Ok(Some(frame)) => Box::pin(self.handle_async(frame)).await,
                    Err(end) => Err(end),
                },
                () = self.connection.send_queue.ready() => Ok(()),
                () = sleep_until(deadline) => Box::pin(self.tick()).await,
                () = std::future::ready(()), if is_replaying => Box::pin(self.replay_page()).await,
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    // --- Sending ---

    /// Queues a frame; the next flush sends it.
    fn send(&mut self, frame: &ServerFrame) {
        self.transport.write(frame.encode().into());
    }

    fn send_error(&mut self, room: Option<RoomId>, error: &SubmitError) {
        self.send(&ServerFrame::Error(ErrorFrame { room, ..error.frame() }));
    }

    async fn flush(&mut self) -> Result<(), SessionEnd> {
        unless_closed(&self.connection.send_queue, self.transport.flush()).await
    }

    // --- Time ---

    fn deadline(&self) -> Instant {
        let mut next = self.next_beat_at;
        if T::ANSWERS_BEATS {
            next = next.min(self.last_received_at + RECEIVE_TIMEOUT);
        }
        let now = self.clock.now();
        let expiry = if self.has_warned { self.expires_at } else { self.warning_at() };
        next.min(Instant::now() + expiry.since(now))
    }

    fn warning_at(&self) -> Timestamp {
        let micros = i64::try_from(EXPIRY_WARNING_TIME.as_micros()).unwrap_or(0);
        Timestamp::from_micros(self.expires_at.micros() - micros)
    }

    async fn tick(&mut self) -> Result<(), SessionEnd> {
        let (now, wall_clock) = (Instant::now(), self.clock.now());
        if wall_clock >= self.expires_at {
            return Err(SessionEnd::Close(Close::TokenExpired));
        }
        if T::ANSWERS_BEATS && now >= self.last_received_at + RECEIVE_TIMEOUT {
            return Err(SessionEnd::Close(Close::Silent));
        }
        if !self.has_warned && wall_clock >= self.warning_at() {
            self.has_warned = true;
            self.send(&ServerFrame::Expiring { at: self.expires_at });
        }
        if now >= self.next_beat_at {
            self.next_beat_at = now + BEAT_INTERVAL;
            self.send_beat().await?;
        }
        Ok(())
    }

    async fn send_beat(&mut self) -> Result<(), SessionEnd> {
        let mut heads: Vec<_> = self.rooms.heads().map(|(room, head)| Head { room, head }).collect();
        // Send the events up to these heads first, or the client would consider them lost and join again.
        self.drain_send_queue().await?;
        heads.retain(|Head { room, .. }| self.rooms.get_mut(*room).is_some_and(|joined| !joined.is_replaying()));
        self.send(&ServerFrame::Beat { at: self.clock.now(), heads });
        Ok(())
    }
}

/// Awaits a write, or the closing of the send queue. A slow client can block the write; meanwhile its queue may overflow or
/// the hub may close the connection.
async fn unless_closed(
    send_queue: &SendQueue,
    write: impl Future<Output = Result<(), DisconnectedError>>,
) -> Result<(), SessionEnd> {
    let mut write = std::pin::pin!(write);
    loop {
        tokio::select! {
            biased;
            written = write.as_mut() => return Ok(written?),
            () = send_queue.ready() => {
                if let Some(why) = send_queue.closed() {
                    return Err(SessionEnd::Close(why));
                }
            }
        }
    }
}
