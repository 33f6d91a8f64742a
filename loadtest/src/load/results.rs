//! What happened: in one phase of a run, and to one reader over all of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use rooms::wire::code::Code;

use crate::latency::Latency;

/// One phase. Latencies and rates count only what was intended in the phase's measured part.
#[derive(Clone, Debug, Default)]
pub struct PhaseResult {
    /// From the intended time to the ack at its sender.
    pub ack: Latency,
    /// From the intended time to the event at each member who sees it, the sender among them.
    pub delivery: Latency,
    /// From the intended time of an event to its first socket, whosever it is.
    pub first: Latency,
    /// From the intended time of an event to the last of all sockets that get it.
    pub last: Latency,
    /// From the intended time to the moment the generator got to it. When it is long, the generator is too slow.
    pub lag: Latency,
    /// From the cut of a connection to the end of its replay on the next one.
    pub resume: Latency,
    /// The same, of those that came back on another node.
    pub elsewhere: Latency,
    /// Commands intended in the measured part.
    pub sent: u64,
    /// Acks that came in the measured part.
    pub acked: u64,
    /// Events that came to a member in the measured part.
    pub delivered: u64,
    /// Commands that were refused for good, and answers that asked for a repetition.
    pub errors: BTreeMap<Code, u64>,
    /// Connections the hub closed, by code; 1006 for those that broke.
    pub closes: BTreeMap<u16, u64>,
    /// Connections that could not be opened.
    pub failed_opens: u64,
    /// Commands without an answer when the time for it was over.
    pub unanswered: u64,
    /// Commands whose repeated acks contradict each other, or that had their effect twice.
    pub doubled: u64,
}

impl PhaseResult {
    /// The latencies by the names that a report gives them.
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

/// The readers' account at the end of a run, summed over all members of all rooms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CheckResult {
    /// Readers that were asked.
    pub readers: u64,
    /// Events that came, each counted once per reader.
    pub delivered: u64,
    /// Events that should have come and did not: those that only the final comparison of heads brought, and those that
    /// were acknowledged and not even it brought.
    pub lost: u64,
    pub repeated: u64,
    pub out_of_order: u64,
    /// How often a reader found something missing on the way and had it sent again.
    pub healed: u64,
    /// Readers that could not be asked, because they are not connected.
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

/// What the progress line reads while the workers run.
#[derive(Debug, Default)]
pub struct Gauges {
    pub connected: AtomicI64,
    pub sent: AtomicU64,
    pub acked: AtomicU64,
    pub delivered: AtomicU64,
    pub errors: AtomicU64,
    /// The longest ack since it was last read, in microseconds.
    pub slowest_ack_micros: AtomicU64,
}

impl Gauges {
    pub fn count(gauge: &AtomicU64) {
        gauge.fetch_add(1, Ordering::Relaxed);
    }

    pub fn read(gauge: &AtomicU64) -> u64 {
        gauge.load(Ordering::Relaxed)
    }
}
