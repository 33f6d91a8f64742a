//! The echo call: a person alone calls the hub, and hears and sees themselves a moment later. So "can I be heard?" is
//! answered before the other side is there.
//!
//! The hub is a WebRTC peer here, with the same STUN and TURN servers as any session. Offer and answer are one request,
//! without trickled candidates. Nothing of the media is kept, and everything is bounded: how many echoes there are, how
//! long each lasts, and how much of it waits to be sent back.

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

use self::peer::{Address, Peer};
use crate::turn::Relay;

/// Echoes at a time on this node.
pub const MAX_ECHOES: usize = 8;
/// How long one lasts.
pub const LASTS: Duration = Duration::from_secs(60);
/// How long one may take to come about.
const CONNECT: Duration = Duration::from_secs(15);

/// Why there is no echo.
#[derive(Debug, thiserror::Error)]
pub enum EchoError {
    /// All are in use.
    #[error("everybody tests at the moment; try again in a minute")]
    Busy,
    /// The offer is well-formed, but nothing that the echo can answer.
    #[error("the offer needs sound by Opus or a picture by VP8, and at least one candidate")]
    Offer,
    /// The hub's own side did not start.
    #[error("the echo did not start")]
    Unavailable,
}

/// The echoes of this node.
#[derive(Clone)]
pub struct Echo {
    relay: Arc<Relay>,
    address: Address,
    places: Arc<Semaphore>,
    /// What ends the echo of a sign-in.
    running: Arc<DashMap<SessionId, CancellationToken>>,
}

impl Echo {
    /// Echoes that send from `listen`, which others reach at `public`.
    pub fn new(relay: Arc<Relay>, listen: IpAddr, public: IpAddr) -> Self {
        let places = Arc::new(Semaphore::new(MAX_ECHOES));
        Self { relay, address: Address { listen, public }, places, running: Arc::default() }
    }

    /// Answers an offer. A former echo of the same sign-in ends.
    pub async fn answer(&self, session: SessionId, offer: &Sdp) -> Result<Sdp, EchoError> {
        if let Some((_, former)) = self.running.remove(&session) {
            former.cancel();
        }
        let place = self.place().await?;
        let servers = self.relay.servers(session);
        let (peer, answer) = Peer::answer(self.address, &servers.ice_servers, offer).await?;
        let end = CancellationToken::new();
        self.running.insert(session, end.clone());
        let echo = self.clone();
        tokio::spawn(async move {
            last(peer, &end).await;
            end.cancel();
            echo.running.remove_if(&session, |_, latest| latest.is_cancelled());
            drop(place);
        });
        Ok(answer)
    }

    /// A place; one that was given up just now is free in a moment.
    async fn place(&self) -> Result<OwnedSemaphorePermit, EchoError> {
        match tokio::time::timeout(Duration::from_millis(200), self.places.clone().acquire_owned()).await {
            Ok(place) => Ok(place.expect("the semaphore is never closed")),
            Err(_) => Err(EchoError::Busy),
        }
    }
}

/// Keeps an echo until its time is over, it fails, or another one takes its place.
async fn last(peer: Peer, end: &CancellationToken) {
    let course = async {
        if tokio::time::timeout(CONNECT, peer.connected()).await.is_ok() {
            // Elapsed or ended by the other side: either way it is over.
            let _ = tokio::time::timeout(LASTS, peer.ended()).await;
        }
    };
    tokio::select! {
        () = course => {}
        () = end.cancelled() => {}
    }
    peer.close().await;
}
