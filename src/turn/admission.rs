//! Filters unauthenticated traffic in front of the TURN server: it counts rejected requests, and bounds what strangers
//! can make the server remember.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use governor::Quota;
use tokio::net::UdpSocket;
use webrtc_util::Conn;

use super::auth::AuthenticatedUser;
use super::conn::{ConnResult, unsupported};
use super::metrics::RelayMetrics;
use super::stun::{
    ALLOCATE_ERROR, ATTRIBUTE_ERROR_CODE, ATTRIBUTE_NONCE, METHOD_BINDING, attribute, challenge, is_request,
    parse_message,
};
use super::tcp::TcpStreams;
use crate::subject_limiter::SubjectLimiter;

/// Requests without a valid nonce that one address may send: per second, and in one burst.
const UNAUTHENTICATED_PER_SECOND: NonZeroU32 = NonZeroU32::new(20).expect("20 is not 0");
const UNAUTHENTICATED_BURST: NonZeroU32 = NonZeroU32::new(100).expect("100 is not 0");
/// How long the filter hands a nonce to other clients, and how long it accepts one. The server's own nonces last longer.
const NONCE_REUSE_PERIOD: Duration = Duration::from_secs(1_800);
const NONCE_LIFETIME: Duration = Duration::from_secs(3_500);

enum Transport {
    Udp(UdpSocket),
    Tcp(TcpStreams),
}

/// A listener of the TURN server, behind the filter.
pub struct AdmissionFilter {
    transport: Transport,
    metrics: Arc<RelayMetrics>,
    authenticated_user: AuthenticatedUser,
    per_address: SubjectLimiter,
    nonces: Mutex<Nonces>,
}

/// The server's nonces, newest last. There are only a few, because each one goes to all clients that ask.
type Nonces = VecDeque<(Instant, Vec<u8>)>;

/// What happens to a packet.
enum Admission {
    Admit,
    Drop,
    Challenge(Vec<u8>),
}

impl AdmissionFilter {
    pub fn udp(socket: UdpSocket, metrics: Arc<RelayMetrics>, authenticated_user: AuthenticatedUser) -> Self {
        Self::new(Transport::Udp(socket), metrics, authenticated_user)
    }

    pub fn tcp(streams: TcpStreams, metrics: Arc<RelayMetrics>, authenticated_user: AuthenticatedUser) -> Self {
        Self::new(Transport::Tcp(streams), metrics, authenticated_user)
    }

    fn new(transport: Transport, metrics: Arc<RelayMetrics>, authenticated_user: AuthenticatedUser) -> Self {
        let quota = Quota::per_second(UNAUTHENTICATED_PER_SECOND).allow_burst(UNAUTHENTICATED_BURST);
        Self {
            transport,
            metrics,
            authenticated_user,
            per_address: SubjectLimiter::new(quota),
            nonces: Mutex::default(),
        }
    }

    /// Decides what happens to a packet. The server answers each request without a valid nonce with a fresh one, which
    /// it stores forever. So only one such request per half hour reaches it, and the filter answers all others.
    fn admit(&self, packet: &[u8], from: SocketAddr) -> Admission {
        let Some((kind, attributes)) = parse_message(packet) else { return Admission::Admit };
        if !is_request(kind) || kind == METHOD_BINDING {
            return Admission::Admit;
        }
        let given = attribute(attributes, ATTRIBUTE_NONCE);
        let nonces = self.nonces();
        if given.is_some_and(|given| nonces.iter().any(|(at, nonce)| at.elapsed() < NONCE_LIFETIME && nonce == given)) {
            return Admission::Admit;
        }
        if self.per_address.count(&from.ip()).is_err() {
            RelayMetrics::increment(&self.metrics.flood);
            return Admission::Drop;
        }
        match nonces.back().filter(|(at, _)| at.elapsed() < NONCE_REUSE_PERIOD) {
            Some((_, nonce)) => Admission::Challenge(challenge(packet, kind, given.is_some(), nonce)),
            None => Admission::Admit,
        }
    }

    /// Records nonces and failed authentications from the server's responses.
    fn inspect_response(&self, packet: &[u8]) {
        let Some((kind, attributes)) = parse_message(packet) else { return };
        if let Some(nonce) = attribute(attributes, ATTRIBUTE_NONCE) {
            let mut nonces = self.nonces();
            nonces.push_back((Instant::now(), nonce.to_vec()));
            nonces.retain(|(at, _)| at.elapsed() < NONCE_LIFETIME);
        }
        let code = attribute(attributes, ATTRIBUTE_ERROR_CODE).filter(|value| value.len() >= 4);
        // The user name was valid, yet the server answered 400: the password was wrong.
        if kind == ALLOCATE_ERROR
            && code.is_some_and(|value| value[2] & 7 == 4 && value[3] == 0)
            && self.authenticated_user.take().is_some()
        {
            RelayMetrics::increment(&self.metrics.forged);
        }
    }

    async fn transmit(&self, buf: &[u8], target: SocketAddr) -> ConnResult<usize> {
        match &self.transport {
            Transport::Udp(socket) => Ok(socket.send_to(buf, target).await?),
            Transport::Tcp(streams) => Ok(streams.send_to(buf, target)),
        }
    }

    fn nonces(&self) -> MutexGuard<'_, Nonces> {
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Conn for AdmissionFilter {
    async fn connect(&self, _: SocketAddr) -> ConnResult<()> {
        Err(unsupported())
    }

    async fn recv(&self, _: &mut [u8]) -> ConnResult<usize> {
        Err(unsupported())
    }

    async fn recv_from(&self, buf: &mut [u8]) -> ConnResult<(usize, SocketAddr)> {
        loop {
            let (len, from) = match &self.transport {
                Transport::Udp(socket) => match socket.recv_from(buf).await {
                    Ok(received) => received,
                    // ICMP reports that an earlier response reached a closed port, which does not concern this socket.
                    Err(_) => continue,
                },
                Transport::Tcp(streams) => streams.recv_from(buf).await?,
            };
            match self.admit(&buf[..len], from) {
                Admission::Admit => return Ok((len, from)),
                Admission::Drop => {}
                // If sending fails, the response is lost like any packet.
                Admission::Challenge(response) => drop(self.transmit(&response, from).await),
            }
        }
    }

    async fn send(&self, _: &[u8]) -> ConnResult<usize> {
        Err(unsupported())
    }

    async fn send_to(&self, buf: &[u8], target: SocketAddr) -> ConnResult<usize> {
        self.inspect_response(buf);
        self.transmit(buf, target).await
    }

    fn local_addr(&self) -> ConnResult<SocketAddr> {
        match &self.transport {
            Transport::Udp(socket) => Ok(socket.local_addr()?),
            Transport::Tcp(streams) => Ok(streams.local_addr()),
        }
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
