//! Periodic jobs. Every job may run twice, or on two nodes at once, without harm.

pub mod sandbox;
mod sweep;
pub mod time;
mod timers;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::hub::Hub;
use crate::store::StoreError;
use crate::telemetry::panics::TaskGuard;

/// A periodic task.
pub enum Job {
    /// Wakes the rooms whose timers are due.
    Timers,
    /// Deletes expired idempotency keys, ended sign-ins, and old deliveries.
    Sweep,
    /// Compares this node's clock with the database's, which all nodes share.
    Time,
    /// Copies SQLite's write-ahead log into the database file.
    Checkpoint,
}

/// How often SQLite's log is copied. A shorter interval copies pages that soon change again.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

impl Job {
    const ALL: [Job; 4] = [Job::Timers, Job::Sweep, Job::Time, Job::Checkpoint];

    fn interval(&self) -> Duration {
        match self {
            Job::Timers => timers::TIMER_INTERVAL,
            Job::Sweep => sweep::SWEEP_INTERVAL,
            Job::Time => time::CLOCK_CHECK_INTERVAL,
            Job::Checkpoint => CHECKPOINT_INTERVAL,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Job::Timers => "timers",
            Job::Sweep => "sweep",
            Job::Time => "time",
            Job::Checkpoint => "checkpoint",
        }
    }

    async fn run(&self, hub: &Hub, clock: &Clock) -> Result<(), StoreError> {
        match self {
            Job::Timers => timers::run(hub, clock).await,
            Job::Sweep => sweep::run(hub, clock).await,
            // A single node has no other clock to agree with.
            Job::Time if !hub.bus().is_shared() => Ok(()),
            Job::Time => time::run(hub.store(), clock).await,
            Job::Checkpoint => hub.store().checkpoint().await,
        }
    }
}

/// Starts all jobs; they end with `stop`.
pub fn start(hub: &Hub, clock: &Clock, stop: &CancellationToken) {
    for job in Job::ALL {
        let (hub, clock, stop) = (hub.clone(), clock.clone(), stop.clone());
        tokio::spawn(async move {
            let mut guard = TaskGuard::new(job.name());
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(job.interval()) => {}
                }
                if let Some(Err(error)) = guard.run(job.run(&hub, &clock)).await {
                    tracing::warn!(job = job.name(), %error, "job failed; retrying");
                }
            }
        });
    }
}
