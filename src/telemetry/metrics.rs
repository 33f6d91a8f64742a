//! Metrics for Prometheus.
//!
//! Durations are recorded as they happen; gauges and external counters are read at each scrape. One recorder serves the
//! process. Until it is installed nothing is recorded, and a measurement costs almost nothing.

use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use metrics::{Histogram, counter, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::Instant;

/// Bucket bounds for durations, in seconds; dense around the service level objectives.
const DURATION_BUCKETS: [f64; 16] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];
/// Bucket bounds for batch sizes.
const BATCH_SIZE_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
/// How often recorded values are moved into their buckets.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// The histograms, looked up once.
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

/// The histograms on the path of a command.
pub struct HubMetrics {
    /// From the begin of a transaction to the end of its commit.
    pub commit: Latency,
    /// Appends in one transaction.
    pub appends: Histogram,
    /// From a command's arrival in its room's inbox to its answer, if it was committed.
    pub ack: Latency,
    /// From the commit of a command to the last send queue on this node.
    pub fan_out: Latency,
    /// From `join` to `live`, if the reader needed a replay.
    pub resume: Latency,
}

/// Records an attempt to reach a destination: its outcome and its duration.
pub fn observe_attempt(sink: &'static str, outcome: &'static str, started: Instant) {
    counter!("wardroom_dispatch_attempts_total", "sink" => sink, "outcome" => outcome).increment(1);
    histogram!("wardroom_dispatch_seconds", "sink" => sink).record(started.elapsed());
}

/// Installs the recorder, once in a process. Must be called within the runtime.
pub fn install() {
    let built = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &DURATION_BUCKETS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_appends".to_owned()), &BATCH_SIZE_BUCKETS))
        .expect("the bucket lists are not empty")
        .build_recorder();
    let handle = built.handle();
    if metrics::set_global_recorder(built).is_err() {
        return;
    }
    let _ = RECORDER.set(handle.clone());
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP_INTERVAL).await;
            handle.run_upkeep();
        }
    });
}

/// Values that are read at a scrape.
pub struct ScrapedValues {
    pub connections: usize,
    pub rooms: usize,
    pub appends_waiting: usize,
    pub arrivals_waiting: usize,
    /// Whether the bus is connected; `None` without other nodes.
    pub bus: Option<bool>,
    /// Reads of the database replica, by outcome; empty without a replica.
    pub replica: Vec<(&'static str, u64)>,
    /// Counters of the embedded relay.
    pub relay: Vec<(&'static str, u64)>,
    /// Rooms whose timers stay due although they were woken several times.
    pub rooms_stuck: usize,
    /// Deliveries by sink; empty if the store did not answer.
    pub sinks: Vec<SinkValues>,
}

/// Deliveries of one sink.
pub struct SinkValues {
    pub sink: &'static str,
    /// The number of deliveries in each state.
    pub states: Vec<(&'static str, u64)>,
    /// How long the oldest due delivery has been due.
    pub lag: Duration,
    /// Destinations whose breaker is open on this node.
    pub breakers_open: usize,
}

/// Renders all metrics in the text format of Prometheus. Returns `None` without a recorder.
pub fn render(values: &ScrapedValues) -> Option<String> {
    let handle = RECORDER.get()?;
    gauge!("wardroom_connections").set(count(values.connections as u64));
    gauge!("wardroom_rooms").set(count(values.rooms as u64));
    gauge!("wardroom_appends_waiting").set(count(values.appends_waiting as u64));
    gauge!("wardroom_arrivals_waiting").set(count(values.arrivals_waiting as u64));
    gauge!("wardroom_rooms_stuck").set(count(values.rooms_stuck as u64));
    if let Some(connected) = values.bus {
        gauge!("wardroom_bus_connected").set(count(u64::from(connected)));
    }
    for (what, value) in &values.replica {
        counter!("wardroom_replica_reads_total", "what" => *what).absolute(*value);
    }
    for (name, value) in &values.relay {
        counter!("wardroom_turn_total", "what" => *name).absolute(*value);
    }
    for sink in &values.sinks {
        for (state, number) in &sink.states {
            gauge!("wardroom_dispatches", "sink" => sink.sink, "state" => *state).set(count(*number));
        }
        gauge!("wardroom_dispatch_lag_seconds", "sink" => sink.sink).set(sink.lag.as_secs_f64());
        gauge!("wardroom_breakers_open", "sink" => sink.sink).set(count(sink.breakers_open as u64));
    }
    Some(handle.render())
}

/// Converts a count; exact up to 2^53.
#[allow(clippy::cast_precision_loss, reason = "there are never that many")]
fn count(of: u64) -> f64 {
    of as f64
}
