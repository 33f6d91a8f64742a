//! The embedded STUN and TURN server: one server for UDP and one for TCP, on the same port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use turn::server::Server;
use turn::server::config::{ConnConfig, ServerConfig};
use webrtc_util::Conn;

use super::TurnError;
use super::admission::AdmissionFilter;
use super::auth::{AuthenticatedUser, CredentialVerifier};
use super::credentials::{REALM, RelaySecret};
use super::metrics::RelayMetrics;
use super::quota::AllocationQuota;
use super::relay::RelayAllocator;
use super::tcp;
use crate::clock::Clock;
use crate::config::EmbeddedTurn;

/// How long a channel stays bound to a peer (RFC 8656, section 12).
const CHANNEL_BIND_LIFETIME: Duration = Duration::from_secs(600);
/// Free ports to try, because a port that is free for UDP may be taken for TCP.
const MAX_BIND_ATTEMPTS: usize = 16;

/// A running server; it stops when dropped.
pub struct EmbeddedServer {
    pub address: SocketAddr,
    _servers: [Server; 2],
}

impl EmbeddedServer {
    /// Binds both listeners and starts the servers.
    pub async fn start(
        settings: &EmbeddedTurn,
        secret: RelaySecret,
        clock: Clock,
        metrics: Arc<RelayMetrics>,
    ) -> Result<Self, TurnError> {
        let (udp, tcp) = bind(settings).await?;
        let address = udp.local_addr().map_err(|error| TurnError::Listen(settings.listen, error))?;
        let shared = Shared { settings: settings.clone(), secret, clock, metrics, quota: AllocationQuota::default() };
        let servers = [
            serve(&shared, |user| AdmissionFilter::udp(udp, shared.metrics.clone(), user)).await?,
            serve(&shared, |user| AdmissionFilter::tcp(tcp::listen(tcp), shared.metrics.clone(), user)).await?,
        ];
        Ok(Self { address, _servers: servers })
    }
}

/// What both listeners share.
struct Shared {
    settings: EmbeddedTurn,
    secret: RelaySecret,
    clock: Clock,
    metrics: Arc<RelayMetrics>,
    quota: AllocationQuota,
}

/// Starts one server for a listener. Each server handles its requests one at a time, so the user that it authenticated
/// last is the one that it allocates for.
async fn serve<C>(shared: &Shared, listener: impl FnOnce(AuthenticatedUser) -> C) -> Result<Server, TurnError>
where
    C: Conn + Send + Sync + 'static,
{
    let authenticated_user = AuthenticatedUser::default();
    let allocator = RelayAllocator {
        settings: shared.settings.clone(),
        clock: shared.clock.clone(),
        authenticated_user: authenticated_user.clone(),
        quota: shared.quota.clone(),
        metrics: shared.metrics.clone(),
    };
    let verifier = CredentialVerifier {
        secret: shared.secret.clone(),
        clock: shared.clock.clone(),
        authenticated_user: authenticated_user.clone(),
        quota: shared.quota.clone(),
        metrics: shared.metrics.clone(),
    };
    let conn = ConnConfig { conn: Arc::new(listener(authenticated_user)), relay_addr_generator: Box::new(allocator) };
    let config = ServerConfig {
        conn_configs: vec![conn],
        realm: REALM.to_owned(),
        auth_handler: Arc::new(verifier),
        channel_bind_timeout: CHANNEL_BIND_LIFETIME,
        alloc_close_notify: None,
    };
    Server::new(config).await.map_err(TurnError::Server)
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
