//! How frames get to a client and from it.

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use rooms::wire::close::Close;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// How long a client may take nothing before it counts as gone.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the closing handshake may take.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Events that may wait before they must be written.
const FULL: usize = 64;

/// What came from a client.
#[derive(Debug)]
pub enum Incoming {
    Text(Utf8Bytes),
    /// Proof of life without content: a ping or a pong of the WebSocket itself.
    Alive,
    /// Something the protocol does not have.
    Foreign,
    /// The connection is over.
    End,
}

/// The client can no longer be reached, or does not read.
#[derive(Debug)]
pub struct Gone;

/// One way to carry frames.
pub trait Transport: Send {
    /// Whether the client can be expected to answer beats on this connection.
    const ANSWERS: bool;

    /// Waits for the next thing from the client. Dropping the future loses nothing.
    fn next(&mut self) -> impl Future<Output = Incoming> + Send;

    /// Hands a frame over; it waits until [`flush`](Self::flush), so that several go out together.
    fn write(&mut self, text: Bytes);

    /// Whether so much waits that it should be sent before more is handed over.
    fn is_full(&self) -> bool;

    /// Sends what waits. Where this is given up, only [`close`](Self::close) may follow.
    fn flush(&mut self) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Says why and ends the connection.
    fn close(&mut self, why: Close) -> impl Future<Output = ()> + Send;
}

/// Server-sent events: frames go down a stream, and what the client asked for in its request comes first.
pub struct EventStream {
    asked: std::vec::IntoIter<Utf8Bytes>,
    unsent: VecDeque<Bytes>,
    down: mpsc::Sender<Bytes>,
}

impl EventStream {
    /// A stream that starts with the frames in `asked`, as if the client had sent them.
    pub fn new(asked: Vec<Utf8Bytes>, down: mpsc::Sender<Bytes>) -> Self {
        Self { asked: asked.into_iter(), unsent: VecDeque::new(), down }
    }
}

impl Transport for EventStream {
    const ANSWERS: bool = false;

    async fn next(&mut self) -> Incoming {
        match self.asked.next() {
            Some(text) => Incoming::Text(text),
            None => {
                self.down.closed().await;
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
        self.unsent.len() >= FULL
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        while let Some(event) = self.unsent.pop_front() {
            match timeout(WRITE_TIMEOUT, self.down.send(event)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(Gone),
            }
        }
        Ok(())
    }

    async fn close(&mut self, why: Close) {
        let event = format!("event: close\ndata: {{\"code\":{},\"reason\":\"{}\"}}\n\n", why.code(), why.reason());
        let _ = timeout(CLOSE_TIMEOUT, self.down.send(event.into())).await;
    }
}
