//! One allocation, and the table of all.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::client::{ClientId, TurnClient};
use super::credentials::AllocationOwner;
use super::peers::{AllocationPeers, PeerError};
use super::quota::{AllocationLimits, LiveAllocation, QuotaError, to_replace};

/// A relayed transport address and what belongs to it.
pub struct Allocation {
    pub client: TurnClient,
    pub owner: AllocationOwner,
    /// The relayed address, as clients and peers see it.
    pub relayed: SocketAddr,
    pub socket: UdpSocket,
    peers: Mutex<AllocationPeers>,
    used: Mutex<Instant>,
    expires: watch::Sender<Instant>,
    ended: CancellationToken,
    bandwidth: DefaultDirectRateLimiter,
}

impl Allocation {
    /// Creates an allocation. `bytes_per_second` limits both directions together, with bursts of one second's worth.
    pub fn new(
        client: TurnClient,
        owner: AllocationOwner,
        (socket, relayed): (UdpSocket, SocketAddr),
        expires: Instant,
        bytes_per_second: NonZeroU32,
    ) -> Self {
        Self {
            client,
            owner,
            relayed,
            socket,
            peers: Mutex::default(),
            used: Mutex::new(Instant::now()),
            expires: watch::Sender::new(expires),
            ended: CancellationToken::new(),
            bandwidth: RateLimiter::direct(Quota::per_second(bytes_per_second)),
        }
    }

    /// Extends or shortens the lifetime.
    pub fn refresh(&self, expires: Instant) {
        self.touch();
        self.expires.send_replace(expires);
    }

    pub fn end(&self) {
        self.ended.cancel();
    }

    /// Waits until the allocation has ended or expired.
    pub async fn over(&self) {
        let mut expires = self.expires.subscribe();
        loop {
            let at = *expires.borrow_and_update();
            tokio::select! {
                () = self.ended.cancelled() => return,
                () = tokio::time::sleep_until(at.into()) => return,
                // The sender lives as long as the allocation.
                _ = expires.changed() => {}
            }
        }
    }

    /// Records that the client uses the allocation.
    pub fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn permit(&self, addresses: &[IpAddr]) -> Result<(), PeerError> {
        self.peers().permit(addresses, Instant::now())
    }

    pub fn bind_channel(&self, number: u16, peer: SocketAddr) -> Result<(), PeerError> {
        self.peers().bind(number, peer, Instant::now())
    }

    pub fn is_permitted(&self, address: IpAddr) -> bool {
        self.peers().is_permitted(address, Instant::now())
    }

    pub fn channel_peer(&self, number: u16) -> Option<SocketAddr> {
        self.peers().peer(number, Instant::now())
    }

    pub fn peer_channel(&self, peer: SocketAddr) -> Option<u16> {
        self.peers().channel(peer, Instant::now())
    }

    /// Returns `true` if the bandwidth allows a packet of this size.
    pub fn has_bandwidth(&self, len: usize) -> bool {
        let length = u32::try_from(len).ok().and_then(NonZeroU32::new);
        length.is_none_or(|length| matches!(self.bandwidth.check_n(length), Ok(Ok(()))))
    }

    fn peers(&self) -> MutexGuard<'_, AllocationPeers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All live allocations.
pub struct AllocationTable {
    limits: AllocationLimits,
    live: Mutex<LiveAllocations>,
}

#[derive(Default)]
struct LiveAllocations {
    by_client: HashMap<ClientId, Arc<Allocation>>,
    by_port: HashMap<u16, Arc<Allocation>>,
}

impl LiveAllocations {
    fn remove(&mut self, allocation: &Allocation) {
        let is_same = |it: &Arc<Allocation>| std::ptr::eq(Arc::as_ptr(it), allocation);
        if self.by_client.get(&allocation.client.id).is_some_and(is_same) {
            self.by_client.remove(&allocation.client.id);
        }
        if self.by_port.get(&allocation.relayed.port()).is_some_and(is_same) {
            self.by_port.remove(&allocation.relayed.port());
        }
        allocation.end();
    }
}

impl AllocationTable {
    pub fn new(limits: AllocationLimits) -> Self {
        Self { limits, live: Mutex::default() }
    }

    pub fn of_client(&self, client: ClientId) -> Option<Arc<Allocation>> {
        self.live().by_client.get(&client).cloned()
    }

    pub fn at_port(&self, port: u16) -> Option<Arc<Allocation>> {
        self.live().by_port.get(&port).cloned()
    }

    /// Makes room for one more allocation of this owner, and returns whether another one ended for it.
    pub fn make_room(&self, owner: &AllocationOwner) -> Result<bool, QuotaError> {
        let mut live = self.live();
        let all: Vec<Arc<Allocation>> = live.by_client.values().cloned().collect();
        let seen: Vec<_> = all.iter().map(|it| LiveAllocation { owner: it.owner, used: it.used() }).collect();
        let replaced = to_replace(&self.limits, &seen, owner)?;
        if let Some(at) = replaced {
            live.remove(&all[at]);
        }
        Ok(replaced.is_some())
    }

    pub fn insert(&self, allocation: &Arc<Allocation>) {
        let mut live = self.live();
        live.by_client.insert(allocation.client.id, allocation.clone());
        live.by_port.insert(allocation.relayed.port(), allocation.clone());
    }

    /// Removes an allocation and ends it.
    pub fn remove(&self, allocation: &Allocation) {
        self.live().remove(allocation);
    }

    /// Ends the allocations that match, and returns how many there were.
    pub fn end_where(&self, is_matching: impl Fn(&Allocation) -> bool) -> usize {
        let mut live = self.live();
        let matching: Vec<_> = live.by_client.values().filter(|it| is_matching(it)).cloned().collect();
        matching.iter().for_each(|allocation| live.remove(allocation));
        matching.len()
    }

    fn live(&self) -> MutexGuard<'_, LiveAllocations> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
