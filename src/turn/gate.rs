//! What stands before the TURN server: it counts what is refused, and bounds what strangers can make it remember.

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::net::UdpSocket;
use webrtc_util::Conn;

use super::Figures;
use super::relay::unused;
use super::tcp::Streams;

type Result<T> = std::result::Result<T, webrtc_util::Error>;

/// Requests without a nonce that the server gave out: it answers each with a fresh one and keeps that for ever, about 100
/// bytes. Per second for long, and at once; of one address, and of all.
const OF_ONE: (NonZeroU32, NonZeroU32) = (per(20), per(100));
const OF_ALL: (NonZeroU32, NonZeroU32) = (per(100), per(2_000));
/// Nonces that are known to have been given out; older ones are asked for anew.
const MAX_NONCES: usize = 50_000;

const METHOD_BINDING: u16 = 0x0001;
const ALLOCATE_ERROR: u16 = 0x0113;
const ERROR_CODE: u16 = 0x0009;
const NONCE: u16 = 0x0015;

const fn per(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("it is not 0")
}

/// The user name that a server authenticated last.
#[derive(Clone, Default)]
pub struct Last(Arc<Mutex<Option<String>>>);

impl Last {
    pub fn set(&self, username: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(username.to_owned());
    }

    pub fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

enum Way {
    Udp(UdpSocket),
    Tcp(Streams),
}

/// A listener of the server.
pub struct Gate {
    way: Way,
    figures: Arc<Figures>,
    last: Last,
    of_one: DefaultKeyedRateLimiter<IpAddr>,
    of_all: DefaultDirectRateLimiter,
    nonces: Mutex<Nonces>,
}

#[derive(Default)]
struct Nonces {
    known: HashSet<Box<[u8]>>,
    order: VecDeque<Box<[u8]>>,
}

impl Nonces {
    fn keep(&mut self, nonce: &[u8]) {
        if self.known.insert(nonce.into()) {
            self.order.push_back(nonce.into());
        }
        if self.order.len() > MAX_NONCES
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

impl Gate {
    pub fn udp(socket: UdpSocket, figures: Arc<Figures>, last: Last) -> Self {
        Self::new(Way::Udp(socket), figures, last)
    }

    pub fn tcp(streams: Streams, figures: Arc<Figures>, last: Last) -> Self {
        Self::new(Way::Tcp(streams), figures, last)
    }

    fn new(way: Way, figures: Arc<Figures>, last: Last) -> Self {
        let quota = |(second, burst)| Quota::per_second(second).allow_burst(burst);
        let (of_one, of_all) = (RateLimiter::keyed(quota(OF_ONE)), RateLimiter::direct(quota(OF_ALL)));
        Self { way, figures, last, of_one, of_all, nonces: Mutex::default() }
    }

    /// Whether the server gets to see this packet.
    fn admits(&self, packet: &[u8], from: SocketAddr) -> bool {
        let Some((kind, attributes)) = message(packet) else { return true };
        let is_request = kind & 0x0110 == 0;
        if !is_request || kind == METHOD_BINDING {
            return true;
        }
        let known = attribute(attributes, NONCE).is_some_and(|nonce| self.nonces().known.contains(nonce));
        let fits = known || (self.of_one.check_key(&from.ip()).is_ok() && self.of_all.check().is_ok());
        if !fits {
            Figures::count(&self.figures.flood);
            if self.of_one.len() > 10_000 {
                self.of_one.retain_recent();
            }
        }
        fits
    }

    /// Learns from what the server answers.
    fn notes(&self, packet: &[u8]) {
        let Some((kind, attributes)) = message(packet) else { return };
        if let Some(nonce) = attribute(attributes, NONCE) {
            self.nonces().keep(nonce);
        }
        let code = attribute(attributes, ERROR_CODE).filter(|value| value.len() >= 4);
        // It had a user name that has not ended, and was refused as a bad request: the password was wrong.
        if kind == ALLOCATE_ERROR
            && code.is_some_and(|value| value[2] & 7 == 4 && value[3] == 0)
            && self.last.take().is_some()
        {
            Figures::count(&self.figures.forged);
        }
    }

    fn nonces(&self) -> std::sync::MutexGuard<'_, Nonces> {
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The type and the attributes of a STUN message (RFC 8489); none for channel data and everything else.
fn message(packet: &[u8]) -> Option<(u16, &[u8])> {
    let kind = u16::from_be_bytes([*packet.first()?, *packet.get(1)?]);
    let length = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    (kind < 0x4000).then_some(())?;
    Some((kind, packet.get(20..20 + length)?))
}

fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let [a, b, c, d, rest @ ..] = attributes {
        let length = usize::from(u16::from_be_bytes([*c, *d]));
        if u16::from_be_bytes([*a, *b]) == wanted {
            return rest.get(..length);
        }
        attributes = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[async_trait]
impl Conn for Gate {
    async fn connect(&self, _: SocketAddr) -> Result<()> {
        Err(unused())
    }

    async fn recv(&self, _: &mut [u8]) -> Result<usize> {
        Err(unused())
    }

    async fn recv_from(&self, buf: &mut [u8]) -> Result<(usize, SocketAddr)> {
        loop {
            let (len, from) = match &self.way {
                Way::Udp(socket) => match socket.recv_from(buf).await {
                    Ok(received) => received,
                    // An earlier answer met a closed port; that is the other side's affair.
                    Err(_) => continue,
                },
                Way::Tcp(streams) => streams.recv_from(buf).await?,
            };
            if self.admits(&buf[..len], from) {
                return Ok((len, from));
            }
        }
    }

    async fn send(&self, _: &[u8]) -> Result<usize> {
        Err(unused())
    }

    async fn send_to(&self, buf: &[u8], target: SocketAddr) -> Result<usize> {
        self.notes(buf);
        match &self.way {
            Way::Udp(socket) => Ok(socket.send_to(buf, target).await?),
            Way::Tcp(streams) => Ok(streams.send_to(buf, target)),
        }
    }

    fn local_addr(&self) -> Result<SocketAddr> {
        match &self.way {
            Way::Udp(socket) => Ok(socket.local_addr()?),
            Way::Tcp(streams) => Ok(streams.local_addr()),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_packet_is_read_beyond_its_end() {
        for len in 0..64 {
            for byte in [0x00, 0x01, 0x15, 0x40, 0xff] {
                let packet = vec![byte; len];
                if let Some((_, attributes)) = message(&packet) {
                    assert!(attribute(attributes, NONCE).is_none_or(|value| value.len() <= len));
                }
            }
        }
        let mut packet = vec![0, 3, 0, 12];
        packet.extend([0; 16]);
        packet.extend([0, 6, 0, 1, b'x', 0, 0, 0, 0, 0x15, 0, 0]);
        let (kind, attributes) = message(&packet).unwrap();
        assert_eq!((kind, attribute(attributes, NONCE), attribute(attributes, 6)), (3, Some(&[][..]), Some(&b"x"[..])));
    }
}
