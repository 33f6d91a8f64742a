//! Knowledge about the other nodes: numbered broadcasts, missed numbers, silence, and the probe of the bus.
//!
//! The bus is only for speed; the store decides. What follows from a missed event is the business of the hub's `sync`
//! module, and so are the rooms.

pub mod message;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use self::message::{ClusterEvent, ClusterEventKind};
use crate::bus::{Bus, Channel, NodeId};

/// After this long without an event, events of a node may be getting lost.
const SILENCE_THRESHOLD: Duration = Duration::from_secs(3);
/// After this long without an event, a node counts as stopped.
const FORGET_AFTER: Duration = Duration::from_secs(30);
/// Nodes that are remembered.
const MAX_PEERS: usize = 1_000;

/// The other nodes, and this node's broadcasts to them.
#[derive(Default)]
pub struct Peers {
    /// The number of the last broadcast. Locked while publishing, so that numbers go out in order.
    sent: Mutex<u64>,
    received: Mutex<HashMap<NodeId, LastReceived>>,
    rights_changed: Notify,
    /// The number of the last probe that arrived.
    probe: AtomicU64,
}

struct LastReceived {
    seq: u64,
    at: Instant,
}

/// How an event relates to those received before.
#[derive(Debug, PartialEq, Eq)]
pub struct Receipt {
    pub is_new: bool,
    pub has_missed: bool,
}

impl Peers {
    /// Publishes an event to all other nodes.
    pub fn broadcast(&self, bus: &Bus, kind: ClusterEventKind) {
        if !bus.is_shared() {
            return;
        }
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(kind, ClusterEventKind::Heartbeat) {
            *sent += 1;
        }
        if let Some(text) = message::encode(bus.node(), &ClusterEvent { seq: *sent, kind }) {
            bus.publish(Channel::All, text);
        }
    }

    /// Notes the number of a received event.
    pub fn note(&self, from: NodeId, event: &ClusterEvent) -> Receipt {
        let now = Instant::now();
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        if received.len() >= MAX_PEERS && !received.contains_key(&from) {
            return Receipt { is_new: true, has_missed: true };
        }
        let last = received.entry(from).or_insert(LastReceived { seq: 0, at: now });
        last.at = now;
        let before = last.seq;
        last.seq = before.max(event.seq);
        match event.kind {
            ClusterEventKind::Heartbeat => Receipt { is_new: false, has_missed: event.seq > before },
            _ => Receipt { is_new: event.seq > before, has_missed: event.seq > before.saturating_add(1) },
        }
    }

    /// Returns whether events of a node may be getting lost.
    pub fn is_any_silent(&self) -> bool {
        let now = Instant::now();
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.retain(|_, last| last.at + FORGET_AFTER > now);
        received.values().any(|last| last.at + SILENCE_THRESHOLD < now)
    }

    /// Publishes a loopback probe with this number. Returns `true` if the probe from two ticks ago has not arrived:
    /// then messages from other nodes may be getting lost as well.
    pub fn probe_failed(&self, bus: &Bus, number: u64) -> bool {
        if let Some(text) = message::encode(bus.node(), &number) {
            bus.publish(Channel::Node(bus.node()), text);
        }
        self.probe.load(Ordering::Relaxed) < number.saturating_sub(2)
    }

    /// Notes a probe that has arrived.
    pub fn probe_arrived(&self, number: u64) {
        self.probe.store(number, Ordering::Relaxed);
    }

    /// Wakes the task that waits for [`rights_changed`](Self::rights_changed).
    pub fn note_rights_changed(&self) {
        self.rights_changed.notify_one();
    }

    /// Waits until sign-ins or rights may have changed on another node.
    pub async fn rights_changed(&self) {
        self.rights_changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn missing_numbers_and_repeats_are_noticed() {
        let (peers, node) = (Peers::default(), NodeId(Uuid::from_u128(1)));
        let note = |seq, kind| {
            let receipt = peers.note(node, &ClusterEvent { seq, kind });
            (receipt.is_new, receipt.has_missed)
        };
        assert_eq!(note(1, ClusterEventKind::RightsChanged), (true, false));
        assert_eq!(note(1, ClusterEventKind::Heartbeat), (false, false));
        assert_eq!(note(1, ClusterEventKind::RightsChanged), (false, false), "a repeat");
        assert_eq!(note(3, ClusterEventKind::RightsChanged), (true, true), "2 is missing");
        assert_eq!(
            note(4, ClusterEventKind::Heartbeat),
            (false, true),
            "a heartbeat names a number that never arrived"
        );
        assert_eq!(note(4, ClusterEventKind::RightsChanged), (false, false));
    }
}
