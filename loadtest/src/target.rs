//! Where the load goes: a hub on this machine, or a peer of it that it is compared with, and nowhere else.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// What a peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompetitorProtocol {
    /// Engine.IO 4 and Socket.IO 5, what Socket.IO 3 and 4 speak; over a WebSocket from the start.
    SocketIo,
    /// Bare JSON: join a room, say something, hear what is said.
    Bare,
}

impl CompetitorProtocol {
    pub const ALL: [Self; 2] = [Self::SocketIo, Self::Bare];

    /// What a target of this kind begins with.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::SocketIo => "socketio://",
            Self::Bare => "rooms://",
        }
    }

    /// Where its WebSockets are opened.
    pub fn path(self) -> &'static str {
        match self {
            Self::SocketIo => "/socket.io/?EIO=4&transport=websocket",
            Self::Bare => "/",
        }
    }
}

/// A hub, or a peer, on a loopback address. Nothing else can be one: a load test against somebody else's machine is an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    addr: SocketAddr,
    competitor: Option<CompetitorProtocol>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error(
        "write the target as 127.0.0.1:PORT, [::1]:PORT or http://localhost:PORT; a peer as socketio:// or rooms://"
    )]
    Form,
    #[error("only loopback addresses are accepted as a target")]
    NotLoopback,
}

impl Target {
    /// A hub. Refuses every address that is not a loopback address.
    pub fn new(addr: SocketAddr) -> Result<Self, TargetError> {
        if addr.ip().is_loopback() { Ok(Self { addr, competitor: None }) } else { Err(TargetError::NotLoopback) }
    }

    /// At the same address a server that is no hub.
    pub fn as_competitor(self, protocol: CompetitorProtocol) -> Self {
        Self { competitor: Some(protocol), ..self }
    }

    pub fn addr(self) -> SocketAddr {
        self.addr
    }

    /// What is spoken there; none with a hub.
    pub fn competitor(self) -> Option<CompetitorProtocol> {
        self.competitor
    }
}

/// On which of `nodes` a member of a room begins: neighbours in a room are on neighbouring nodes, so that with several
/// nodes no room has all its members on one. Both count from 0.
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
            // A name would have to be looked up, and could then be any machine.
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
    fn the_members_of_each_room_are_on_different_nodes_and_the_nodes_have_as_many() {
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
    fn only_loopback_is_a_target() {
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
