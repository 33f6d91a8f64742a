//! The WebSocket transport.
//!
//! Tungstenite reads: it handles masks, fragments, pings and the closing handshake. This module writes text frames itself,
//! as a short header and the shared text. An idle connection therefore keeps no write buffer.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use rooms::wire::MAX_FRAME_BYTES;
use rooms::wire::close::Close;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocket, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::read_allowance::ReadAllowance;
use super::transport::{CLOSE_TIMEOUT, DisconnectedError, FrameTransport, Incoming, WRITE_TIMEOUT};

/// Size of the read buffer, which an idle connection keeps. Larger frames take several reads.
const READ_BUFFER_BYTES: usize = 1024;
/// Size of the library's write buffer. The library writes only pongs and the close frame.
const WRITE_BUFFER_BYTES: usize = 512;
/// Maximum number of frames per vectored write.
const MAX_FRAMES_PER_WRITE: usize = 32;
/// Unsent bytes at which the session must flush.
const MAX_UNSENT_BYTES: usize = 32 * 1024;

/// A client's socket after the upgrade.
pub struct Socket {
    inner: WebSocket<Tcp>,
    unsent: VecDeque<TextFrame>,
    /// Bytes of the first unsent frame that were already written.
    partially_written: usize,
    unsent_bytes: usize,
    /// Set after the client has violated the protocol. The library may have lost its position in the stream, so the socket
    /// no longer reads through it.
    is_out_of_sync: bool,
}

impl Socket {
    /// Wraps an upgraded stream. `read_ahead` holds the bytes that were read past the request's header.
    pub fn new(stream: TcpStream, read_ahead: Vec<u8>) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER_BYTES)
            .max_message_size(Some(MAX_FRAME_BYTES))
            .max_frame_size(Some(MAX_FRAME_BYTES));
        let inner = WebSocket::from_partially_read(
            Tcp { stream, waker: Waker::noop().clone(), allowance: ReadAllowance::default() },
            read_ahead,
            Role::Server,
            Some(config),
        );
        Self { inner, unsent: VecDeque::new(), partially_written: 0, unsent_bytes: 0, is_out_of_sync: false }
    }

    /// Writes as much as the kernel accepts now. Returns whether everything was written.
    fn try_flush(&mut self) -> Result<bool, DisconnectedError> {
        // A pong must not be written between the parts of a frame.
        if self.partially_written == 0 && !self.try_flush_inner()? {
            return Ok(false);
        }
        while !self.unsent.is_empty() {
            match self.try_write_frames() {
                Ok(0) => return Err(DisconnectedError),
                Ok(sent) => self.advance(sent),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(_) => return Err(DisconnectedError),
            }
        }
        // An idle connection must not keep the capacity that a burst needed.
        self.unsent = VecDeque::new();
        Ok(true)
    }

    fn try_flush_inner(&mut self) -> Result<bool, DisconnectedError> {
        match self.inner.flush() {
            Ok(()) => Ok(true),
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(_) => Err(DisconnectedError),
        }
    }

    fn try_write_frames(&self) -> io::Result<usize> {
        const EMPTY: &[u8] = &[];
        let mut slices = [IoSlice::new(EMPTY); MAX_FRAMES_PER_WRITE * 2];
        let mut used = 0;
        let mut skip = self.partially_written;
        for frame in self.unsent.iter().take(MAX_FRAMES_PER_WRITE) {
            for part in [frame.header(), &frame.text[..]] {
                slices[used] = IoSlice::new(&part[skip.min(part.len())..]);
                skip = skip.saturating_sub(part.len());
                used += 1;
            }
        }
        self.inner.get_ref().stream.try_write_vectored(&slices[..used])
    }

    fn advance(&mut self, sent: usize) {
        self.unsent_bytes -= sent;
        self.partially_written += sent;
        while let Some(first) = self.unsent.front()
            && self.partially_written >= first.len()
        {
            self.partially_written -= first.len();
            self.unsent.pop_front();
        }
    }

    /// Writes all unsent frames. The timeout restarts whenever the client reads something.
    async fn flush_all(&mut self) -> Result<(), DisconnectedError> {
        while !self.try_flush()? {
            self.wait_until_writable().await?;
        }
        Ok(())
    }

    async fn wait_until_writable(&self) -> Result<(), DisconnectedError> {
        match timeout(WRITE_TIMEOUT, self.inner.get_ref().stream.writable()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(DisconnectedError),
        }
    }

    async fn receive(&mut self) -> Result<Message, Error> {
        let received = poll_fn(|context| {
            self.inner.get_mut().waker.clone_from(context.waker());
            match self.inner.read() {
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
                received => Poll::Ready(received),
            }
        })
        .await;
        self.is_out_of_sync |= matches!(received, Err(Error::Capacity(_) | Error::Utf8(_) | Error::Protocol(_)));
        received
    }

    /// Reads until the stream ends, while the library completes the closing handshake.
    async fn read_to_end(&mut self) {
        while !self.is_out_of_sync && self.receive().await.is_ok() {}
        if self.is_out_of_sync {
            self.discard_input().await;
        }
    }

    /// Shuts down the write side, then discards input until the client closes its side. Closing a stream with unread input
    /// resets it, and the client would not receive the close frame.
    async fn discard_input(&mut self) {
        let (stream, mut buffer) = (&mut self.inner.get_mut().stream, [0; READ_BUFFER_BYTES]);
        if stream.shutdown().await.is_ok() {
            while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
        }
    }

    async fn send_close(&mut self, why: Close) -> Result<(), DisconnectedError> {
        // Completes a partially written frame. The client receives the others when it resumes.
        self.unsent.truncate(usize::from(self.partially_written > 0));
        self.unsent_bytes = self.unsent.front().map_or(0, |frame| frame.len() - self.partially_written);
        self.flush_all().await?;
        let close = CloseFrame { code: why.code().into(), reason: why.reason().into() };
        match self.inner.close(Some(close)) {
            Ok(()) => {}
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return Err(DisconnectedError),
        }
        while !self.try_flush_inner()? {
            self.wait_until_writable().await?;
        }
        Ok(())
    }
}

impl FrameTransport for Socket {
    const ANSWERS_BEATS: bool = true;

    async fn next(&mut self) -> Incoming {
        match self.receive().await {
            Ok(Message::Text(text)) => Incoming::Text(text),
            Ok(Message::Ping(_) | Message::Pong(_)) => Incoming::Keepalive,
            Ok(Message::Binary(_) | Message::Frame(_)) => Incoming::Unsupported,
            Ok(Message::Close(_)) => {
                let _ = timeout(CLOSE_TIMEOUT, Box::pin(self.read_to_end())).await;
                Incoming::End
            }
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => Incoming::End,
            Err(Error::Capacity(_) | Error::Utf8(_) | Error::Protocol(_)) => Incoming::Unsupported,
            Err(_) => Incoming::End,
        }
    }

    fn write(&mut self, text: Bytes) {
        let frame = TextFrame::new(text);
        self.unsent_bytes += frame.len();
        self.unsent.push_back(frame);
    }

    fn is_full(&self) -> bool {
        self.unsent_bytes >= MAX_UNSENT_BYTES
    }

    async fn flush(&mut self) -> Result<(), DisconnectedError> {
        self.flush_all().await
    }

    async fn close(&mut self, why: Close) {
        let _ = timeout(CLOSE_TIMEOUT, async {
            if self.send_close(why).await.is_ok() {
                // The peer's close frame ends the stream. Dropping the socket earlier would reset the connection.
                self.read_to_end().await;
            }
        })
        .await;
    }
}

/// An unsent text frame.
struct TextFrame {
    header: [u8; 10],
    header_len: u8,
    text: Bytes,
}

impl TextFrame {
    fn new(text: Bytes) -> Self {
        /// FIN bit and opcode of an unfragmented text message.
        const FINAL_TEXT_FRAME: u8 = 0x81;
        let mut header = [0; 10];
        header[0] = FINAL_TEXT_FRAME;
        let len = text.len();
        let header_len = match (u8::try_from(len), u16::try_from(len)) {
            (Ok(short @ ..=125), _) => {
                header[1] = short;
                2
            }
            (_, Ok(medium)) => {
                header[1] = 126;
                header[2..4].copy_from_slice(&medium.to_be_bytes());
                4
            }
            _ => {
                header[1] = 127;
                header[2..].copy_from_slice(&(len as u64).to_be_bytes());
                10
            }
        };
        Self { header, header_len, text }
    }

    fn header(&self) -> &[u8] {
        &self.header[..usize::from(self.header_len)]
    }

    fn len(&self) -> usize {
        usize::from(self.header_len) + self.text.len()
    }
}

/// A non-blocking stream, as the library requires.
struct Tcp {
    stream: TcpStream,
    /// Wakes the task that awaits readable data.
    waker: Waker,
    allowance: ReadAllowance,
}

impl Read for Tcp {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        let mut context = Context::from_waker(&self.waker);
        if self.allowance.poll_ready(&mut context).is_pending() {
            return Err(ErrorKind::WouldBlock.into());
        }
        match Pin::new(&mut self.stream).poll_read(&mut context, &mut buffer) {
            Poll::Ready(read) => {
                self.allowance.spend(buffer.filled().len());
                read.map(|()| buffer.filled().len())
            }
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Tcp {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt};
    use tokio::net::{TcpListener, TcpSocket};
    use tokio_tungstenite::WebSocketStream;

    use super::*;
    use crate::config::edge::MAX_RECEIVED_BYTES_PER_SECOND;
    use crate::ws::read_allowance::ALLOWANCE_PERIOD;

    type Peer = WebSocketStream<TcpStream>;

    /// Connects a socket and a client, with minimal kernel buffers between them.
    async fn pair() -> (Socket, Peer) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpSocket::new_v4().unwrap();
        client.set_recv_buffer_size(1).unwrap();
        let (client, accepted) = tokio::join!(client.connect(listener.local_addr().unwrap()), listener.accept());
        let client = WebSocketStream::from_raw_socket(client.unwrap(), Role::Client, None).await;
        (Socket::new(accepted.unwrap().0, Vec::new()), client)
    }

    fn text(len: usize) -> Bytes {
        "x".repeat(len).into()
    }

    async fn receive(peer: &mut Peer) -> Message {
        timeout(CLOSE_TIMEOUT, peer.next())
            .await
            .expect("a message in time")
            .expect("the stream is open")
            .expect("a valid message")
    }

    #[tokio::test]
    async fn frames_of_every_length_arrive_complete_and_in_order_between_pongs() {
        let lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 3, 300_000];
        let (mut socket, mut client) = pair().await;
        let server = tokio::spawn(async move {
            for length in lengths {
                for _ in 0..40 {
                    socket.write(text(length));
                    if socket.is_full() {
                        socket.flush().await.unwrap();
                    }
                }
                socket.flush().await.unwrap();
                assert!(matches!(socket.next().await, Incoming::Keepalive));
            }
            socket.flush().await.unwrap();
            socket.close(Close::Restart).await;
        });
        let mut pongs = 0;
        for length in lengths {
            client.send(Message::Ping(Bytes::new())).await.unwrap();
            let mut texts = 0;
            while texts < 40 {
                match receive(&mut client).await {
                    Message::Text(text) => {
                        assert_eq!(text.len(), length);
                        texts += 1;
                    }
                    Message::Pong(_) => pongs += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        let last = loop {
            match receive(&mut client).await {
                Message::Pong(_) => pongs += 1,
                other => break other,
            }
        };
        assert!(matches!(last, Message::Close(Some(frame)) if u16::from(frame.code) == Close::Restart.code()));
        assert_eq!(pongs, lengths.len());
        client.flush().await.unwrap();
        assert!(client.next().await.is_none(), "the server ends the stream");
        server.await.unwrap();
    }

    #[tokio::test]
    async fn close_completes_a_partial_frame_and_drops_the_rest() {
        let (mut socket, mut client) = pair().await;
        for _ in 0..20 {
            socket.write(text(1_000_000));
        }
        assert!(!socket.try_flush().unwrap() && socket.partially_written > 0, "the client reads nothing");
        let unsent = socket.unsent.len();
        let server = tokio::spawn(async move { socket.close(Close::Slow).await });
        let mut whole = 0;
        let why = loop {
            match receive(&mut client).await {
                Message::Text(text) => {
                    assert_eq!(text.len(), 1_000_000);
                    whole += 1;
                }
                Message::Close(why) => break why.expect("a code"),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((whole, u16::from(why.code)), (20 - unsent + 1, Close::Slow.code()));
        client.flush().await.unwrap();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn empty_fragments_are_read_at_a_bounded_rate() {
        const FLOOD_SECONDS: usize = 2;
        let (mut socket, client) = pair().await;
        let server = tokio::spawn(async move { socket.next().await });
        let mut client = client.into_inner();
        // The first fragment of a text, then continuations without content, each with an empty mask.
        client.write_all(&[0x01, 0x80, 0, 0, 0, 0]).await.unwrap();
        let fragments = [0x00, 0x80, 0, 0, 0, 0].repeat(10_000);
        let mut sent = 0;
        let flood = async {
            loop {
                sent += client.write(&fragments).await.unwrap();
            }
        };
        let _: Result<(), _> = timeout(ALLOWANCE_PERIOD * u32::try_from(FLOOD_SECONDS).unwrap(), flood).await;
        // The kernel buffers some more.
        let most = (FLOOD_SECONDS + 1) * MAX_RECEIVED_BYTES_PER_SECOND + (6 << 20);
        assert!(sent < most, "{sent} bytes in {FLOOD_SECONDS} s");
        assert!(!server.is_finished());
    }
}
