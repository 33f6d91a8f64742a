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
pub static FIGURES: LazyLock<Figures> = LazyLock::new(|| Figures {
    commit: histogram!("wardroom_commit_seconds"),
    appends: histogram!("wardroom_commit_appends"),
    ack: histogram!("wardroom_ack_seconds"),
    fan_out: histogram!("wardroom_fan_out_seconds"),
    resume: histogram!("wardroom_resume_seconds"),
});

/// What is timed on the way of a message.
pub struct Figures {
    /// One transaction, from its begin to the end of its commit.
    pub commit: Histogram,
    /// Appends of one transaction.
    pub appends: Histogram,
    /// From a command's arrival in its room's inbox to its answer, if it was carried out.
    pub ack: Histogram,
    /// From the commit of a command's events to the last listener's outbox on this node.
    pub fan_out: Histogram,
    /// From `join` to `live`, where the store had to be read.
    pub resume: Histogram,
}

/// Notes how long it took since `begin`.
pub fn took(histogram: &Histogram, begin: Instant) {
    histogram.record(begin.elapsed());
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
pub struct Seen {
    pub connections: usize,
    pub rooms: usize,
    pub appends_waiting: usize,
    /// Whether the other nodes hear this one; absent where there are none.
    pub bus: Option<bool>,
    /// What the embedded relay did: a name, and how often or how much.
    pub relay: Vec<(&'static str, u64)>,
}

/// The text that Prometheus reads; `None` if nothing is kept.
pub fn render(seen: &Seen) -> Option<String> {
    let handle = RECORDER.get()?;
    gauge!("wardroom_connections").set(count(seen.connections));
    gauge!("wardroom_rooms").set(count(seen.rooms));
    gauge!("wardroom_appends_waiting").set(count(seen.appends_waiting));
    if let Some(connected) = seen.bus {
        gauge!("wardroom_bus_connected").set(count(usize::from(connected)));
    }
    for (name, value) in &seen.relay {
        counter!("wardroom_turn_total", "what" => *name).absolute(*value);
    }
    Some(handle.render())
}

/// Exact up to 2^53.
#[allow(clippy::cast_precision_loss, reason = "there are never that many")]
fn count(of: usize) -> f64 {
    of as f64
}
