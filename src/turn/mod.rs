//! STUN and TURN: how the media of a call gets through routers that let nothing in.
//!
//! The embedded server runs beside the hub; in production the same credentials work with coturn. Either way a session
//! gets a user name and a password that last five minutes, made from a secret that the hub and the relay share, so that
//! nobody else's media is carried.

mod auth;
pub mod credentials;
mod gate;
pub mod peers;
mod relay;
mod tcp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use rooms::id::SessionId;
use rooms::wire::call::{IceServer, Servers};
use tokio::net::{TcpListener, UdpSocket};
use turn::server::Server;
use turn::server::config::{ConnConfig, ServerConfig};
use webrtc_util::Conn;

use self::auth::Guard;
use self::credentials::Secret;
use self::gate::{Gate, Last};
use self::relay::Relays;
use crate::clock::Clock;
use crate::config::{EmbeddedTurn, TurnSettings};

/// The realm that clients are told; part of what they sign.
pub const REALM: &str = "wardroom";

/// Why the relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    #[error("cannot listen on {0} for STUN and TURN (turn.listen): {1}; choose another address or port, or `off`")]
    Listen(SocketAddr, std::io::Error),
    #[error("the TURN server did not start: {0}")]
    Server(turn::Error),
    #[error(transparent)]
    Secret(#[from] credentials::SecretError),
}

/// What the embedded server did since it started.
#[derive(Debug, Default)]
pub struct Figures {
    /// Relay addresses given out.
    pub allocations: AtomicU64,
    /// Credentials that had ended.
    pub expired: AtomicU64,
    /// User names that the hub never wrote, and passwords that do not belong to them.
    pub forged: AtomicU64,
    /// Allocations beyond what one credential may have.
    pub over_quota: AtomicU64,
    /// Packets to or from addresses that are not relayed to.
    pub forbidden_peers: AtomicU64,
    /// Packets beyond an allocation's bandwidth.
    pub over_bandwidth: AtomicU64,
    /// Requests without a known nonce, beyond what one address, or all together, may send.
    pub flood: AtomicU64,
    /// Bytes that were relayed, both ways.
    pub bytes: AtomicU64,
}

impl Figures {
    /// Each by its name.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        let figures = [
            ("allocations", &self.allocations),
            ("expired", &self.expired),
            ("forged", &self.forged),
            ("over_quota", &self.over_quota),
            ("forbidden_peers", &self.forbidden_peers),
            ("over_bandwidth", &self.over_bandwidth),
            ("flood", &self.flood),
            ("bytes", &self.bytes),
        ];
        figures.into_iter().map(|(name, of)| (name, of.load(Ordering::Relaxed))).collect()
    }

    fn count(of: &AtomicU64) {
        of.fetch_add(1, Ordering::Relaxed);
    }
}

/// The way to the relays, and the embedded one if it runs.
pub struct Relay {
    clock: Clock,
    secret: Option<Secret>,
    stun: Vec<String>,
    turn: Vec<String>,
    figures: Arc<Figures>,
    address: Option<SocketAddr>,
    /// They serve as long as they are kept.
    _servers: Vec<Server>,
}

impl Relay {
    /// Starts the embedded server, or names the configured ones.
    pub async fn start(settings: &TurnSettings, clock: Clock) -> Result<Self, TurnError> {
        let figures = Arc::new(Figures::default());
        let mut relay = Self {
            clock: clock.clone(),
            secret: None,
            stun: Vec::new(),
            turn: Vec::new(),
            figures: figures.clone(),
            address: None,
            _servers: Vec::new(),
        };
        if let Some(embedded) = &settings.embedded {
            let secret = Secret::open(&settings.secret)?;
            let (udp, tcp) = bind(embedded).await?;
            let address = udp.local_addr().map_err(|error| TurnError::Listen(embedded.listen, error))?;
            let shared =
                Shared { settings: embedded.clone(), secret: secret.clone(), clock, figures, used: Arc::default() };
            relay._servers = vec![
                serve(&shared, |last| Gate::udp(udp, shared.figures.clone(), last)).await?,
                serve(&shared, |last| Gate::tcp(tcp::listen(tcp), shared.figures.clone(), last)).await?,
            ];
            let at = SocketAddr::new(embedded.public, address.port());
            relay.stun = vec![format!("stun:{at}")];
            relay.turn = vec![format!("turn:{at}?transport=udp"), format!("turn:{at}?transport=tcp")];
            relay.address = Some(address);
            relay.secret = Some(secret);
        } else if !settings.urls.is_empty() {
            let (turn, stun) = settings.urls.iter().cloned().partition(|url| url.starts_with("turn"));
            (relay.turn, relay.stun) = (turn, stun);
            relay.secret = Some(Secret::open(&settings.secret)?);
        }
        Ok(relay)
    }

    /// The servers for a session, with credentials of its own.
    pub fn servers(&self, session: SessionId) -> Servers {
        let mut servers = Servers::default();
        if !self.stun.is_empty() {
            servers.ice_servers.push(IceServer { urls: self.stun.clone(), username: None, credential: None });
        }
        if let Some(secret) = self.secret.as_ref().filter(|_| !self.turn.is_empty()) {
            let issued = secret.issue(session, self.clock.now());
            servers.ice_servers.push(IceServer {
                urls: self.turn.clone(),
                username: Some(issued.username),
                credential: Some(issued.password),
            });
            servers.expires_at = Some(issued.expires_at);
        }
        servers
    }

    /// Where the embedded server listens, by UDP and TCP.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    pub fn figures(&self) -> &Figures {
        &self.figures
    }
}

/// What both listeners of the embedded server share.
struct Shared {
    settings: EmbeddedTurn,
    secret: Secret,
    clock: Clock,
    figures: Arc<Figures>,
    /// Allocations by session.
    used: Arc<DashMap<String, usize>>,
}

/// One server per listener: each answers one request after the other, so what it authenticated last is what it
/// allocates for.
async fn serve<C>(shared: &Shared, listener: impl FnOnce(Last) -> C) -> Result<Server, TurnError>
where
    C: Conn + Send + Sync + 'static,
{
    let last = Last::default();
    let relays = Relays {
        settings: shared.settings.clone(),
        clock: shared.clock.clone(),
        last: last.clone(),
        used: shared.used.clone(),
        figures: shared.figures.clone(),
    };
    let guard = Guard {
        secret: shared.secret.clone(),
        clock: shared.clock.clone(),
        last: last.clone(),
        used: shared.used.clone(),
        figures: shared.figures.clone(),
    };
    let config = ServerConfig {
        conn_configs: vec![ConnConfig { conn: Arc::new(listener(last)), relay_addr_generator: Box::new(relays) }],
        realm: REALM.to_owned(),
        auth_handler: Arc::new(guard),
        channel_bind_timeout: Duration::from_secs(600),
        alloc_close_notify: None,
    };
    Server::new(config).await.map_err(TurnError::Server)
}

/// UDP and TCP on the same port. The default port may be another program's: then any free one does, since clients are
/// told which.
async fn bind(settings: &EmbeddedTurn) -> Result<(UdpSocket, TcpListener), TurnError> {
    let mut listen = settings.listen;
    let mut tries = 16;
    loop {
        tries -= 1;
        let bound = async {
            let udp = UdpSocket::bind(listen).await?;
            let tcp = TcpListener::bind(udp.local_addr()?).await?;
            Ok((udp, tcp))
        };
        match bound.await {
            Ok(both) => return Ok(both),
            Err(_) if !settings.is_chosen && listen.port() != 0 => {
                tracing::info!(port = listen.port(), "the port for STUN and TURN is taken; another one is used");
                listen.set_port(0);
            }
            // What is free for UDP need not be so for TCP.
            Err(_) if listen.port() == 0 && tries > 0 => {}
            Err(error) => return Err(TurnError::Listen(listen, error)),
        }
    }
}
