//! Keeps nodes that share a database on one clock, the database server's.
//!
//! With clocks of their own, nodes would disagree on when a hold or a token expires.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::store::{Store, StoreError};

/// How often a node compares its clock.
pub const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Compares this node's clock with the database's.
pub async fn run(store: &Store, clock: &Clock) -> Result<(), StoreError> {
    let started = Instant::now();
    let Some(theirs) = store.server_time().await? else { return Ok(()) };
    if let Some(off) = clock.compare(theirs, started.elapsed()) {
        if off == 0 {
            tracing::info!("local clock agrees with the database again; using it");
        } else {
            tracing::warn!(off_ms = off / 1000, "local clock differs from the database's; using the database's time");
        }
    }
    Ok(())
}
