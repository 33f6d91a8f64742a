//! Counters of the embedded relay, for the metrics endpoint.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the embedded server started. The names in [`all`](Self::all) are published as metric labels.
#[derive(Debug, Default)]
pub struct RelayMetrics {
    /// Relay addresses allocated.
    pub allocations: AtomicU64,
    /// Requests with expired credentials.
    pub expired: AtomicU64,
    /// Requests with a user name that the hub never issued, or with a wrong password.
    pub forged: AtomicU64,
    /// Allocation requests beyond the quota of a session, a person or a room, or beyond the relay's capacity.
    pub over_quota: AtomicU64,
    /// Allocations that ended for a newer one of the same session or person.
    pub replaced: AtomicU64,
    /// Allocations that ended because the session, the guest's admission or the call ended, and requests with
    /// credentials from before.
    pub revoked: AtomicU64,
    /// Packets to or from addresses that the peer policy forbids.
    pub forbidden_peers: AtomicU64,
    /// Packets beyond an allocation's bandwidth.
    pub over_bandwidth: AtomicU64,
    /// Requests without a valid nonce, beyond the limit of their source address.
    pub flood: AtomicU64,
    /// Bytes relayed, both directions together.
    pub bytes: AtomicU64,
}

impl RelayMetrics {
    /// Returns each counter's name and value.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        let counters = [
            ("allocations", &self.allocations),
            ("expired", &self.expired),
            ("forged", &self.forged),
            ("over_quota", &self.over_quota),
            ("replaced", &self.replaced),
            ("revoked", &self.revoked),
            ("forbidden_peers", &self.forbidden_peers),
            ("over_bandwidth", &self.over_bandwidth),
            ("flood", &self.flood),
            ("bytes", &self.bytes),
        ];
        counters.into_iter().map(|(name, counter)| (name, counter.load(Ordering::Relaxed))).collect()
    }

    pub(super) fn increment(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
