//! What happens by itself as time goes by. Every job can run twice, or on two nodes at once, without harm.

pub mod dispatch;
mod held;
pub mod outgoing;
pub mod sandbox;
mod sweep;
pub mod time;
mod timers;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::hub::Hub;
use crate::store::StoreError;

/// A task that is repeated.
pub enum Job {
    /// Wakes the rooms whose timers are due.
    Timers,
    /// Deletes what has served its time: idempotency keys, ended sign-ins and old deliveries.
    Sweep,
    /// Follows the clock that all nodes share.
    Time,
    /// Copies SQLite's log into its file.
    Checkpoint,
}

/// How often SQLite's log is copied. More often, and pages that change again are copied in vain.
const CHECKPOINT: Duration = Duration::from_secs(1);

impl Job {
    const ALL: [Job; 4] = [Job::Timers, Job::Sweep, Job::Time, Job::Checkpoint];

    fn every(&self) -> Duration {
        match self {
            Job::Timers => timers::EVERY,
            Job::Sweep => sweep::EVERY,
            Job::Time => time::EVERY,
            Job::Checkpoint => CHECKPOINT,
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
            // A hub that is alone has nobody to agree with.
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
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(job.every()) => {}
                }
                if let Err(error) = job.run(&hub, &clock).await {
                    tracing::warn!(job = job.name(), %error, "a job failed; it is tried again");
                }
            }
        });
    }
}
