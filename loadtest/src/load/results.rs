//! The results of a phase, and of the delivery check at the end of a run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use rooms::wire::code::Code;

use crate::latency::Latency;

/// The result of one phase. Latencies and rates count only commands intended within the measured time.
#[derive(Clone, Debug, Default)]
pub struct PhaseResult {
    /// From the intended time to the ack at its sender.
    pub ack: Latency,
    /// From the intended time to the event at each member who sees it, the sender included.
    pub delivery: Latency,
    /// From an event's intended time to its first socket.
    pub first: Latency,
    /// From an event's intended time to the last of all sockets that receive it.
    pub last: Latency,
    /// From the intended time to the moment when the generator sends. A long lag means that the generator is too slow.
    pub lag: Latency,
    /// From the cut of a connection to the end of the replay on the next one.
    pub resume: Latency,
    /// The same, for members that resumed on another node.
    pub elsewhere: Latency,
    /// Commands intended within the measured time.
    pub sent: u64,
    /// Acks received within the measured time.
    pub acked: u64,
    /// Events received by a member within the measured time.
    pub delivered: u64,
    /// Error frames: final refusals, and retryable ones.
    pub errors: BTreeMap<Code, u64>,
    /// Closed connections by close code; 1006 for those that broke.
    pub closes: BTreeMap<u16, u64>,
    /// Failed attempts to connect.
    pub failed_opens: u64,
    /// Commands without an answer at the end of the drain.
    pub unanswered: u64,
    /// Commands with contradictory acks or with two effects.
    pub doubled: u64,
}

impl PhaseResult {
    /// Returns the latencies with their names in reports.
    pub fn latencies(&self) -> [(&'static str, &Latency); 7] {
        [
            ("ack", &self.ack),
            ("delivery", &self.delivery),
            ("first", &self.first),
            ("last", &self.last),
            ("resume", &self.resume),
            ("elsewhere", &self.elsewhere),
            ("lag", &self.lag),
        ]
    }

    pub fn merge(&mut self, other: &Self) {
        self.ack.merge(&other.ack);
        self.delivery.merge(&other.delivery);
        self.first.merge(&other.first);
        self.last.merge(&other.last);
        self.lag.merge(&other.lag);
        self.resume.merge(&other.resume);
        self.elsewhere.merge(&other.elsewhere);
        self.sent += other.sent;
        self.acked += other.acked;
        self.delivered += other.delivered;
        for (code, count) in &other.errors {
            *self.errors.entry(*code).or_default() += count;
        }
        for (code, count) in &other.closes {
            *self.closes.entry(*code).or_default() += count;
        }
        self.failed_opens += other.failed_opens;
        self.unanswered += other.unanswered;
        self.doubled += other.doubled;
    }
}

/// The result of the delivery check, summed over all members of all rooms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CheckResult {
    /// Readers that were checked.
    pub readers: u64,
    /// Distinct events received, summed over readers.
    pub delivered: u64,
    /// Missed events: those that arrived only with the final comparison of heads, and acknowledged ones that never
    /// arrived.
    pub lost: u64,
    pub repeated: u64,
    pub out_of_order: u64,
    /// How often a reader found a gap during the run and closed it by a replay.
    pub healed: u64,
    /// Readers that could not be checked because they are disconnected.
    pub unreachable: u64,
}

impl CheckResult {
    pub fn merge(&mut self, other: &Self) {
        self.readers += other.readers;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.out_of_order += other.out_of_order;
        self.healed += other.healed;
        self.unreachable += other.unreachable;
    }
}

/// Live counters for the progress line.
#[derive(Debug, Default)]
pub struct Gauges {
    pub connected: AtomicI64,
    pub sent: AtomicU64,
    pub acked: AtomicU64,
    pub delivered: AtomicU64,
    pub errors: AtomicU64,
    /// The slowest ack since the last reading, in microseconds.
    pub slowest_ack_micros: AtomicU64,
}

impl Gauges {
    pub fn increment(gauge: &AtomicU64) {
        gauge.fetch_add(1, Ordering::Relaxed);
    }

    pub fn read(gauge: &AtomicU64) -> u64 {
        gauge.load(Ordering::Relaxed)
    }
}
