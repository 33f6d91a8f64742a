//! STUN and TURN, which carry the media of a call through firewalls and NAT.
//!
//! The embedded server runs beside the hub; in production the same credentials work with coturn. Either way each session
//! gets a user name and a password that expire after five minutes. They derive from a secret that hub and relay share, so
//! the relay carries no strangers' media.

mod admission;
mod auth;
mod conn;
pub mod credentials;
mod embedded;
mod metrics;
mod quota;
mod relay;
mod stun;
mod tcp;

use std::net::SocketAddr;
use std::sync::Arc;

use rooms::id::SessionId;
use rooms::wire::call::{IceServer, Servers};

pub use self::credentials::REALM;
use self::credentials::RelaySecret;
use self::embedded::EmbeddedServer;
pub use self::metrics::RelayMetrics;
use crate::clock::Clock;
use crate::config::TurnSettings;

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

/// The relays that sessions may use, and the embedded one if it runs.
pub struct Relay {
    clock: Clock,
    secret: Option<RelaySecret>,
    stun: Vec<String>,
    turn: Vec<String>,
    metrics: Arc<RelayMetrics>,
    embedded: Option<EmbeddedServer>,
}

impl Relay {
    /// Starts the embedded server, or refers to the configured ones.
    pub async fn start(settings: &TurnSettings, clock: Clock) -> Result<Self, TurnError> {
        let metrics = Arc::new(RelayMetrics::default());
        let mut relay = Self {
            clock: clock.clone(),
            secret: None,
            stun: Vec::new(),
            turn: Vec::new(),
            metrics: metrics.clone(),
            embedded: None,
        };
        if let Some(embedded) = &settings.embedded {
            let secret = RelaySecret::open(&settings.secret)?;
            let server = EmbeddedServer::start(embedded, secret.clone(), clock, metrics).await?;
            let public = SocketAddr::new(embedded.public, server.address.port());
            relay.stun = vec![format!("stun:{public}")];
            relay.turn = vec![format!("turn:{public}?transport=udp"), format!("turn:{public}?transport=tcp")];
            relay.embedded = Some(server);
            relay.secret = Some(secret);
        } else if !settings.urls.is_empty() {
            let (turn, stun) = settings.urls.iter().cloned().partition(|url| url.starts_with("turn"));
            (relay.turn, relay.stun) = (turn, stun);
            relay.secret = Some(RelaySecret::open(&settings.secret)?);
        }
        Ok(relay)
    }

    /// Returns the ICE servers for a session, with fresh credentials.
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

    /// Returns the address where the embedded server listens, by UDP and TCP.
    pub fn address(&self) -> Option<SocketAddr> {
        self.embedded.as_ref().map(|server| server.address)
    }

    pub fn metrics(&self) -> &RelayMetrics {
        &self.metrics
    }
}
