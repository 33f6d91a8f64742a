//! What stands before the TURN server: it counts what is refused, and bounds what strangers can make it remember.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::net::UdpSocket;
use webrtc_util::Conn;

use super::Figures;
use super::relay::unused;
use super::tcp::Streams;

type Result<T> = std::result::Result<T, webrtc_util::Error>;

/// Requests without a nonce that the server gave out, of one address: per second for long, and at once.
const OF_ONE: (NonZeroU32, NonZeroU32) = (per(20), per(100));
/// How long a nonce is handed on to others, and how long the server knows it.
const FRESH: Duration = Duration::from_secs(1_800);
const KNOWN: Duration = Duration::from_secs(3_500);

const METHOD_BINDING: u16 = 0x0001;
const ALLOCATE_ERROR: u16 = 0x0113;
const ERROR_CODE: u16 = 0x0009;
const NONCE: u16 = 0x0015;
const REALM_NAME: u16 = 0x0014;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

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
    nonces: Mutex<Nonces>,
}

/// The nonces that the server gave out, newest last: at most a few, because each is handed on to all who ask.
type Nonces = VecDeque<(Instant, Vec<u8>)>;

impl Gate {
    pub fn udp(socket: UdpSocket, figures: Arc<Figures>, last: Last) -> Self {
        Self::new(Way::Udp(socket), figures, last)
    }

    pub fn tcp(streams: Streams, figures: Arc<Figures>, last: Last) -> Self {
        Self::new(Way::Tcp(streams), figures, last)
    }

    fn new(way: Way, figures: Arc<Figures>, last: Last) -> Self {
        let quota = |(second, burst)| Quota::per_second(second).allow_burst(burst);
        Self { way, figures, last, of_one: RateLimiter::keyed(quota(OF_ONE)), nonces: Mutex::default() }
    }

    /// What becomes of a packet. The server answers each request without a nonce of its own with a fresh one and keeps
    /// that for ever; so it is asked twice an hour, and everybody else is answered here.
    fn judge(&self, packet: &[u8], from: SocketAddr) -> Verdict {
        let Some((kind, attributes)) = message(packet) else { return Verdict::Admit };
        let is_request = kind & 0x0110 == 0;
        if !is_request || kind == METHOD_BINDING {
            return Verdict::Admit;
        }
        let given = attribute(attributes, NONCE);
        let nonces = self.nonces();
        if given.is_some_and(|given| nonces.iter().any(|(at, nonce)| at.elapsed() < KNOWN && nonce == given)) {
            return Verdict::Admit;
        }
        if self.of_one.check_key(&from.ip()).is_err() {
            Figures::count(&self.figures.flood);
            if self.of_one.len() > 10_000 {
                self.of_one.retain_recent();
            }
            return Verdict::Drop;
        }
        match nonces.back().filter(|(at, _)| at.elapsed() < FRESH) {
            Some((_, nonce)) => Verdict::Answer(challenge(packet, kind, given.is_some(), nonce)),
            None => Verdict::Admit,
        }
    }

    /// Learns from what the server answers.
    fn notes(&self, packet: &[u8]) {
        let Some((kind, attributes)) = message(packet) else { return };
        if let Some(nonce) = attribute(attributes, NONCE) {
            let mut nonces = self.nonces();
            nonces.push_back((Instant::now(), nonce.to_vec()));
            nonces.retain(|(at, _)| at.elapsed() < KNOWN);
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

    async fn put(&self, buf: &[u8], target: SocketAddr) -> Result<usize> {
        match &self.way {
            Way::Udp(socket) => Ok(socket.send_to(buf, target).await?),
            Way::Tcp(streams) => Ok(streams.send_to(buf, target)),
        }
    }

    fn nonces(&self) -> std::sync::MutexGuard<'_, Nonces> {
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Verdict {
    Admit,
    Drop,
    Answer(Vec<u8>),
}

/// "Say it again with this nonce": 401, or 438 when an old one was given (RFC 8489, section 9.2.4).
fn challenge(request: &[u8], kind: u16, is_stale: bool, nonce: &[u8]) -> Vec<u8> {
    let mut answer = (kind | 0x0110).to_be_bytes().to_vec();
    answer.extend([0; 2]);
    answer.extend(MAGIC_COOKIE);
    answer.extend(&request[8..20]);
    let mut put = |kind: u16, value: &[u8]| {
        answer.extend(kind.to_be_bytes());
        answer.extend(u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
        answer.extend(value);
        answer.resize(answer.len().next_multiple_of(4), 0);
    };
    put(ERROR_CODE, &[0, 0, 4, if is_stale { 38 } else { 1 }]);
    put(REALM_NAME, super::REALM.as_bytes());
    put(NONCE, nonce);
    let length = u16::try_from(answer.len() - 20).unwrap_or(0);
    answer[2..4].copy_from_slice(&length.to_be_bytes());
    answer
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
            match self.judge(&buf[..len], from) {
                Verdict::Admit => return Ok((len, from)),
                Verdict::Drop => {}
                // Lost like any packet if it cannot be sent.
                Verdict::Answer(answer) => drop(self.put(&answer, from).await),
            }
        }
    }

    async fn send(&self, _: &[u8]) -> Result<usize> {
        Err(unused())
    }

    async fn send_to(&self, buf: &[u8], target: SocketAddr) -> Result<usize> {
        self.notes(buf);
        self.put(buf, target).await
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
