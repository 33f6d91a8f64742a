//! What is measured, for Prometheus.
//!
//! Times go into histograms as they happen; what is simply there (connections, what the relay did) is looked at when
//! somebody asks. One recorder serves a process. Until it is installed nothing is kept, and measuring costs next to nothing.

use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use metrics::{Histogram, counter, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::Instant;

/// Upper ends of the buckets for times, in seconds: fine where the promises are.
const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];
/// Upper ends of the buckets for numbers of things that are handled together.
const COUNTS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
/// How often what was measured is put into its buckets.
const UPKEEP: Duration = Duration::from_secs(5);

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// The histograms, found once.
pub static METRICS: LazyLock<HubMetrics> = LazyLock::new(|| HubMetrics {
    commit: Latency(histogram!("wardroom_commit_seconds")),
    appends: histogram!("wardroom_commit_appends"),
    ack: Latency(histogram!("wardroom_ack_seconds")),
    fan_out: Latency(histogram!("wardroom_fan_out_seconds")),
    resume: Latency(histogram!("wardroom_resume_seconds")),
});

/// A histogram of durations.
pub struct Latency(Histogram);

impl Latency {
    /// Records the time that has passed since `started`.
    pub fn observe_since(&self, started: Instant) {
        self.0.record(started.elapsed());
    }
}

/// What is timed on the way of a message.
pub struct HubMetrics {
    /// One transaction, from its begin to the end of its commit.
    pub commit: Latency,
    /// Appends of one transaction.
    pub appends: Histogram,
    /// From a command's arrival in its room's inbox to its answer, if it was carried out.
    pub ack: Latency,
    /// From the commit of a command's events to the last listener's outbox on this node.
    pub fan_out: Latency,
    /// From `join` to `live`, where the store had to be read.
    pub resume: Latency,
}

/// Notes an attempt to deliver something: what became of it, and how long the receiver took.
pub fn observe_attempt(sink: &'static str, outcome: &'static str, begin: Instant) {
    counter!("wardroom_dispatch_attempts_total", "sink" => sink, "outcome" => outcome).increment(1);
    histogram!("wardroom_dispatch_seconds", "sink" => sink).record(begin.elapsed());
}

/// Begins to keep what is measured; once in a process. To be called within the runtime.
pub fn install() {
    let built = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_appends".to_owned()), &COUNTS))
        .expect("there are buckets")
        .build_recorder();
    let handle = built.handle();
    if metrics::set_global_recorder(built).is_err() {
        return;
    }
    let _ = RECORDER.set(handle.clone());
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            handle.run_upkeep();
        }
    });
}

/// What is looked at when somebody asks.
pub struct ScrapedValues {
    pub connections: usize,
    pub rooms: usize,
    pub appends_waiting: usize,
    pub arrivals_waiting: usize,
    /// Whether the other nodes hear this one; absent where there are none.
    pub bus: Option<bool>,
    /// What became of what was asked of the database's replica; empty without one.
    pub replica: Vec<(&'static str, u64)>,
    /// What the embedded relay did: a name, and how often or how much.
    pub relay: Vec<(&'static str, u64)>,
    /// How what leaves the hub stands; empty if the store did not say.
    pub sinks: Vec<SinkValues>,
}

/// Deliveries of one kind of receiver.
pub struct SinkValues {
    pub sink: &'static str,
    /// A state, and how many are in it.
    pub states: Vec<(&'static str, u64)>,
    /// How long the longest overdue one has been due.
    pub lag: Duration,
    /// Receivers that this node leaves alone for a while.
    pub breakers_open: usize,
}

/// The text that Prometheus reads; `None` if nothing is kept.
pub fn render(seen: &ScrapedValues) -> Option<String> {
    let handle = RECORDER.get()?;
    gauge!("wardroom_connections").set(count(seen.connections as u64));
    gauge!("wardroom_rooms").set(count(seen.rooms as u64));
    gauge!("wardroom_appends_waiting").set(count(seen.appends_waiting as u64));
    gauge!("wardroom_arrivals_waiting").set(count(seen.arrivals_waiting as u64));
    if let Some(connected) = seen.bus {
        gauge!("wardroom_bus_connected").set(count(u64::from(connected)));
    }
    for (what, value) in &seen.replica {
        counter!("wardroom_replica_reads_total", "what" => *what).absolute(*value);
    }
    for (name, value) in &seen.relay {
        counter!("wardroom_turn_total", "what" => *name).absolute(*value);
    }
    for seen in &seen.sinks {
        for (state, number) in &seen.states {
            gauge!("wardroom_dispatches", "sink" => seen.sink, "state" => *state).set(count(*number));
        }
        gauge!("wardroom_dispatch_lag_seconds", "sink" => seen.sink).set(seen.lag.as_secs_f64());
        gauge!("wardroom_breakers_open", "sink" => seen.sink).set(count(seen.breakers_open as u64));
    }
    Some(handle.render())
}

/// Exact up to 2^53.
#[allow(clippy::cast_precision_loss, reason = "there are never that many")]
fn count(of: u64) -> f64 {
    of as f64
}
