//! The embedded server's listeners: UDP and TCP on the same port.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::TurnError;
use super::client::TurnClient;
use super::network::{MAX_DATAGRAM_BYTES, RelayNetwork};
use super::server::TurnServer;
use super::tcp;
use crate::config::EmbeddedTurn;

/// Free ports to try, because a port that is free for UDP may be taken for TCP.
const MAX_BIND_ATTEMPTS: usize = 16;

/// A running server; it stops when dropped.
pub struct EmbeddedServer {
    pub address: SocketAddr,
    pub network: Arc<RelayNetwork>,
    _stop: DropGuard,
}

impl EmbeddedServer {
    /// Binds both listeners and serves them.
    pub async fn start(settings: &EmbeddedTurn, server: TurnServer, max_streams: usize) -> Result<Self, TurnError> {
        let (udp, tcp) = bind(settings).await?;
        let address = udp.local_addr().map_err(|error| TurnError::Listen(settings.listen, error))?;
        let stop = CancellationToken::new();
        let network = server.network.clone();
        let server = Arc::new(server);
        tokio::spawn(stop.clone().run_until_cancelled_owned(serve_udp(server.clone(), Arc::new(udp))));
        tokio::spawn(stop.clone().run_until_cancelled_owned(tcp::serve(server, tcp, max_streams)));
        let all_ended = network.clone();
        let stopped = stop.clone();
        tokio::spawn(async move {
            stopped.cancelled().await;
            all_ended.table.end_where(|_| true);
        });
        Ok(Self { address, network, _stop: stop.drop_guard() })
    }
}

async fn serve_udp(server: Arc<TurnServer>, socket: Arc<UdpSocket>) {
    // Until then, `try_send_to` loses packets. An error shows again when receiving.
    let _ = socket.writable().await;
    let mut buf = [0; MAX_DATAGRAM_BYTES + 1];
    loop {
        // An error reports that an earlier packet did not arrive, which concerns no later one.
        let Ok((len, from)) = socket.recv_from(&mut buf).await else { continue };
        if len <= MAX_DATAGRAM_BYTES {
            server.receive(&buf[..len], &TurnClient::udp(from, socket.clone())).await;
        }
    }
}

/// Binds UDP and TCP to the same port. If another program has the default port, any free one will do, because clients
/// learn the port from the hub.
async fn bind(settings: &EmbeddedTurn) -> Result<(UdpSocket, TcpListener), TurnError> {
    let mut listen = settings.listen;
    let mut attempts_left = MAX_BIND_ATTEMPTS;
    loop {
        attempts_left -= 1;
        let bound = async {
            let udp = UdpSocket::bind(listen).await?;
            let tcp = TcpListener::bind(udp.local_addr()?).await?;
            Ok((udp, tcp))
        };
        match bound.await {
            Ok(both) => return Ok(both),
            Err(_) if !settings.is_chosen && listen.port() != 0 => {
                tracing::info!(turn.port = listen.port(), "turn port taken; using a free one");
                listen.set_port(0);
            }
            Err(_) if listen.port() == 0 && attempts_left > 0 => {}
            Err(error) => return Err(TurnError::Listen(listen, error)),
        }
    }
}
