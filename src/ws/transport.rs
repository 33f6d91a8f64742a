//! How frames get to a client and from it.

use std::future::Future;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use bytes::Bytes;
use futures_util::SinkExt;
use rooms::wire::close::Close;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite;

/// How long one write may take before the reader counts as too slow.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the closing handshake may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

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

    /// Hands a frame over; it may stay in a buffer until [`flush`](Self::flush).
    fn write(&mut self, text: Bytes) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Sends what is in the buffer.
    fn flush(&mut self) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Says why and ends the connection.
    fn close(&mut self, why: Close) -> impl Future<Output = ()> + Send;
}

impl Transport for WebSocket {
    const ANSWERS: bool = true;

    async fn next(&mut self) -> Incoming {
        match self.recv().await {
            Some(Ok(Message::Text(text))) => Incoming::Text(text),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Incoming::Alive,
            Some(Ok(Message::Binary(_))) => Incoming::Foreign,
            // The handshake of closing is answered by the library while the stream is read to its end.
            Some(Ok(Message::Close(_))) => {
                let _ = timeout(CLOSE_TIMEOUT, async { while let Some(Ok(_)) = self.recv().await {} }).await;
                Incoming::End
            }
            Some(Err(error)) => {
                let error = error.into_inner();
                match error.downcast_ref::<tungstenite::Error>() {
                    Some(
                        tungstenite::Error::Capacity(_) | tungstenite::Error::Utf8(_) | tungstenite::Error::Protocol(_),
                    ) => Incoming::Foreign,
                    _ => Incoming::End,
                }
            }
            None => Incoming::End,
        }
    }

    async fn write(&mut self, text: Bytes) -> Result<(), Gone> {
        let text = Utf8Bytes::try_from(text).map_err(|_| Gone)?;
        within(self.feed(Message::Text(text))).await
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        within(SinkExt::<Message>::flush(self)).await
    }

    async fn close(&mut self, why: Close) {
        let frame = CloseFrame { code: why.code(), reason: why.reason().into() };
        let _ = timeout(CLOSE_TIMEOUT, async {
            if self.send(Message::Close(Some(frame))).await.is_ok() {
                // The peer's answer ends the stream; leaving earlier would reset the connection under it.
                while let Some(Ok(_)) = self.recv().await {}
            }
        })
        .await;
    }
}

async fn within<E>(write: impl Future<Output = Result<(), E>>) -> Result<(), Gone> {
    match timeout(WRITE_TIMEOUT, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Gone),
    }
}

/// Server-sent events: frames go down a stream, and what the client asked for in its request comes first.
pub struct EventStream {
    asked: std::vec::IntoIter<Utf8Bytes>,
    down: mpsc::Sender<Bytes>,
}

impl EventStream {
    /// A stream that starts with the frames in `asked`, as if the client had sent them.
    pub fn new(asked: Vec<Utf8Bytes>, down: mpsc::Sender<Bytes>) -> Self {
        Self { asked: asked.into_iter(), down }
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

    async fn write(&mut self, text: Bytes) -> Result<(), Gone> {
        let mut event = Vec::with_capacity(text.len() + 8);
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(&text);
        event.extend_from_slice(b"\n\n");
        within(self.down.send(event.into())).await
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        Ok(())
    }

    async fn close(&mut self, why: Close) {
        let event = format!("event: close\ndata: {{\"code\":{},\"reason\":\"{}\"}}\n\n", why.code(), why.reason());
        let _ = timeout(CLOSE_TIMEOUT, self.down.send(event.into())).await;
    }
}
