//! The settings of STUN and TURN: an embedded server, external ones, or none.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::MIN_SECRET_BYTES;
use super::error::{ConfigError, invalid, within};
use super::raw::RawTurn;

const DEFAULT_PORT: u16 = 3478;
/// The dynamic port_range of RFC 6056.
const DEFAULT_RELAY_PORTS: (u16, u16) = (49_152, 65_535);

/// The servers that relay media.
#[derive(Clone, Debug)]
pub struct TurnSettings {
    /// Absent if external servers are configured, or none is wanted.
    pub embedded: Option<EmbeddedTurn>,
    /// External servers in the form that browsers use: `turn:…`, `turns:…`, `stun:…`.
    pub urls: Vec<String>,
    pub secret: TurnSecretSource,
}

/// The embedded server.
#[derive(Clone, Debug)]
pub struct EmbeddedTurn {
    /// The address for UDP and TCP.
    pub listen: SocketAddr,
    /// Whether the operator chose the address. If not, another port will do.
    pub is_chosen: bool,
    /// The address that clients receive.
    pub public: IpAddr,
    /// The first and the last port.
    pub relay_ports: (u16, u16),
    /// Whether peers on loopback and in private networks are allowed.
    pub private_peers: bool,
    /// The bandwidth of one allocation, both directions together.
    pub bytes_per_second: NonZeroU32,
}

/// Where the secret that hub and relays share comes from.
#[derive(Clone, Debug)]
pub enum TurnSecretSource {
    Given(SecretString),
    /// A file, created at the first start.
    File(PathBuf),
}

impl RawTurn {
    /// Validates the settings. By default a relay runs beside a hub that listens on loopback; `listen` is the hub's
    /// address.
    pub(super) fn validate(self, listen: SocketAddr, data_dir: &Path, demo: bool) -> Result<TurnSettings, ConfigError> {
        let urls = self.urls.clone().unwrap_or_default();
        let secret = match self.secret.clone() {
            Some(secret) if secret.len() < MIN_SECRET_BYTES => {
                return Err(invalid("turn.secret", "is too short; use 16 characters or more"));
            }
            Some(secret) => TurnSecretSource::Given(SecretString::from(secret)),
            None => TurnSecretSource::File(data_dir.join("turn.secret")),
        };
        if urls.is_empty() {
            return Ok(TurnSettings { embedded: self.embedded(listen, demo)?, urls, secret });
        }
        if self.listen.is_some() {
            return Err(invalid("turn.listen", "conflicts with turn.urls: remove one of the two"));
        }
        if !urls.iter().all(|url| ["turn:", "turns:", "stun:", "stuns:"].iter().any(|scheme| url.starts_with(scheme))) {
            return Err(invalid(
                "turn.urls",
                "must begin with turn:, turns:, stun: or stuns:, e.g. turn:turn.example.org:3478?transport=udp",
            ));
        }
        if matches!(secret, TurnSecretSource::File(_)) && urls.iter().any(|url| url.starts_with("turn")) {
            return Err(invalid("turn.secret", "must be set with turn.urls to the relay's static-auth-secret"));
        }
        Ok(TurnSettings { embedded: None, urls, secret })
    }

    fn embedded(self, hub: SocketAddr, demo: bool) -> Result<Option<EmbeddedTurn>, ConfigError> {
        let default_port = if hub.port() == 0 { 0 } else { DEFAULT_PORT };
        let listen = match self.listen.as_deref() {
            Some("off") => return Ok(None),
            Some(text) => text.parse().map_err(|_| {
                invalid("turn.listen", "must be an IP address with a port, e.g. 192.0.2.7:3478, or `off`")
            })?,
            None if hub.ip().is_loopback() => SocketAddr::new(hub.ip(), default_port),
            // The hub cannot know which of its addresses clients would reach.
            None => return Ok(None),
        };
        let public = match self.public_address.as_deref() {
            Some(text) => text.parse().map_err(|_| invalid("turn.public_address", "must be an IP address"))?,
            None if listen.ip().is_unspecified() => {
                return Err(invalid(
                    "turn.public_address",
                    "must be set to the address that clients reach, because turn.listen names no specific one",
                ));
            }
            None => listen.ip(),
        };
        let kilobits = within("turn.kilobits_per_second", self.kilobits_per_second, 4_000, 64, 1_000_000)?;
        Ok(Some(EmbeddedTurn {
            listen,
            is_chosen: self.listen.is_some(),
            public,
            relay_ports: self.relay_ports.as_deref().map_or(Ok(DEFAULT_RELAY_PORTS), port_range)?,
            private_peers: self.private_peers.unwrap_or(demo && listen.ip().is_loopback()),
            bytes_per_second: NonZeroU32::new(kilobits * 125).unwrap_or(NonZeroU32::MIN),
        }))
    }
}

fn port_range(text: &str) -> Result<(u16, u16), ConfigError> {
    let pair =
        text.split_once('-').and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
    pair.filter(|(first, last)| 1024 <= *first && first <= last)
        .ok_or_else(|| invalid("turn.relay_ports", "must be a range of ports from 1024 up, e.g. 49152-65535"))
}
