//! Nodes that serve one database go by one clock, the database server's: a hold or a token that one of them made by a clock
//! of its own would be over at once for another, or last too long.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::store::{Store, StoreError};

/// How often a node compares its clock.
pub const EVERY: Duration = Duration::from_secs(5);

/// Compares this node's clock with the database's.
pub async fn run(store: &Store, clock: &Clock) -> Result<(), StoreError> {
    let asked = Instant::now();
    let Some(theirs) = store.time().await? else { return Ok(()) };
    if let Some(off) = clock.compare(theirs, asked.elapsed()) {
        if off == 0 {
            tracing::info!("this machine's clock is right again, and is used");
        } else {
            tracing::warn!(
                off_ms = off / 1000,
                "this machine's clock is not the database server's, whose time is used"
            );
        }
    }
    Ok(())
}
