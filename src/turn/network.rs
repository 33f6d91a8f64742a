//! Packets between clients and peers, by the rules of RFC 8656 and the address policy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dashmap::DashMap;
use rand::Rng;
use tokio::net::UdpSocket;

use super::allocation::{Allocation, AllocationTable};
use super::metrics::RelayMetrics;
use super::stun::{DATA, METHOD_DATA, StunClass, StunWriter, XOR_PEER_ADDRESS};
use crate::config::EmbeddedTurn;
use crate::egress::AddressPolicy;

/// Ports to try before an allocation fails.
const MAX_PORT_ATTEMPTS: usize = 32;
/// The largest datagram that is relayed. Larger ones are dropped, as on most networks.
pub const MAX_DATAGRAM_BYTES: usize = 2_048;
/// Peer addresses of which is remembered whether they are this machine's.
const MAX_REMEMBERED_ADDRESSES: usize = 4_096;

/// The relay's side of the network: its allocations, and whom they may reach.
pub struct RelayNetwork {
    settings: EmbeddedTurn,
    pub table: AllocationTable,
    pub metrics: Arc<RelayMetrics>,
    /// Whether a peer's address is one of this machine.
    own_addresses: DashMap<IpAddr, bool>,
}

impl RelayNetwork {
    pub fn new(settings: EmbeddedTurn, table: AllocationTable, metrics: Arc<RelayMetrics>) -> Self {
        Self { settings, table, metrics, own_addresses: DashMap::new() }
    }

    /// Returns `true` if relayed addresses are IPv4, which they are if the server listens on IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.settings.listen.is_ipv4()
    }

    pub fn settings(&self) -> &EmbeddedTurn {
        &self.settings
    }

    /// Opens a socket on a random relay port, and returns it with its address as peers see it.
    pub async fn open_socket(&self, is_even: bool) -> Option<(UdpSocket, SocketAddr)> {
        let (first, last) = self.settings.relay_ports;
        for _ in 0..MAX_PORT_ATTEMPTS {
            let port = rand::rng().random_range(first..=last);
            if is_even && port % 2 != 0 {
                continue;
            }
            let Ok(socket) = UdpSocket::bind((self.settings.listen.ip(), port)).await else { continue };
            // Until then, `try_send_to` loses packets.
            socket.writable().await.ok()?;
            return Some((socket, SocketAddr::new(self.settings.public, port)));
        }
        None
    }

    /// Returns `true` if the policy allows packets from and to this address.
    pub fn allows_address(&self, address: IpAddr) -> bool {
        let is_allowed = AddressPolicy::for_media(self.settings.private_peers).allows(address);
        if !is_allowed {
            RelayMetrics::increment(&self.metrics.forbidden_peers);
        }
        is_allowed
    }

    /// Returns `true` if an allocation may exchange packets with this peer now: not with a service of this machine, except
    /// for other allocations.
    pub fn allows_peer(&self, peer: SocketAddr) -> bool {
        self.allows_address(peer.ip()) && self.is_reachable(peer)
    }

    fn is_reachable(&self, peer: SocketAddr) -> bool {
        let is_reachable =
            self.settings.private_peers || !self.is_own_address(peer.ip()) || self.table.at_port(peer.port()).is_some();
        if !is_reachable {
            RelayMetrics::increment(&self.metrics.forbidden_peers);
        }
        is_reachable
    }

    /// Relays a client's data to a permitted peer. Data for another allocation of this relay never leaves the process.
    pub fn send_to_peer(&self, from: &Allocation, peer: SocketAddr, data: &[u8]) {
        if !from.is_permitted(peer.ip()) || !self.has_bandwidth(from, data.len()) {
            return;
        }
        from.touch();
        if !self.is_reachable(peer) {
            return;
        }
        if self.is_own_address(peer.ip())
            && let Some(to) = self.table.at_port(peer.port())
        {
            return self.receive_from_peer(&to, from.relayed, data);
        }
        // A full buffer loses the packet, as a network does.
        drop(from.socket.try_send_to(data, peer));
    }

    /// Relays a permitted peer's data to the client of an allocation.
    fn receive_from_peer(&self, to: &Allocation, peer: SocketAddr, data: &[u8]) {
        if !to.is_permitted(peer.ip()) || !self.has_bandwidth(to, data.len()) {
            return;
        }
        let message = match to.peer_channel(peer) {
            Some(number) => channel_data(number, data),
            None => StunWriter::new(StunClass::Indication, METHOD_DATA, rand::random())
                .put_address(XOR_PEER_ADDRESS, peer)
                .put(DATA, data)
                .finish(),
        };
        to.client.send(message);
    }

    /// Relays what arrives at an allocation's socket, until the allocation is over.
    pub async fn run(&self, allocation: &Allocation) {
        let mut buf = [0; MAX_DATAGRAM_BYTES + 1];
        let over = allocation.over();
        tokio::pin!(over);
        loop {
            let received = tokio::select! {
                () = &mut over => return,
                received = allocation.socket.recv_from(&mut buf) => received,
            };
            // An error reports that an earlier packet did not arrive, which concerns no later one.
            let Ok((len, from)) = received else { continue };
            let Some(from) = self.visible_source(from).filter(|_| len <= MAX_DATAGRAM_BYTES) else { continue };
            self.receive_from_peer(allocation, from, &buf[..len]);
        }
    }

    /// Returns the address under which a sender is known to clients, or `None` for a service of this machine.
    fn visible_source(&self, from: SocketAddr) -> Option<SocketAddr> {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        if !self.is_own_address(from.ip()) {
            return Some(from);
        }
        if self.settings.private_peers {
            return Some(from);
        }
        RelayMetrics::increment(&self.metrics.forbidden_peers);
        None
    }

    fn has_bandwidth(&self, allocation: &Allocation, len: usize) -> bool {
        let fits = allocation.has_bandwidth(len);
        if fits {
            self.metrics.bytes.fetch_add(len as u64, Ordering::Relaxed);
        } else {
            RelayMetrics::increment(&self.metrics.over_bandwidth);
        }
        fits
    }

    fn is_own_address(&self, address: IpAddr) -> bool {
        if address == self.settings.public || address == self.settings.listen.ip() {
            return true;
        }
        if let Some(is_own) = self.own_addresses.get(&address) {
            return *is_own;
        }
        if self.own_addresses.len() >= MAX_REMEMBERED_ADDRESSES {
            self.own_addresses.clear();
        }
        let is_own = is_address_of_this_machine(address);
        self.own_addresses.insert(address, is_own);
        is_own
    }
}

/// Asks the system which source address it would use: for an address of its own, that very address. Sends nothing.
fn is_address_of_this_machine(address: IpAddr) -> bool {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = std::net::UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}

fn channel_data(number: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
    [&number.to_be_bytes()[..], &length.to_be_bytes(), data].concat()
}
