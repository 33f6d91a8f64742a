//! TURN clients over UDP and TCP, and a peer at the other end of a relay.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rooms::wire::call::IceServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Mutex;
use tokio::time::timeout;
use turn::client::{Client, ClientConfig};
use webrtc_util::{Conn, Error};

use super::ports;

/// Long enough for any exchange, even on a busy machine.
pub const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// The transport between client and relay.
#[derive(Clone, Copy, Debug)]
pub enum Transport {
    Udp,
    Tcp,
}

/// Connects a TURN client with these credentials.
pub async fn client(server: SocketAddr, transport: Transport, username: &str, password: &str) -> Client {
    let conn: Arc<dyn Conn + Send + Sync> = match transport {
        Transport::Udp => Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap()),
        Transport::Tcp => Arc::new(TurnStream::connect(server).await),
    };
    let config = ClientConfig {
        stun_serv_addr: server.to_string(),
        turn_serv_addr: server.to_string(),
        username: username.to_owned(),
        password: password.to_owned(),
        realm: wardroom::turn::REALM.to_owned(),
        software: String::new(),
        // A client that retransmits because an answer was slow would be counted twice.
        rto_in_ms: 5_000,
        conn,
        vnet: None,
    };
    let client = Client::new(config).await.unwrap();
    client.listen().await.unwrap();
    client
}

/// Returns the user name and password in a session's list of servers.
pub fn credentials(servers: &[IceServer]) -> (String, String) {
    let turn = servers.iter().find(|server| server.username.is_some()).expect("a TURN server");
    (turn.username.clone().unwrap(), turn.credential.clone().unwrap())
}

/// Returns whether data sent through a relayed address reaches a peer, and the peer's answer comes back.
pub async fn echoes(relay: &impl Conn, peer: &UdpSocket) -> bool {
    let to = peer.local_addr().unwrap();
    let mut buf = [0; 1500];
    let mut round = async || {
        relay.send_to(b"are you there?", to).await.ok()?;
        let (len, from) = peer.recv_from(&mut buf).await.ok()?;
        peer.send_to(&buf[..len], from).await.ok()?;
        let (len, from) = relay.recv_from(&mut buf).await.ok()?;
        (&buf[..len] == b"are you there?" && from == to).then_some(())
    };
    matches!(timeout(TURN_TIMEOUT, round()).await, Ok(Some(())))
}

/// coturn with the project's configuration, on loopback.
pub struct Coturn {
    child: Child,
    pub address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Coturn {
    pub async fn start(secret: &str) -> Self {
        // Another process may take a free port before coturn does, and coturn then waits forever; try again.
        for _ in 0..5 {
            if let Some(coturn) = Self::try_start(secret).await {
                return coturn;
            }
        }
        panic!("coturn did not start");
    }

    async fn try_start(secret: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let port = ports::free();
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/coturn.conf")).unwrap();
        // The peers of this test are on loopback, and the secret in the file is a placeholder.
        let text = text.replace("CHANGE-ME", secret).replace("denied-peer-ip=127.0.0.0-127.255.255.255\n", "");
        let text = text.replace("listening-port=3478", &format!("listening-port={port}"));
        let file = folder.path().join("coturn.conf");
        let loopback = "listening-ip=127.0.0.1\nrelay-ip=127.0.0.1\nallow-loopback-peers\nallowed-peer-ip=127.0.0.1\n";
        let paths = format!("pidfile={0}/pid\nuserdb={0}/db\n", folder.path().display());
        std::fs::write(&file, format!("{text}\n{loopback}{paths}")).unwrap();
        let mut command = Command::new("turnserver");
        command.arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
        let child = command.spawn().expect("coturn is installed (tests/run installs it)");
        let coturn = Self { child, address: SocketAddr::from(([127, 0, 0, 1], port)), _folder: folder };
        let end = Instant::now() + Duration::from_secs(8);
        while TcpStream::connect(coturn.address).await.is_err() {
            if Instant::now() > end {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(coturn)
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// TURN messages over TCP, from the client's side.
struct TurnStream {
    server: SocketAddr,
    local: SocketAddr,
    reader: Mutex<OwnedReadHalf>,
    writer: Mutex<OwnedWriteHalf>,
}

impl TurnStream {
    async fn connect(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).await.unwrap();
        let local = stream.local_addr().unwrap();
        let (reader, writer) = stream.into_split();
        Self { server, local, reader: Mutex::new(reader), writer: Mutex::new(writer) }
    }
}

#[async_trait]
impl Conn for TurnStream {
    async fn connect(&self, _: SocketAddr) -> Result<(), Error> {
        unimplemented_here()
    }

    async fn recv(&self, _: &mut [u8]) -> Result<usize, Error> {
        unimplemented_here().map(|()| 0)
    }

    async fn recv_from(&self, buf: &mut [u8]) -> Result<(usize, SocketAddr), Error> {
        let mut reader = self.reader.lock().await;
        let mut head = [0; 4];
        reader.read_exact(&mut head).await?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let is_data = head[0] >> 6 == 1;
        let whole = if is_data { 4 + length } else { 20 + length };
        let padded = if is_data { whole.next_multiple_of(4) } else { whole };
        buf[..4].copy_from_slice(&head);
        reader.read_exact(&mut buf[4..padded]).await?;
        Ok((whole, self.server))
    }

    async fn send(&self, _: &[u8]) -> Result<usize, Error> {
        unimplemented_here().map(|()| 0)
    }

    async fn send_to(&self, buf: &[u8], _: SocketAddr) -> Result<usize, Error> {
        let mut message = buf.to_vec();
        if message[0] >> 6 == 1 {
            message.resize(buf.len().next_multiple_of(4), 0);
        }
        self.writer.lock().await.write_all(&message).await?;
        Ok(buf.len())
    }

    fn local_addr(&self) -> Result<SocketAddr, Error> {
        Ok(self.local)
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        None
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}

fn unimplemented_here() -> Result<(), Error> {
    Err(std::io::Error::from(std::io::ErrorKind::Unsupported).into())
}
