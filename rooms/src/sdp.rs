//! Session descriptions (RFC 8866) and ICE candidates (RFC 8839), which the peers of a call exchange.
//!
//! Parses them only far enough to bound their size, reject malformed input and remove network addresses. Codecs and other
//! media parameters are left to the peers.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

/// The largest description, in bytes. A browser's description with camera, microphone and a data channel has about 8,000.
pub const MAX_SDP_BYTES: usize = 32 * 1024;
/// The largest candidate, in bytes.
pub const MAX_CANDIDATE_BYTES: usize = 512;
const MAX_LINES: usize = 1_000;
const MAX_LINE_BYTES: usize = 2_048;
const MAX_MEDIA_SECTIONS: usize = 16;

/// Why a description or candidate is invalid. Never quotes it, because it contains network addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    #[error("sdp must be at most {MAX_SDP_BYTES} bytes, {MAX_LINES} lines and {MAX_LINE_BYTES} bytes a line")]
    TooLarge,
    #[error("sdp must consist of lines like a=value, in printable ASCII")]
    Line,
    #[error("sdp must begin with v=0 and have the lines o, s and t before its media")]
    Header,
    #[error("sdp must have 1 to {MAX_MEDIA_SECTIONS} media sections of audio, video or application")]
    Media,
    #[error("sdp must have ice-ufrag, ice-pwd and a fingerprint by SHA-256, SHA-384 or SHA-512")]
    Transport,
    #[error("candidate must be a line of RFC 8839 of at most {MAX_CANDIDATE_BYTES} bytes, or empty for the end")]
    Candidate,
}

/// A session description with a valid form.
#[derive(Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Sdp(Box<str>);

impl Sdp {
    /// Checks size, line format, required header lines, media sections and transport attributes.
    pub fn parse(raw: &str) -> Result<Self, SdpError> {
        if raw.len() > MAX_SDP_BYTES {
            return Err(SdpError::TooLarge);
        }
        let mut header = [false; 3];
        let (mut media, mut ufrag, mut password, mut fingerprint) = (0, false, false, false);
        for (at, line) in lines(raw).enumerate() {
            if at >= MAX_LINES || line.len() > MAX_LINE_BYTES {
                return Err(SdpError::TooLarge);
            }
            let (kind, value) = line.split_once('=').ok_or(SdpError::Line)?;
            let printable = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            if !matches!(kind.as_bytes(), [b'a'..=b'z']) || !printable || value.is_empty() {
                return Err(SdpError::Line);
            }
            match (at, kind) {
                (0, _) if line != "v=0" => return Err(SdpError::Header),
                (_, "o") => header[0] = true,
                (_, "s") => header[1] = true,
                (_, "t") => header[2] = true,
                (_, "m") => {
                    media += 1;
                    let known = ["audio ", "video ", "application "].iter().any(|kind| value.starts_with(kind));
                    if media > MAX_MEDIA_SECTIONS || !known {
                        return Err(SdpError::Media);
                    }
                }
                (_, "a") => match value.split_once(':') {
                    Some(("ice-ufrag", text)) => ufrag |= (4..=256).contains(&text.len()),
                    Some(("ice-pwd", text)) => password |= (22..=256).contains(&text.len()),
                    Some(("fingerprint", text)) => fingerprint |= is_strong(text),
                    Some(("candidate", _)) => drop(Fields::read(value).ok_or(SdpError::Candidate)?),
                    _ => {}
                },
                _ => {}
            }
            if media == 1 && header != [true; 3] {
                return Err(SdpError::Header);
            }
        }
        match (media, ufrag && password && fingerprint) {
            (0, _) => Err(SdpError::Media),
            (_, false) => Err(SdpError::Transport),
            (_, true) => Ok(Self(raw.into())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns a copy with only those candidates that `keep` accepts by their transport address. Candidates over TCP and
    /// candidates with a name instead of an address are always removed.
    pub fn with_udp_candidates(&self, mut keep: impl FnMut(SocketAddr) -> bool) -> Self {
        let mut out = String::with_capacity(self.0.len());
        for line in lines(&self.0) {
            let candidate = line.strip_prefix("a=").filter(|value| value.starts_with("candidate:"));
            let is_kept = |value| Fields::read(value).and_then(|fields| fields.udp_address()).is_some_and(&mut keep);
            if candidate.is_none_or(is_kept) {
                out.push_str(line);
                out.push_str("\r\n");
            }
        }
        Self(out.into())
    }

    /// Returns a copy that contains no network addresses but those of relays, for calls in which neither side may learn the
    /// other's address.
    pub fn relayed(&self) -> Self {
        let mut out = String::with_capacity(self.0.len());
        for line in lines(&self.0) {
            let line: Option<Cow<'_, str>> = match line.split_at(2) {
                ("a=", value) if value.starts_with("candidate:") => {
                    Fields::read(value).and_then(|fields| fields.relayed()).map(|value| format!("a={value}").into())
                }
                ("a=", value) if value.starts_with("rtcp:") => Some("a=rtcp:9 IN IP4 0.0.0.0".into()),
                ("a=", value) if value.starts_with("remote-candidates:") => None,
                ("c=", _) => Some("c=IN IP4 0.0.0.0".into()),
                ("o=", value) => Some(format!("o={}", without_address(value)).into()),
                _ => Some(line.into()),
            };
            if let Some(line) = line {
                out.push_str(&line);
                out.push_str("\r\n");
            }
        }
        Self(out.into())
    }
}

/// Replaces the address in the value of `o=`, which is `username sess-id sess-version nettype addrtype address`.
fn without_address(origin: &str) -> String {
    let kept: Vec<&str> = origin.split(' ').take(3).collect();
    format!("{} IN IP4 0.0.0.0", kept.join(" "))
}

fn lines(raw: &str) -> impl Iterator<Item = &str> {
    raw.lines()
}

fn is_strong(fingerprint: &str) -> bool {
    let Some((hash, hex)) = fingerprint.split_once(' ') else { return false };
    let bytes = match hash.to_ascii_lowercase().as_str() {
        "sha-256" => 32,
        "sha-384" => 48,
        "sha-512" => 64,
        _ => return false,
    };
    hex.split(':').count() == bytes
        && hex.split(':').all(|byte| byte.len() == 2 && byte.bytes().all(|c| c.is_ascii_hexdigit()))
}

/// An ICE candidate, or the end of candidates.
#[derive(Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Candidate(Box<str>);

impl Candidate {
    /// Parses a candidate in a browser's form: `candidate:…`, or the empty text for the end of candidates.
    pub fn parse(raw: &str) -> Result<Self, SdpError> {
        if raw.len() > MAX_CANDIDATE_BYTES || (!raw.is_empty() && Fields::read(raw).is_none()) {
            return Err(SdpError::Candidate);
        }
        Ok(Self(raw.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns a copy without other addresses if it is a relay candidate; none otherwise.
    pub fn relayed(&self) -> Option<Self> {
        if self.0.is_empty() {
            return Some(self.clone());
        }
        Fields::read(&self.0)?.relayed().map(|text| Self(text.into()))
    }
}

/// The fields of `candidate:foundation component transport priority address port typ type …`.
struct Fields<'a> {
    head: [&'a str; 6],
    kind: &'a str,
    /// Alternating names and values.
    more: Vec<&'a str>,
}

impl<'a> Fields<'a> {
    fn read(raw: &'a str) -> Option<Self> {
        let text = raw.strip_prefix("candidate:")?;
        if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return None;
        }
        let parts: Vec<&str> = text.split(' ').collect();
        let [foundation, component, transport, priority, address, port, typ, kind, more @ ..] = parts.as_slice() else {
            return None;
        };
        let number = |text: &str, max: u32| text.len() <= 10 && text.parse::<u32>().is_ok_and(|n| n <= max);
        let host = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b':' | b'-' | b'%');
        let fits = (1..=32).contains(&foundation.len())
            && number(component, 256)
            && (transport.eq_ignore_ascii_case("udp") || transport.eq_ignore_ascii_case("tcp"))
            && number(priority, u32::MAX)
            && (1..=255).contains(&address.len())
            && address.bytes().all(host)
            && number(port, 65_535)
            && *typ == "typ"
            && ["host", "srflx", "prflx", "relay"].contains(kind)
            && more.len().is_multiple_of(2)
            && more.iter().all(|part| !part.is_empty());
        let head = [*foundation, *component, *transport, *priority, *address, *port];
        fits.then(|| Self { head, kind, more: more.to_vec() })
    }

    /// Returns the address of a candidate over UDP; none if it has a name instead.
    fn udp_address(&self) -> Option<SocketAddr> {
        let [_, _, transport, _, address, port] = self.head;
        let is_udp = transport.eq_ignore_ascii_case("udp");
        Some(SocketAddr::new(address.parse().ok().filter(|_| is_udp)?, port.parse().ok()?))
    }

    /// Returns a relay candidate without its related address; none for other types.
    fn relayed(&self) -> Option<String> {
        if self.kind != "relay" {
            return None;
        }
        let mut text = format!("candidate:{} typ relay", self.head.join(" "));
        for pair in self.more.chunks_exact(2) {
            let value = match pair[0] {
                "raddr" => "0.0.0.0",
                "rport" => "0",
                _ => pair[1],
            };
            text.push_str(&format!(" {} {value}", pair[0]));
        }
        Some(text)
    }
}

macro_rules! parsed {
    ($($name:ident)*) => {$(
        /// Shows only the length: network addresses must not leak into a log.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({} bytes)"), self.0.len())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::parse(&Cow::<'de, str>::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }
    )*};
}

parsed! { Sdp Candidate }
