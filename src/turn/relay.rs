//! Relay addresses: how many one session may have, how much bandwidth each gets, and which peers it may reach.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use rand::Rng;
use tokio::net::UdpSocket;
use turn::Error;
use turn::relay::RelayAddressGenerator;
use webrtc_util::Conn;

use super::auth::AuthenticatedUser;
use super::conn::{ConnResult, unsupported};
use super::credentials::{expiry, session};
use super::metrics::RelayMetrics;
use super::quota::{AllocationPermit, AllocationQuota};
use crate::clock::Clock;
use crate::config::EmbeddedTurn;
use crate::egress::AddressPolicy;

/// Ports to try before an allocation fails.
const MAX_PORT_ATTEMPTS: usize = 32;

/// Allocates relay addresses to the user that the server authenticated last.
pub struct RelayAllocator {
    pub settings: EmbeddedTurn,
    pub clock: Clock,
    pub authenticated_user: AuthenticatedUser,
    pub quota: AllocationQuota,
    pub metrics: Arc<RelayMetrics>,
}

#[async_trait]
impl RelayAddressGenerator for RelayAllocator {
    fn validate(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn allocate_conn(
        &self,
        use_ipv4: bool,
        _requested_port: u16,
    ) -> Result<(Arc<dyn Conn + Send + Sync>, SocketAddr), Error> {
        if use_ipv4 != self.settings.listen.is_ipv4() {
            return Err(Error::ErrListeningAddressInvalid);
        }
        let username = self.authenticated_user.take().ok_or(Error::ErrNoSuchUser)?;
        if expiry(&username).is_none_or(|expires_at| expires_at <= self.clock.now()) {
            RelayMetrics::increment(&self.metrics.expired);
            return Err(Error::ErrNoSuchUser);
        }
        let Some(permit) = self.quota.acquire(session(&username)) else {
            RelayMetrics::increment(&self.metrics.over_quota);
            return Err(Error::Other("the session has reached its limit of allocations".to_owned()));
        };
        let (first, last) = self.settings.relay_ports;
        for _ in 0..MAX_PORT_ATTEMPTS {
            let port = rand::rng().random_range(first..=last);
            let Ok(socket) = UdpSocket::bind((self.settings.listen.ip(), port)).await else { continue };
            RelayMetrics::increment(&self.metrics.allocations);
            let relay = RelaySocket {
                socket,
                settings: self.settings.clone(),
                bandwidth: bandwidth_limiter(self.settings.bytes_per_second),
                metrics: self.metrics.clone(),
                _permit: permit,
            };
            return Ok((Arc::new(relay), SocketAddr::new(self.settings.public, port)));
        }
        Err(Error::ErrMaxRetriesExceeded)
    }
}

/// Limits the bytes of both directions together, with bursts of up to one second's worth.
fn bandwidth_limiter(bytes_per_second: NonZeroU32) -> DefaultDirectRateLimiter {
    RateLimiter::direct(Quota::per_second(bytes_per_second))
}

/// The socket of one allocation.
struct RelaySocket {
    socket: UdpSocket,
    settings: EmbeddedTurn,
    bandwidth: DefaultDirectRateLimiter,
    metrics: Arc<RelayMetrics>,
    _permit: AllocationPermit,
}

impl RelaySocket {
    /// Returns `true` for other services on the relay's own address. Other relay ports are legitimate peers.
    fn is_own_service(&self, peer: SocketAddr) -> bool {
        let EmbeddedTurn { listen, public, relay_ports: (first, last), private_peers, .. } = &self.settings;
        let own = peer.ip() == listen.ip() || peer.ip() == *public;
        own && !private_peers && !(*first..=*last).contains(&peer.port())
    }

    /// Checks a packet in either direction against peer policy and bandwidth, and counts it.
    fn admits(&self, len: usize, peer: SocketAddr) -> bool {
        if !AddressPolicy::for_media(self.settings.private_peers).allows(peer.ip()) || self.is_own_service(peer) {
            RelayMetrics::increment(&self.metrics.forbidden_peers);
            return false;
        }
        let length = u32::try_from(len).ok().and_then(NonZeroU32::new);
        let fits = length.is_none_or(|length| matches!(self.bandwidth.check_n(length), Ok(Ok(()))));
        if fits {
            self.metrics.bytes.fetch_add(len as u64, Ordering::Relaxed);
        } else {
            RelayMetrics::increment(&self.metrics.over_bandwidth);
        }
        fits
    }
}

#[async_trait]
impl Conn for RelaySocket {
    async fn connect(&self, _: SocketAddr) -> ConnResult<()> {
        Err(unsupported())
    }

    async fn recv(&self, _: &mut [u8]) -> ConnResult<usize> {
        Err(unsupported())
    }

    async fn recv_from(&self, buf: &mut [u8]) -> ConnResult<(usize, SocketAddr)> {
        loop {
            let (len, peer) = self.socket.recv_from(buf).await?;
            if self.admits(len, peer) {
                return Ok((len, peer));
            }
        }
    }

    async fn send(&self, _: &[u8]) -> ConnResult<usize> {
        Err(unsupported())
    }

    /// Drops a rejected packet silently, as a network would.
    async fn send_to(&self, buf: &[u8], target: SocketAddr) -> ConnResult<usize> {
        if self.admits(buf.len(), target) { Ok(self.socket.send_to(buf, target).await?) } else { Ok(buf.len()) }
    }

    fn local_addr(&self) -> ConnResult<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        None
    }

    async fn close(&self) -> ConnResult<()> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}
