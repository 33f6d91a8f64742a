//! The WebSocket itself.
//!
//! Reading, with all that the protocol asks of it (masks, fragments, pings, the closing handshake), is tungstenite's.
//! Writing is done here: a server's text frame is a short head and the text, and going out from the shared text itself it
//! needs no buffer that an idle connection would keep.

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

use super::transport::{CLOSE_TIMEOUT, Gone, Incoming, Transport, WRITE_TIMEOUT};

/// Bytes read at a time. Larger frames are read in several steps; an idle connection keeps this much.
const READ_BUFFER: usize = 1024;
/// What the library writes by itself are pongs and the last frame.
const WRITE_BUFFER: usize = 512;
/// Frames in one write.
const BURST: usize = 32;
/// Bytes that may wait before they must be written.
const FULL: usize = 32 * 1024;

/// A client's socket after the upgrade.
pub struct Socket {
    inner: WebSocket<Tcp>,
    unsent: VecDeque<Piece>,
    /// Of the first piece, what is sent already.
    begun: usize,
    waiting: usize,
    /// The client broke the protocol. The library may have lost its place in the stream, and is asked no more.
    lost_track: bool,
}

impl Socket {
    /// `early` is what was read behind the request's head.
    pub fn new(stream: TcpStream, early: Vec<u8>) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER)
            .max_message_size(Some(MAX_FRAME_BYTES))
            .max_frame_size(Some(MAX_FRAME_BYTES));
        let inner = WebSocket::from_partially_read(
            Tcp { stream, waker: Waker::noop().clone() },
            early,
            Role::Server,
            Some(config),
        );
        Self { inner, unsent: VecDeque::new(), begun: 0, waiting: 0, lost_track: false }
    }

    /// Writes what the kernel takes now; true when nothing is left.
    fn try_flush(&mut self) -> Result<bool, Gone> {
        // A pong must not come between the parts of a frame.
        if self.begun == 0 && !self.try_flush_inner()? {
            return Ok(false);
        }
        while !self.unsent.is_empty() {
            match self.write_some() {
                Ok(0) => return Err(Gone),
                Ok(sent) => self.advance(sent),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(_) => return Err(Gone),
            }
        }
        // A burst must not leave its list behind on an idle connection.
        self.unsent = VecDeque::new();
        Ok(true)
    }

    fn try_flush_inner(&mut self) -> Result<bool, Gone> {
        match self.inner.flush() {
            Ok(()) => Ok(true),
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(_) => Err(Gone),
        }
    }

    fn write_some(&self) -> io::Result<usize> {
        const EMPTY: &[u8] = &[];
        let mut slices = [IoSlice::new(EMPTY); BURST * 2];
        let mut used = 0;
        let mut skip = self.begun;
        for piece in self.unsent.iter().take(BURST) {
            for part in [piece.head(), &piece.text[..]] {
                slices[used] = IoSlice::new(&part[skip.min(part.len())..]);
                skip = skip.saturating_sub(part.len());
                used += 1;
            }
        }
        self.inner.get_ref().stream.try_write_vectored(&slices[..used])
    }

    fn advance(&mut self, sent: usize) {
        self.waiting -= sent;
        self.begun += sent;
        while let Some(first) = self.unsent.front()
            && self.begun >= first.len()
        {
            self.begun -= first.len();
            self.unsent.pop_front();
        }
    }

    /// Writes all that waits. The time limit begins anew whenever the client took something.
    async fn flush_all(&mut self) -> Result<(), Gone> {
        while !self.try_flush()? {
            self.writable().await?;
        }
        Ok(())
    }

    async fn writable(&self) -> Result<(), Gone> {
        match timeout(WRITE_TIMEOUT, self.inner.get_ref().stream.writable()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
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
        self.lost_track |= matches!(received, Err(Error::Capacity(_) | Error::Utf8(_) | Error::Protocol(_)));
        received
    }

    /// Reads until the stream ends, while the library answers the handshake of closing.
    async fn read_out(&mut self) {
        while !self.lost_track && self.receive().await.is_ok() {}
        if self.lost_track {
            self.pour_out().await;
        }
    }

    /// Ends this side of the stream, and reads whatever comes until the client has ended its own: what is left unread when a
    /// stream is closed resets it, and the client would not learn why it was closed.
    async fn pour_out(&mut self) {
        let (stream, mut scrap) = (&mut self.inner.get_mut().stream, [0; READ_BUFFER]);
        if stream.shutdown().await.is_ok() {
            while matches!(stream.read(&mut scrap).await, Ok(1..)) {}
        }
    }

    async fn say_goodbye(&mut self, why: Close) -> Result<(), Gone> {
        // A frame that has begun is ended; the others the client gets when it resumes.
        self.unsent.truncate(usize::from(self.begun > 0));
        self.waiting = self.unsent.front().map_or(0, |piece| piece.len() - self.begun);
        self.flush_all().await?;
        let frame = CloseFrame { code: why.code().into(), reason: why.reason().into() };
        match self.inner.close(Some(frame)) {
            Ok(()) => {}
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return Err(Gone),
        }
        while !self.try_flush_inner()? {
            self.writable().await?;
        }
        Ok(())
    }
}

impl Transport for Socket {
    const ANSWERS: bool = true;

    async fn next(&mut self) -> Incoming {
        match self.receive().await {
            Ok(Message::Text(text)) => Incoming::Text(text),
            Ok(Message::Ping(_) | Message::Pong(_)) => Incoming::Alive,
            Ok(Message::Binary(_) | Message::Frame(_)) => Incoming::Foreign,
            Ok(Message::Close(_)) => {
                let _ = timeout(CLOSE_TIMEOUT, Box::pin(self.read_out())).await;
                Incoming::End
            }
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => Incoming::End,
            Err(Error::Capacity(_) | Error::Utf8(_) | Error::Protocol(_)) => Incoming::Foreign,
            Err(_) => Incoming::End,
        }
    }

    fn write(&mut self, text: Bytes) {
        let piece = Piece::new(text);
        self.waiting += piece.len();
        self.unsent.push_back(piece);
    }

    fn is_full(&self) -> bool {
        self.waiting >= FULL
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        self.flush_all().await
    }

    async fn close(&mut self, why: Close) {
        let _ = timeout(CLOSE_TIMEOUT, async {
            if self.say_goodbye(why).await.is_ok() {
                // The peer's answer ends the stream; leaving earlier would reset the connection under it.
                self.read_out().await;
            }
        })
        .await;
    }
}

/// A text frame on its way.
struct Piece {
    head: [u8; 10],
    head_len: u8,
    text: Bytes,
}

impl Piece {
    fn new(text: Bytes) -> Self {
        /// The only frame of its message, of text.
        const TEXT: u8 = 0x81;
        let mut head = [0; 10];
        head[0] = TEXT;
        let len = text.len();
        let head_len = match (u8::try_from(len), u16::try_from(len)) {
            (Ok(short @ ..=125), _) => {
                head[1] = short;
                2
            }
            (_, Ok(medium)) => {
                head[1] = 126;
                head[2..4].copy_from_slice(&medium.to_be_bytes());
                4
            }
            _ => {
                head[1] = 127;
                head[2..].copy_from_slice(&(len as u64).to_be_bytes());
                10
            }
        };
        Self { head, head_len, text }
    }

    fn head(&self) -> &[u8] {
        &self.head[..usize::from(self.head_len)]
    }

    fn len(&self) -> usize {
        usize::from(self.head_len) + self.text.len()
    }
}

/// The stream as the library wants it: it never waits.
struct Tcp {
    stream: TcpStream,
    /// Who is woken when there is something to read again.
    waker: Waker,
}

impl Read for Tcp {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        match Pin::new(&mut self.stream).poll_read(&mut Context::from_waker(&self.waker), &mut buffer) {
            Poll::Ready(read) => read.map(|()| buffer.filled().len()),
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

    type Peer = WebSocketStream<TcpStream>;

    /// A socket and its client, with as little as possible in the kernel between them.
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

    async fn hear(peer: &mut Peer) -> Message {
        timeout(CLOSE_TIMEOUT, peer.next()).await.expect("in time").expect("not the end").expect("no error")
    }

    #[tokio::test]
    async fn frames_of_every_length_arrive_whole_and_in_order_between_pongs() {
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
                assert!(matches!(socket.next().await, Incoming::Alive));
            }
            socket.flush().await.unwrap();
            socket.close(Close::Restart).await;
        });
        let mut pongs = 0;
        for length in lengths {
            client.send(Message::Ping(Bytes::new())).await.unwrap();
            let mut texts = 0;
            while texts < 40 {
                match hear(&mut client).await {
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
            match hear(&mut client).await {
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
    async fn a_frame_that_has_begun_is_ended_before_the_close_and_the_rest_is_dropped() {
        let (mut socket, mut client) = pair().await;
        for _ in 0..20 {
            socket.write(text(1_000_000));
        }
        assert!(!socket.try_flush().unwrap() && socket.begun > 0, "the client takes nothing");
        let left = socket.unsent.len();
        let server = tokio::spawn(async move { socket.close(Close::Slow).await });
        let mut whole = 0;
        let why = loop {
            match hear(&mut client).await {
                Message::Text(text) => {
                    assert_eq!(text.len(), 1_000_000);
                    whole += 1;
                }
                Message::Close(why) => break why.expect("a code"),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((whole, u16::from(why.code)), (20 - left + 1, Close::Slow.code()));
        client.flush().await.unwrap();
        server.await.unwrap();
    }
}
