//! STUN and TURN, which carry the media of a call through firewalls and NAT.
//!
//! The embedded server runs beside the hub; in production the same credentials work with coturn. Either way each session
//! gets a user name and a password that expire after five minutes. They derive from a secret that hub and relay share, so
//! the relay carries no strangers' media.

mod allocation;
mod client;
pub mod credentials;
mod embedded;
mod metrics;
mod network;
mod nonces;
mod peers;
mod quota;
mod requests;
mod responses;
mod revocations;
mod server;
mod stun;
mod tcp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use rooms::id::{RoomId, SessionId, UserId};
use rooms::wire::call::{IceServer, Servers};

use self::allocation::AllocationTable;
pub use self::credentials::REALM;
use self::credentials::{AllocationOwner, OwnerTag, RelaySecret};
use self::embedded::EmbeddedServer;
pub use self::metrics::RelayMetrics;
use self::network::RelayNetwork;
use self::quota::AllocationLimits;
use self::revocations::RevokedCredentials;
use self::server::TurnServer;
use crate::clock::Clock;
use crate::config::TurnSettings;

/// Why the relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    #[error("cannot listen on {0} for STUN and TURN (turn.listen): {1}; choose another address or port, or `off`")]
    Listen(SocketAddr, std::io::Error),
    #[error("the TURN server did not start: the system provides no random numbers")]
    NoRandomNumbers,
    #[error(transparent)]
    Secret(#[from] credentials::SecretError),
}

/// Who uses a relay.
#[derive(Clone, Copy, Debug)]
pub struct RelayUser {
    pub session: SessionId,
    pub user: UserId,
    /// The room of the call; `None` for a check outside a call.
    pub room: Option<RoomId>,
}

/// The relays that sessions may use, and the embedded one if it runs.
pub struct Relay {
    clock: Clock,
    secret: Option<RelaySecret>,
    stun: Vec<String>,
    turn: Vec<String>,
    metrics: Arc<RelayMetrics>,
    embedded: Option<EmbeddedServer>,
    revoked: Arc<RevokedCredentials>,
    /// Orders credentials and revocations; never behind the clock, so that a restart continues the order.
    serial: AtomicI64,
}

impl Relay {
    /// Starts the embedded server, or refers to the configured ones.
    pub async fn start(settings: &TurnSettings, clock: Clock) -> Result<Self, TurnError> {
        let mut relay = Self {
            clock: clock.clone(),
            secret: None,
            stun: Vec::new(),
            turn: Vec::new(),
            metrics: Arc::default(),
            embedded: None,
            revoked: Arc::default(),
            serial: AtomicI64::new(0),
        };
        if let Some(embedded) = &settings.embedded {
            let secret = RelaySecret::open(&settings.secret)?;
            let limits = AllocationLimits::for_descriptors(descriptor_limit());
            let table = AllocationTable::new(limits);
            let network = RelayNetwork::new(embedded.clone(), table, relay.metrics.clone());
            let server = TurnServer::new(Arc::new(network), relay.revoked.clone(), secret.clone(), clock)
                .map_err(|_| TurnError::NoRandomNumbers)?;
            // A client by TCP has a stream beside its allocation, and a stream alone to find out that it may have none.
            let server = EmbeddedServer::start(embedded, server, 2 * limits.total).await?;
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

    /// Returns the ICE servers for a session, with fresh credentials. Those of a dismissed guest are not valid.
    pub fn servers(&self, user: RelayUser) -> Servers {
        let mut servers = Servers::default();
        if !self.stun.is_empty() {
            servers.ice_servers.push(IceServer { urls: self.stun.clone(), username: None, credential: None });
        }
        if let Some(secret) = self.secret.as_ref().filter(|_| !self.turn.is_empty()) {
            let [session, person] = [user.session.0, user.user.0].map(OwnerTag::of);
            let owner = AllocationOwner { session, person, room: user.room.map(|room| OwnerTag::of(room.0)) };
            let now = self.clock.now();
            let issued = match self.embedded {
                Some(_) => secret.issue(owner, self.next_serial(), now),
                None => secret.issue_external(person, now),
            };
            servers.ice_servers.push(IceServer {
                urls: self.turn.clone(),
                username: Some(issued.username),
                credential: Some(issued.password),
            });
            servers.expires_at = Some(issued.expires_at);
        }
        servers
    }

    /// Ends all allocations of a sign-in that has ended, and revokes its credentials.
    pub fn end_session(&self, session: SessionId) {
        let session = OwnerTag::of(session.0);
        self.revoke(session, self.next_serial(), |owner| owner.session == session);
    }

    /// Ends all allocations of a person whose sign-ins have ended, and revokes the credentials issued so far.
    pub fn end_person(&self, user: UserId) {
        let person = OwnerTag::of(user.0);
        self.revoke(person, self.next_serial(), |owner| owner.person == person);
    }

    /// Ends all allocations of a guest. Credentials that are issued later are not valid either: the access token of a
    /// guest outlives the dismissal.
    pub fn dismiss_guest(&self, guest: UserId) {
        let guest = OwnerTag::of(guest.0);
        self.revoke(guest, i64::MAX, |owner| owner.person == guest);
    }

    /// Ends all allocations of a room whose call has ended, and revokes the credentials issued so far.
    pub fn end_call(&self, room: RoomId) {
        let room = OwnerTag::of(room.0);
        self.revoke(room, self.next_serial(), |owner| owner.room == Some(room));
    }

    /// Ends all allocations. Their clients make new ones with fresh credentials, if they still get any.
    pub fn end_all(&self) {
        if let Some(server) = &self.embedded {
            let ended = server.network.table.end_where(|_| true);
            self.metrics.revoked.fetch_add(ended as u64, Ordering::Relaxed);
        }
    }

    fn revoke(&self, tag: OwnerTag, serial: i64, is_concerned: impl Fn(&AllocationOwner) -> bool) {
        let Some(server) = &self.embedded else { return };
        self.revoked.revoke(tag, serial, Instant::now());
        let ended = server.network.table.end_where(|allocation| is_concerned(&allocation.owner));
        self.metrics.revoked.fetch_add(ended as u64, Ordering::Relaxed);
    }

    fn next_serial(&self) -> i64 {
        let now = self.clock.now().micros();
        let next = |last: i64| now.max(last.saturating_add(1));
        // The closure always returns a value, so the update cannot fail; both arms hold the previous serial.
        let (Ok(last) | Err(last)) =
            self.serial.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| Some(next(last)));
        next(last)
    }

    /// Returns the address where the embedded server listens, by UDP and TCP.
    pub fn address(&self) -> Option<SocketAddr> {
        self.embedded.as_ref().map(|server| server.address)
    }

    pub fn metrics(&self) -> &RelayMetrics {
        &self.metrics
    }
}

/// Returns how many files the process may open, or the usual limit where the system does not say.
fn descriptor_limit() -> usize {
    const USUAL_LIMIT: usize = 1_024;
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()).and_then(|text| text.parse().ok()).unwrap_or(USUAL_LIMIT)
}
