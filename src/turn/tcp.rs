//! TURN over TCP (RFC 8656, sections 3.1 and 12.5). A stream carries the same messages one after another, each with
//! its own length. Channel data is padded to four bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::time::timeout;

/// The largest message, which is what a datagram carries.
const MAX_MESSAGE_BYTES: usize = 1500;
/// Concurrent streams of one listener.
const MAX_STREAMS: usize = 2_048;
/// Concurrent streams of one address. A whole clinic may share one behind NAT.
const MAX_STREAMS_PER_ADDRESS: usize = 128;
/// Messages queued for the server, and for one stream. Further ones are dropped, as datagrams would be.
const INCOMING_QUEUE_MESSAGES: usize = 1_024;
const OUTGOING_QUEUE_MESSAGES: usize = 256;
/// How soon the first message must arrive, and each one after it. The latter exceeds the longest time between two
/// refreshes.
const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
const NEXT_MESSAGE_TIMEOUT: Duration = Duration::from_secs(660);

type StreamWriters = Arc<DashMap<SocketAddr, mpsc::Sender<Vec<u8>>>>;

/// All streams of a listener, with the interface of one datagram socket.
pub struct TcpStreams {
    local: SocketAddr,
    incoming: Mutex<mpsc::Receiver<(Vec<u8>, SocketAddr)>>,
    writers: StreamWriters,
}

/// Accepts streams until the returned value is dropped.
pub fn listen(listener: TcpListener) -> TcpStreams {
    let local = listener.local_addr().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
    let (incoming, receiver) = mpsc::channel(INCOMING_QUEUE_MESSAGES);
    let writers = StreamWriters::default();
    tokio::spawn(accept(listener, incoming, writers.clone()));
    TcpStreams { local, incoming: Mutex::new(receiver), writers }
}

async fn accept(listener: TcpListener, incoming: mpsc::Sender<(Vec<u8>, SocketAddr)>, writers: StreamWriters) {
    let permits = Arc::new(Semaphore::new(MAX_STREAMS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = incoming.closed() => return,
        };
        let Ok((stream, from)) = accepted else {
            // The process is out of file descriptors: wait until some are closed.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        if writers.iter().filter(|entry| entry.key().ip() == from.ip()).count() >= MAX_STREAMS_PER_ADDRESS {
            continue;
        }
        let Ok(permit) = permits.clone().try_acquire_owned() else { continue };
        let (incoming, writers) = (incoming.clone(), writers.clone());
        tokio::spawn(async move {
            serve(stream, from, &incoming, &writers).await;
            writers.remove(&from);
            drop(permit);
        });
    }
}

async fn serve(
    stream: TcpStream,
    from: SocketAddr,
    incoming: &mpsc::Sender<(Vec<u8>, SocketAddr)>,
    writers: &StreamWriters,
) {
    let _ = stream.set_nodelay(true);
    let (mut reader, writer) = stream.into_split();
    let (sender, outgoing) = mpsc::channel(OUTGOING_QUEUE_MESSAGES);
    writers.insert(from, sender);
    let writer_task = tokio::spawn(write(writer, outgoing));
    let mut read_timeout = FIRST_MESSAGE_TIMEOUT;
    while let Ok(Some(message)) = timeout(read_timeout, read(&mut reader)).await {
        read_timeout = NEXT_MESSAGE_TIMEOUT;
        if incoming.send((message, from)).await.is_err() {
            break;
        }
    }
    writer_task.abort();
}

/// Reads the next message. Returns `None` at the end of the stream, or for data that is no message.
async fn read(reader: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut message = vec![0; 4];
    reader.read_exact(&mut message).await.ok()?;
    let length = usize::from(u16::from_be_bytes([message[2], message[3]]));
    let (whole, padded) = match message[0] >> 6 {
        0 => (20 + length, 20 + length),
        1 => (4 + length, (4 + length).next_multiple_of(4)),
        _ => return None,
    };
    if padded > MAX_MESSAGE_BYTES {
        return None;
    }
    message.resize(padded, 0);
    reader.read_exact(&mut message[4..]).await.ok()?;
    message.truncate(whole);
    Some(message)
}

async fn write(mut writer: OwnedWriteHalf, mut outgoing: mpsc::Receiver<Vec<u8>>) {
    while let Some(message) = outgoing.recv().await {
        if writer.write_all(&message).await.is_err() {
            return;
        }
    }
}

impl TcpStreams {
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    pub async fn recv_from(&self, buf: &mut [u8]) -> std::io::Result<(usize, SocketAddr)> {
        let received = self.incoming.lock().await.recv().await;
        let (message, from) = received.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let len = message.len().min(buf.len());
        buf[..len].copy_from_slice(&message[..len]);
        Ok((len, from))
    }

    /// Never blocks: a stream that does not keep up loses messages.
    pub fn send_to(&self, buf: &[u8], target: SocketAddr) -> usize {
        if let Some(writer) = self.writers.get(&target) {
            let mut message = buf.to_vec();
            if buf.first().is_some_and(|first| first >> 6 == 1) {
                message.resize(buf.len().next_multiple_of(4), 0);
            }
            let _ = writer.try_send(message);
        }
        buf.len()
    }
}
