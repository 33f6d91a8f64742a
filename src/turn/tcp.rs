//! TURN over TCP (RFC 8656, sections 3.1 and 12.5). A stream carries the same messages one after another, each with
//! its own length. Channel data is padded to four bytes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::client::TurnClient;
use super::network::MAX_DATAGRAM_BYTES;
use super::server::TurnServer;

/// Concurrent streams of one address. A whole clinic may share one behind NAT.
const MAX_STREAMS_PER_ADDRESS: usize = 128;
/// Messages queued for one stream. Further ones are dropped, as datagrams would be.
const OUTGOING_QUEUE_MESSAGES: usize = 256;
/// How soon the first message must arrive, and each one after it. The latter exceeds the longest time between two
/// refreshes.
const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
const NEXT_MESSAGE_TIMEOUT: Duration = Duration::from_secs(660);

/// Serves up to `max_streams` streams at once.
pub async fn serve(server: Arc<TurnServer>, listener: TcpListener, max_streams: usize) {
    let permits = Arc::new(Semaphore::new(max_streams));
    let per_address: Arc<DashMap<IpAddr, usize>> = Arc::default();
    // Dropped with the server, which ends the streams.
    let mut streams = JoinSet::new();
    loop {
        while streams.try_join_next().is_some() {}
        let Ok((stream, from)) = listener.accept().await else {
            // The process is out of file descriptors: wait until some are closed.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(permit) = permits.clone().try_acquire_owned() else { continue };
        let Some(of_address) = StreamOfAddress::count(&per_address, from.ip()) else { continue };
        let server = server.clone();
        streams.spawn(async move {
            serve_stream(&server, stream, from).await;
            drop((permit, of_address));
        });
    }
}

/// One of the streams of an address; not counted any more when dropped.
struct StreamOfAddress {
    counts: Arc<DashMap<IpAddr, usize>>,
    address: IpAddr,
}

impl StreamOfAddress {
    /// Counts a stream, or returns `None` if the address has as many as it may.
    fn count(counts: &Arc<DashMap<IpAddr, usize>>, address: IpAddr) -> Option<Self> {
        let mut count = counts.entry(address).or_insert(0);
        (*count < MAX_STREAMS_PER_ADDRESS).then_some(())?;
        *count += 1;
        drop(count);
        Some(Self { counts: counts.clone(), address })
    }
}

impl Drop for StreamOfAddress {
    fn drop(&mut self) {
        if let Some(mut count) = self.counts.get_mut(&self.address) {
            *count -= 1;
        }
        self.counts.remove_if(&self.address, |_, count| *count == 0);
    }
}

/// Serves one stream. Its allocation ends with it, because nothing could reach the client any more.
async fn serve_stream(server: &Arc<TurnServer>, stream: TcpStream, from: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let (mut reader, writer) = stream.into_split();
    let (sender, outgoing) = mpsc::channel(OUTGOING_QUEUE_MESSAGES);
    let client = TurnClient::tcp(from, sender);
    let writing = write(writer, outgoing);
    let reading = async {
        let mut read_timeout = FIRST_MESSAGE_TIMEOUT;
        while let Ok(Some(message)) = timeout(read_timeout, read(&mut reader)).await {
            read_timeout = NEXT_MESSAGE_TIMEOUT;
            server.receive(&message, &client).await;
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
    server.disconnected(&client);
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
    if padded > MAX_DATAGRAM_BYTES {
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
