//! The transport of frames: a trait, and its implementation over server-sent events.

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use rooms::wire::close::Close;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// How long a client may read nothing before the hub considers it disconnected.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum duration of the closing handshake.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Unsent events at which the session must flush.
const MAX_UNSENT_EVENTS: usize = 64;

/// A message from a client.
#[derive(Debug)]
pub enum Incoming {
    Text(Utf8Bytes),
    /// A ping or pong of the WebSocket itself, without content.
    Keepalive,
    /// A message that the protocol does not define.
    Unsupported,
    /// The connection has ended.
    End,
}

/// The client has disconnected or stopped reading.
#[derive(Debug)]
pub struct DisconnectedError;

/// A connection that carries frames.
pub trait FrameTransport: Send {
    /// Whether clients answer beats on this connection.
    const ANSWERS_BEATS: bool;

    /// Receives the next message from the client. Cancellation safe.
    fn next(&mut self) -> impl Future<Output = Incoming> + Send;

    /// Queues a frame until [`flush`](Self::flush), so that one system call sends several.
    fn write(&mut self, text: Bytes);

    /// Returns whether the caller should flush before it queues more.
    fn is_full(&self) -> bool;

    /// Sends all queued frames. After cancellation only [`close`](Self::close) may follow.
    fn flush(&mut self) -> impl Future<Output = Result<(), DisconnectedError>> + Send;

    /// Sends the reason and ends the connection.
    fn close(&mut self, why: Close) -> impl Future<Output = ()> + Send;
}

/// Server-sent events. The request's joins and subscriptions count as the first frames from the client.
pub struct EventStream {
    requested: std::vec::IntoIter<Utf8Bytes>,
    unsent: VecDeque<Bytes>,
    body: mpsc::Sender<Bytes>,
}

impl EventStream {
    /// Creates a stream that first receives the frames in `requested`, as if the client had sent them.
    pub fn new(requested: Vec<Utf8Bytes>, body: mpsc::Sender<Bytes>) -> Self {
        Self { requested: requested.into_iter(), unsent: VecDeque::new(), body }
    }
}

impl FrameTransport for EventStream {
    const ANSWERS_BEATS: bool = false;

    async fn next(&mut self) -> Incoming {
        match self.requested.next() {
            Some(text) => Incoming::Text(text),
            None => {
                self.body.closed().await;
                Incoming::End
            }
        }
    }

    fn write(&mut self, text: Bytes) {
        let mut event = Vec::with_capacity(text.len() + 8);
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(&text);
        event.extend_from_slice(b"\n\n");
        self.unsent.push_back(event.into());
    }

    fn is_full(&self) -> bool {
        self.unsent.len() >= MAX_UNSENT_EVENTS
    }

    async fn flush(&mut self) -> Result<(), DisconnectedError> {
        while let Some(event) = self.unsent.pop_front() {
            match timeout(WRITE_TIMEOUT, self.body.send(event)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(DisconnectedError),
            }
        }
        Ok(())
    }

    async fn close(&mut self, why: Close) {
        let event = format!("event: close\ndata: {{\"code\":{},\"reason\":\"{}\"}}\n\n", why.code(), why.reason());
        let _ = timeout(CLOSE_TIMEOUT, self.body.send(event.into())).await;
    }
}
