//! The target of the load: a hub on this machine, or a competitor for comparison, and nothing else.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// The protocol of a competitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompetitorProtocol {
    /// Engine.IO 4 and Socket.IO 5, as Socket.IO 3 and 4 speak them; over a WebSocket from the start.
    SocketIo,
    /// Plain JSON: join a room, send a message, receive messages.
    Bare,
}

impl CompetitorProtocol {
    pub const ALL: [Self; 2] = [Self::SocketIo, Self::Bare];

    /// Returns the prefix of such a target on the command line.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::SocketIo => "socketio://",
            Self::Bare => "rooms://",
        }
    }

    /// Returns the path of its WebSocket endpoint.
    pub fn path(self) -> &'static str {
        match self {
            Self::SocketIo => "/socket.io/?EIO=4&transport=websocket",
            Self::Bare => "/",
        }
    }
}

/// A hub or a competitor on a loopback address. Other addresses are rejected: a load test against someone else's
/// machine is an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    addr: SocketAddr,
    competitor: Option<CompetitorProtocol>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error(
        "write a hub as 127.0.0.1:PORT, [::1]:PORT, or http://localhost:PORT, and a competitor as socketio:// or rooms://"
    )]
    Form,
    #[error("the target must be a loopback address")]
    NotLoopback,
}

impl Target {
    /// Creates a hub target. Rejects every address that is not loopback.
    pub fn new(addr: SocketAddr) -> Result<Self, TargetError> {
        if addr.ip().is_loopback() { Ok(Self { addr, competitor: None }) } else { Err(TargetError::NotLoopback) }
    }

    /// Turns the target into a competitor at the same address.
    pub fn as_competitor(self, protocol: CompetitorProtocol) -> Self {
        Self { competitor: Some(protocol), ..self }
    }

    pub fn addr(self) -> SocketAddr {
        self.addr
    }

    /// Returns the competitor's protocol; `None` for a hub.
    pub fn competitor(self) -> Option<CompetitorProtocol> {
        self.competitor
    }
}

/// Returns the node to which a member first connects. Neighbours in a room use neighbouring nodes, so with several
/// nodes no room has all its members on one. Both numbers count from 0.
pub fn node_of(nodes: usize, room: usize, member: usize) -> usize {
    (room + member) % nodes.max(1)
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        for protocol in CompetitorProtocol::ALL {
            if let Some(rest) = text.strip_prefix(protocol.scheme()) {
                return Ok(rest.parse::<Self>()?.as_competitor(protocol));
            }
        }
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("ws://")).unwrap_or(text);
        let rest = rest.trim_end_matches('/');
        if let Some(port) = rest.strip_prefix("localhost:") {
            let port = port.parse().map_err(|_| TargetError::Form)?;
            return Self::new(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
        }
        match rest.parse() {
            Ok(addr) => Self::new(addr),
            // A name would need a lookup, and could resolve to any machine.
            Err(_) if rest.contains(|c: char| c.is_ascii_alphabetic()) => Err(TargetError::NotLoopback),
            Err(_) => Err(TargetError::Form),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.addr.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_a_room_are_spread_evenly_over_the_nodes() {
        let mut load = [0; 3];
        for room in 0..30 {
            let nodes: std::collections::BTreeSet<_> = (0..3).map(|member| node_of(3, room, member)).collect();
            assert_eq!(nodes.len(), 3);
            load[node_of(3, room, 0)] += 1;
        }
        assert_eq!(load, [10; 3]);
        assert_eq!(node_of(1, 7, 2), 0);
    }

    #[test]
    fn targets_must_be_loopback_addresses() {
        for good in ["127.0.0.1:8080", "http://127.0.0.1:8080/", "ws://[::1]:8080", "localhost:8080", "127.9.9.9:1"] {
            assert!(good.parse::<Target>().is_ok(), "{good}");
        }
        for bad in ["10.0.0.1:8080", "http://example.org:80", "0.0.0.0:8080", "[2001:db8::1]:80", "https://127.0.0.1:1"]
        {
            assert_eq!(bad.parse::<Target>(), Err(TargetError::NotLoopback), "{bad}");
        }
        assert_eq!("rooms://127.0.0.1:1".parse::<Target>().unwrap().competitor(), Some(CompetitorProtocol::Bare));
        assert_eq!(
            "socketio://127.0.0.1:1".parse::<Target>().unwrap().competitor(),
            Some(CompetitorProtocol::SocketIo)
        );
        assert_eq!("socketio://10.0.0.1:1".parse::<Target>(), Err(TargetError::NotLoopback));
        for odd in ["", "127.0.0.1", "localhost:", "8080"] {
            assert_eq!(odd.parse::<Target>(), Err(TargetError::Form), "{odd}");
        }
    }
}
