//! The echo call: one person calls the hub, and hears and sees themselves after a short delay. It answers "can I be
//! heard?" before the other side joins.
//!
//! The hub is a WebRTC peer here, with the same STUN and TURN servers as any session. One request carries offer and
//! answer, without trickled candidates. The hub keeps no media. The number of echoes, their duration, and the packets
//! awaiting playback are all bounded.

mod peer;
mod playback;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use rooms::id::SessionId;
use rooms::sdp::Sdp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use self::peer::{EchoPeer, MediaAddress};
use crate::turn::Relay;

/// Concurrent echoes on this node.
pub const MAX_ECHOES: usize = 8;
/// How long an echo may last.
pub const MAX_ECHO_DURATION: Duration = Duration::from_secs(60);
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
    /// The offer is well-formed, but the echo supports none of its media.
    #[error("the offer must have Opus audio or VP8 video, and at least one candidate")]
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
    /// Cancels the running echo of each sign-in.
    running: Arc<DashMap<SessionId, CancellationToken>>,
}

impl Echo {
    /// Creates the node's echoes, which send from `listen` and are reachable at `public`.
    pub fn new(relay: Arc<Relay>, listen: IpAddr, public: IpAddr) -> Self {
        let permits = Arc::new(Semaphore::new(MAX_ECHOES));
        Self { relay, address: MediaAddress { listen, public }, permits, running: Arc::default() }
    }

    /// Answers an offer, and ends the previous echo of the same sign-in.
    pub async fn answer(&self, session: SessionId, offer: &Sdp) -> Result<Sdp, EchoError> {
        if let Some((_, previous)) = self.running.remove(&session) {
            previous.cancel();
        }
        let permit = self.acquire_permit().await?;
        let servers = self.relay.servers(session);
        let (peer, answer) = EchoPeer::answer(self.address, &servers.ice_servers, offer).await?;
        let end = CancellationToken::new();
        self.running.insert(session, end.clone());
        let echo = self.clone();
        tokio::spawn(async move {
            run(peer, &end).await;
            end.cancel();
            echo.running.remove_if(&session, |_, latest| latest.is_cancelled());
            drop(permit);
        });
        Ok(answer)
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
