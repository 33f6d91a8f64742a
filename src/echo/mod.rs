//! The echo call: one person calls the hub, and hears and sees themselves after a short delay. It answers "can I be
//! heard?" before the other side joins.
//!
//! The hub is a WebRTC peer here, with the same STUN and TURN servers as any session. One request carries offer and
//! answer, without trickled candidates. The hub keeps no media. The number of echoes, of a person and of all, their
//! duration, the addresses that they send to, and the packets awaiting playback are all bounded.

mod offer;
mod peer;
mod playback;

use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::{DashMap, Entry};
use rooms::id::{SessionId, UserId};
use rooms::sdp::Sdp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use self::peer::EchoPeer;
pub use self::peer::MediaAddress;
use crate::turn::{Relay, RelayUser};

/// Concurrent echoes on this node.
pub const MAX_ECHOES: usize = 8;
/// How long an echo may last.
pub const MAX_ECHO_DURATION: Duration = Duration::from_secs(60);
/// How long a person waits from the start of one echo to that of the next.
pub const ECHO_INTERVAL: Duration = Duration::from_secs(60);
/// People whose latest echo is remembered, beyond which those who may start another one are forgotten.
const MAX_REMEMBERED_PEOPLE: usize = 1_024;
/// How long an echo may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a new echo waits for a permit.
const PERMIT_TIMEOUT: Duration = Duration::from_millis(200);

/// Why the hub rejected an echo.
#[derive(Debug, thiserror::Error)]
pub enum EchoError {
    /// All echoes of this node are in use.
    #[error("all echo calls are in use; try again in a minute")]
    Busy,
    /// This person has just had an echo.
    #[error("one echo call a minute for each person; call again in {} s", .0.as_secs() + 1)]
    TooSoon(Duration),
    /// The offer is well-formed, but the echo supports none of its media.
    #[error("the offer must have Opus audio or VP8 video")]
    UnsupportedOffer,
    /// The hub's own peer did not start.
    #[error("the echo call could not start; try again")]
    Unavailable,
}

/// The echoes of this node.
#[derive(Clone)]
pub struct Echo {
    relay: Arc<Relay>,
    address: MediaAddress,
    permits: Arc<Semaphore>,
    latest: Arc<DashMap<UserId, LatestEcho>>,
}

/// The echo that a person started last.
struct LatestEcho {
    started: Instant,
    /// Ends it when cancelled.
    end: CancellationToken,
}

impl Echo {
    /// Creates the node's echoes.
    pub fn new(relay: Arc<Relay>, address: MediaAddress) -> Self {
        Self { relay, address, permits: Arc::new(Semaphore::new(MAX_ECHOES)), latest: Arc::default() }
    }

    /// Answers an offer, and ends the previous echo of the same person. A rejected offer does not count as an echo.
    pub async fn answer(&self, user: UserId, session: SessionId, offer: &Sdp) -> Result<Sdp, EchoError> {
        let permit = self.acquire_permit().await?;
        let end = self.begin(user)?;
        let servers = self.relay.servers(RelayUser { session, user, room: None });
        let offer = offer::restrict(offer, self.address.policy);
        match EchoPeer::answer(self.address, &servers.ice_servers, &offer).await {
            Ok((peer, answer)) => {
                tokio::spawn(async move {
                    run(peer, &end).await;
                    drop(permit);
                });
                Ok(answer)
            }
            Err(error) => {
                self.latest.remove(&user);
                Err(error)
            }
        }
    }

    /// Counts an echo before it sends anything, and returns the token that ends it.
    fn begin(&self, user: UserId) -> Result<CancellationToken, EchoError> {
        if self.latest.len() > MAX_REMEMBERED_PEOPLE {
            self.latest.retain(|_, latest| latest.started.elapsed() < ECHO_INTERVAL);
        }
        let begun = LatestEcho { started: Instant::now(), end: CancellationToken::new() };
        let end = begun.end.clone();
        match self.latest.entry(user) {
            Entry::Vacant(entry) => drop(entry.insert(begun)),
            Entry::Occupied(mut entry) => {
                let wait = ECHO_INTERVAL.saturating_sub(entry.get().started.elapsed());
                if !wait.is_zero() {
                    return Err(EchoError::TooSoon(wait));
                }
                entry.insert(begun).end.cancel();
            }
        }
        Ok(end)
    }

    /// Waits briefly for a permit, because an echo that was just cancelled releases its own in a moment.
    async fn acquire_permit(&self) -> Result<OwnedSemaphorePermit, EchoError> {
        match tokio::time::timeout(PERMIT_TIMEOUT, self.permits.clone().acquire_owned()).await {
            Ok(permit) => Ok(permit.expect("the semaphore is never closed")),
            Err(_) => Err(EchoError::Busy),
        }
    }
}

/// Runs an echo until its time is up, it fails, or another one replaces it.
async fn run(peer: EchoPeer, end: &CancellationToken) {
    let lifetime = async {
        if tokio::time::timeout(CONNECT_TIMEOUT, peer.connected()).await.is_ok() {
            // The time is up or the client ended the call; the echo closes in both cases.
            let _ = tokio::time::timeout(MAX_ECHO_DURATION, peer.ended()).await;
        }
    };
    tokio::select! {
        () = lifetime => {}
        () = end.cancelled() => {}
    }
    peer.close().await;
}
