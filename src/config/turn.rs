//! The settings of STUN and TURN: an embedded server, others by their addresses, or none.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::sources::Turn;
use super::{ConfigError, value, within};

const DEFAULT_PORT: u16 = 3478;
/// RFC 6056's dynamic ports.
const DEFAULT_RELAY_PORTS: (u16, u16) = (49_152, 65_535);

/// How media gets through.
#[derive(Clone, Debug)]
pub struct TurnSettings {
    /// Absent when other servers are named, or none is wanted.
    pub embedded: Option<EmbeddedTurn>,
    /// Other servers, as browsers take them: `turn:…`, `turns:…`, `stun:…`.
    pub urls: Vec<String>,
    pub secret: TurnSecret,
}

/// The embedded server.
#[derive(Clone, Debug)]
pub struct EmbeddedTurn {
    /// By UDP and TCP.
    pub listen: SocketAddr,
    /// Whether that is a person's choice: then another port will not do.
    pub is_chosen: bool,
    /// The address that clients are told.
    pub public: IpAddr,
    /// First and last.
    pub relay_ports: (u16, u16),
    /// Whether it relays to loopback and private networks.
    pub private_peers: bool,
    /// Of one allocation, both ways together.
    pub bytes_per_second: NonZeroU32,
}

/// What the hub and the relays share.
#[derive(Clone, Debug)]
pub enum TurnSecret {
    Given(SecretString),
    /// Kept there, and made at the first start.
    File(PathBuf),
}

impl Turn {
    /// `listen` is where the hub listens: beside it, on loopback, a relay runs by default.
    pub(super) fn check(self, listen: SocketAddr, data_dir: &Path, demo: bool) -> Result<TurnSettings, ConfigError> {
        let urls = self.urls.clone().unwrap_or_default();
        let secret = match self.secret.clone() {
            Some(secret) if secret.len() < 16 => {
                return Err(value("turn.secret", "is too short; use 16 characters or more"));
            }
            Some(secret) => TurnSecret::Given(SecretString::from(secret)),
            None => TurnSecret::File(data_dir.join("turn.secret")),
        };
        if urls.is_empty() {
            return Ok(TurnSettings { embedded: self.embedded(listen, demo)?, urls, secret });
        }
        if self.listen.is_some() {
            return Err(value("turn.listen", "is of no use with turn.urls: remove one of the two"));
        }
        if !urls.iter().all(|url| ["turn:", "turns:", "stun:", "stuns:"].iter().any(|scheme| url.starts_with(scheme))) {
            return Err(value(
                "turn.urls",
                "must begin with turn:, turns:, stun: or stuns:, e.g. turn:turn.example.org:3478?transport=udp",
            ));
        }
        if matches!(secret, TurnSecret::File(_)) && urls.iter().any(|url| url.starts_with("turn")) {
            return Err(value("turn.secret", "must be set with turn.urls, to the relay's static-auth-secret"));
        }
        Ok(TurnSettings { embedded: None, urls, secret })
    }

    fn embedded(self, hub: SocketAddr, demo: bool) -> Result<Option<EmbeddedTurn>, ConfigError> {
        let default_port = if hub.port() == 0 { 0 } else { DEFAULT_PORT };
        let listen = match self.listen.as_deref() {
            Some("off") => return Ok(None),
            Some(text) => text.parse().map_err(|_| {
                value("turn.listen", "is not an address with a port, or `off`; write for example 192.0.2.7:3478")
            })?,
            None if hub.ip().is_loopback() => SocketAddr::new(hub.ip(), default_port),
            // Which of its addresses a hub behind a proxy can be reached at is not known.
            None => return Ok(None),
        };
        let public = match self.public_address.as_deref() {
            Some(text) => text.parse().map_err(|_| value("turn.public_address", "is not an IP address"))?,
            None if listen.ip().is_unspecified() => {
                return Err(value(
                    "turn.public_address",
                    "must be set when turn.listen names no address of its own: to the one that clients reach",
                ));
            }
            None => listen.ip(),
        };
        let kilobits = within("turn.kilobits_per_second", self.kilobits_per_second, 4_000, 64, 1_000_000)?;
        Ok(Some(EmbeddedTurn {
            listen,
            is_chosen: self.listen.is_some(),
            public,
            relay_ports: self.relay_ports.as_deref().map_or(Ok(DEFAULT_RELAY_PORTS), ports)?,
            private_peers: self.private_peers.unwrap_or(demo && listen.ip().is_loopback()),
            bytes_per_second: NonZeroU32::new(kilobits * 125).unwrap_or(NonZeroU32::MIN),
        }))
    }
}

fn ports(text: &str) -> Result<(u16, u16), ConfigError> {
    let pair =
        text.split_once('-').and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
    pair.filter(|(first, last)| 1024 <= *first && first <= last)
        .ok_or_else(|| value("turn.relay_ports", "is not a range of ports from 1024 on; write for example 49152-65535"))
}
