//! The addresses that are relayed from: how many one credential has, how much goes through each, and to whom.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use dashmap::DashMap;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use rand::Rng;
use tokio::net::UdpSocket;
use turn::Error;
use turn::relay::RelayAddressGenerator;
use webrtc_util::Conn;

use super::Figures;
use super::credentials::{expiry, session};
use super::gate::Last;
use super::peers::is_allowed;
use crate::clock::Clock;
use crate::config::EmbeddedTurn;

type Result<T> = std::result::Result<T, webrtc_util::Error>;

/// Allocations that one session may have, by whichever of its credentials: a device with many networks tries several ways by UDP and TCP.
pub const MAX_ALLOCATIONS: usize = 12;
/// How many ports are tried until there is said to be none.
const TRIES: usize = 32;

/// Gives out relay addresses to whoever was authenticated last.
pub struct Relays {
    pub settings: EmbeddedTurn,
    pub clock: Clock,
    pub last: Last,
    /// Allocations by session.
    pub used: Arc<DashMap<String, usize>>,
    pub figures: Arc<Figures>,
}

#[async_trait]
impl RelayAddressGenerator for Relays {
    fn validate(&self) -> std::result::Result<(), Error> {
        Ok(())
    }

    async fn allocate_conn(
        &self,
        use_ipv4: bool,
        _requested_port: u16,
    ) -> std::result::Result<(Arc<dyn Conn + Send + Sync>, SocketAddr), Error> {
        if use_ipv4 != self.settings.listen.is_ipv4() {
            return Err(Error::ErrListeningAddressInvalid);
        }
        let username = self.last.take().ok_or(Error::ErrNoSuchUser)?;
        if expiry(&username).is_none_or(|until| until <= self.clock.now()) {
            Figures::count(&self.figures.expired);
            return Err(Error::ErrNoSuchUser);
        }
        let Some(share) = Share::take(&self.used, session(&username)) else {
            Figures::count(&self.figures.over_quota);
            return Err(Error::Other("the credential has as many allocations as it may".to_owned()));
        };
        let (first, last) = self.settings.relay_ports;
        for _ in 0..TRIES {
            let port = rand::rng().random_range(first..=last);
            let Ok(socket) = UdpSocket::bind((self.settings.listen.ip(), port)).await else { continue };
            Figures::count(&self.figures.allocations);
            let relay = Relayed {
                socket,
                settings: self.settings.clone(),
                limiter: limiter(self.settings.bytes_per_second),
                figures: self.figures.clone(),
                _share: share,
            };
            return Ok((Arc::new(relay), SocketAddr::new(self.settings.public, port)));
        }
        Err(Error::ErrMaxRetriesExceeded)
    }
}

/// One of the allocations of a session; given back when dropped.
struct Share {
    used: Arc<DashMap<String, usize>>,
    session: String,
}

impl Share {
    fn take(used: &Arc<DashMap<String, usize>>, session: &str) -> Option<Self> {
        let mut count = used.entry(session.to_owned()).or_insert(0);
        if *count >= MAX_ALLOCATIONS {
            return None;
        }
        *count += 1;
        drop(count);
        Some(Self { used: used.clone(), session: session.to_owned() })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(mut count) = self.used.get_mut(&self.session) {
            *count -= 1;
        }
        self.used.remove_if(&self.session, |_, count| *count == 0);
    }
}

/// Bytes of both ways together; a second's worth at once.
fn limiter(bytes_per_second: NonZeroU32) -> DefaultDirectRateLimiter {
    RateLimiter::direct(Quota::per_second(bytes_per_second))
}

/// One relay address.
struct Relayed {
    socket: UdpSocket,
    settings: EmbeddedTurn,
    limiter: DefaultDirectRateLimiter,
    figures: Arc<Figures>,
    _share: Share,
}

impl Relayed {
    /// What else runs on the relay's own address is nobody's peer; another relayed address is.
    fn is_own(&self, peer: SocketAddr) -> bool {
        let EmbeddedTurn { listen, public, relay_ports: (first, last), private_peers, .. } = &self.settings;
        let own = peer.ip() == listen.ip() || peer.ip() == *public;
        own && !private_peers && !(*first..=*last).contains(&peer.port())
    }

    /// Whether a packet of this length goes to or comes from there; counted either way.
    fn passes(&self, len: usize, peer: SocketAddr) -> bool {
        if !is_allowed(peer.ip(), self.settings.private_peers) || self.is_own(peer) {
            Figures::count(&self.figures.forbidden_peers);
            return false;
        }
        let length = u32::try_from(len).ok().and_then(NonZeroU32::new);
        let fits = length.is_none_or(|length| matches!(self.limiter.check_n(length), Ok(Ok(()))));
        if fits {
            self.figures.bytes.fetch_add(len as u64, Ordering::Relaxed);
        } else {
            Figures::count(&self.figures.over_bandwidth);
        }
        fits
    }
}

#[async_trait]
impl Conn for Relayed {
    async fn connect(&self, _: SocketAddr) -> Result<()> {
        Err(unused())
    }

    async fn recv(&self, _: &mut [u8]) -> Result<usize> {
        Err(unused())
    }

    async fn recv_from(&self, buf: &mut [u8]) -> Result<(usize, SocketAddr)> {
        loop {
            let (len, peer) = self.socket.recv_from(buf).await?;
            if self.passes(len, peer) {
                return Ok((len, peer));
            }
        }
    }

    async fn send(&self, _: &[u8]) -> Result<usize> {
        Err(unused())
    }

    /// What is not passed is lost without a word, as packets are.
    async fn send_to(&self, buf: &[u8], target: SocketAddr) -> Result<usize> {
        if self.passes(buf.len(), target) { Ok(self.socket.send_to(buf, target).await?) } else { Ok(buf.len()) }
    }

    fn local_addr(&self) -> Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        None
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}

/// A relay has no one other side.
pub fn unused() -> webrtc_util::Error {
    std::io::Error::from(std::io::ErrorKind::Unsupported).into()
}
