//! TURN over TCP (RFC 8656, sections 3.1 and 12.5): the same messages, one after the other in a stream, each with its own
//! length; channel data is padded to four bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::time::timeout;

/// The largest message; what a datagram carries.
const MAX_MESSAGE: usize = 1500;
/// Streams at once.
const MAX_STREAMS: usize = 2_048;
/// Streams at once of one address; behind one router there may be a whole clinic.
const MAX_OF_ONE: usize = 128;
/// Messages that may wait for the server, and for one stream; what is more is lost, as datagrams are.
const WAITING_IN: usize = 1_024;
const WAITING_OUT: usize = 256;
/// The first message must come soon; then one within the longest time between two refreshes.
const FIRST_WITHIN: Duration = Duration::from_secs(10);
const NEXT_WITHIN: Duration = Duration::from_secs(660);

type Writers = Arc<DashMap<SocketAddr, mpsc::Sender<Vec<u8>>>>;

/// All streams of a listener as if they were datagrams.
pub struct Streams {
    local: SocketAddr,
    incoming: Mutex<mpsc::Receiver<(Vec<u8>, SocketAddr)>>,
    writers: Writers,
}

/// Takes streams as long as somebody reads from what is returned.
pub fn listen(listener: TcpListener) -> Streams {
    let local = listener.local_addr().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
    let (incoming, receiver) = mpsc::channel(WAITING_IN);
    let writers = Writers::default();
    tokio::spawn(accept(listener, incoming, writers.clone()));
    Streams { local, incoming: Mutex::new(receiver), writers }
}

async fn accept(listener: TcpListener, incoming: mpsc::Sender<(Vec<u8>, SocketAddr)>, writers: Writers) {
    let places = Arc::new(Semaphore::new(MAX_STREAMS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = incoming.closed() => return,
        };
        let Ok((stream, from)) = accepted else {
            // Out of descriptors: others must go first.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        if writers.iter().filter(|entry| entry.key().ip() == from.ip()).count() >= MAX_OF_ONE {
            continue;
        }
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (incoming, writers) = (incoming.clone(), writers.clone());
        tokio::spawn(async move {
            serve(stream, from, &incoming, &writers).await;
            writers.remove(&from);
            drop(place);
        });
    }
}

async fn serve(stream: TcpStream, from: SocketAddr, incoming: &mpsc::Sender<(Vec<u8>, SocketAddr)>, writers: &Writers) {
    let _ = stream.set_nodelay(true);
    let (mut reader, writer) = stream.into_split();
    let (sender, outgoing) = mpsc::channel(WAITING_OUT);
    writers.insert(from, sender);
    let writing = tokio::spawn(write(writer, outgoing));
    let mut patience = FIRST_WITHIN;
    while let Ok(Some(message)) = timeout(patience, read(&mut reader)).await {
        patience = NEXT_WITHIN;
        if incoming.send((message, from)).await.is_err() {
            break;
        }
    }
    writing.abort();
}

/// The next message; none at the end, or for what is no message.
async fn read(reader: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut message = vec![0; 4];
    reader.read_exact(&mut message).await.ok()?;
    let length = usize::from(u16::from_be_bytes([message[2], message[3]]));
    let (whole, padded) = match message[0] >> 6 {
        0 => (20 + length, 20 + length),
        1 => (4 + length, (4 + length).next_multiple_of(4)),
        _ => return None,
    };
    if padded > MAX_MESSAGE {
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

impl Streams {
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

    /// Never waits: a stream that does not keep up loses messages.
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
