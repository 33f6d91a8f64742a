//! The peers of one allocation: which addresses may exchange packets with it, and which ones have a channel
//! (RFC 8656, sections 9 to 12).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// How long a permission lasts.
const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);
/// How long a channel stays bound to a peer.
const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);
/// The numbers that a channel may have.
pub const CHANNEL_NUMBERS: RangeInclusive<u16> = 0x4000..=0x4fff;
/// Permissions, and channels, of one allocation. A call has few peers with few addresses.
const MAX_PERMISSIONS: usize = 64;
const MAX_CHANNELS: usize = 64;

/// Why a permission or a channel is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerError {
    /// The channel has another peer, or the peer another channel.
    ChannelTaken,
    /// The allocation has as many as it may.
    TooMany,
}

/// Permissions and channels.
#[derive(Default)]
pub struct AllocationPeers {
    permissions: HashMap<IpAddr, Instant>,
    channels: HashMap<u16, BoundChannel>,
}

struct BoundChannel {
    peer: SocketAddr,
    expires: Instant,
}

impl AllocationPeers {
    /// Permits packets from and to these addresses: all of them, or none.
    pub fn permit(&mut self, addresses: &[IpAddr], now: Instant) -> Result<(), PeerError> {
        self.permissions.retain(|_, expires| now < *expires);
        let new = addresses.iter().filter(|address| !self.permissions.contains_key(address)).count();
        if self.permissions.len() + new > MAX_PERMISSIONS {
            return Err(PeerError::TooMany);
        }
        self.permissions.extend(addresses.iter().map(|address| (*address, now + PERMISSION_LIFETIME)));
        Ok(())
    }

    /// Binds a channel to a peer, or extends the binding, and permits packets from and to the peer.
    pub fn bind(&mut self, number: u16, peer: SocketAddr, now: Instant) -> Result<(), PeerError> {
        self.channels.retain(|_, channel| now < channel.expires);
        if self.channels.iter().any(|(bound, channel)| (*bound == number) != (channel.peer == peer)) {
            return Err(PeerError::ChannelTaken);
        }
        if self.channels.len() >= MAX_CHANNELS && !self.channels.contains_key(&number) {
            return Err(PeerError::TooMany);
        }
        self.permit(&[peer.ip()], now)?;
        self.channels.insert(number, BoundChannel { peer, expires: now + CHANNEL_LIFETIME });
        Ok(())
    }

    pub fn is_permitted(&self, address: IpAddr, now: Instant) -> bool {
        self.permissions.get(&address).is_some_and(|expires| now < *expires)
    }

    /// Returns the peer of a channel.
    pub fn peer(&self, number: u16, now: Instant) -> Option<SocketAddr> {
        self.channels.get(&number).filter(|channel| now < channel.expires).map(|channel| channel.peer)
    }

    /// Returns the channel of a peer.
    pub fn channel(&self, peer: SocketAddr, now: Instant) -> Option<u16> {
        let mut bound = self.channels.iter().filter(|(_, channel)| channel.peer == peer && now < channel.expires);
        bound.next().map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(at: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, at], 5_000))
    }

    #[test]
    fn permissions_and_channels_expire_unless_extended() {
        let (mut peers, start) = (AllocationPeers::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        peers.bind(0x4000, peer(1), start).unwrap();
        assert!(peers.is_permitted(peer(1).ip(), after(299)) && !peers.is_permitted(peer(1).ip(), after(301)));
        assert_eq!(peers.peer(0x4000, after(599)), Some(peer(1)));
        assert_eq!((peers.peer(0x4000, after(601)), peers.channel(peer(1), after(601))), (None, None));
        peers.bind(0x4000, peer(1), after(500)).unwrap();
        assert_eq!(peers.channel(peer(1), after(1_099)), Some(0x4000));
        assert!(peers.is_permitted(peer(1).ip(), after(799)));
    }

    #[test]
    fn channel_has_one_peer_and_peer_one_channel() {
        let (mut peers, now) = (AllocationPeers::default(), Instant::now());
        peers.bind(0x4000, peer(1), now).unwrap();
        assert_eq!(peers.bind(0x4000, peer(2), now), Err(PeerError::ChannelTaken));
        assert_eq!(peers.bind(0x4001, peer(1), now), Err(PeerError::ChannelTaken));
        assert_eq!(peers.bind(0x4000, peer(1), now), Ok(()));
        assert_eq!(peers.bind(0x4001, peer(2), now), Ok(()));
    }

    #[test]
    fn permissions_are_bounded_and_granted_together() {
        let (mut peers, now) = (AllocationPeers::default(), Instant::now());
        let many: Vec<IpAddr> = (0..=u8::try_from(MAX_PERMISSIONS).unwrap()).map(|at| peer(at).ip()).collect();
        assert_eq!(peers.permit(&many, now), Err(PeerError::TooMany));
        assert!(!many.iter().any(|address| peers.is_permitted(*address, now)), "none of them is permitted");
        assert_eq!(peers.permit(&many[1..], now), Ok(()));
        assert_eq!(peers.permit(&many[1..], now), Ok(()), "permissions can be extended at the limit");
        assert_eq!(peers.bind(0x4000, peer(0), now), Err(PeerError::TooMany));
        assert_eq!(peers.permit(&many[..1], now + PERMISSION_LIFETIME), Ok(()), "expired permissions do not count");
    }
}
