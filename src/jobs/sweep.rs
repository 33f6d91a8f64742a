//! Deletes expired rows, none of which are clinical, and completes rows of earlier releases.

use std::time::Duration;

use crate::clock::Clock;
use crate::hub::Hub;
use crate::store::StoreError;

/// How often expired rows are deleted.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(600);

/// Deletes day-old idempotency keys, ended sign-ins and their subscriptions, old deliveries, and the ids of old inbound
/// webhooks. Fills search columns that a node of an earlier release left empty.
pub async fn run(hub: &Hub, clock: &Clock) -> Result<(), StoreError> {
    hub.store().sweep(clock.now()).await?;
    hub.store().sweep_subscriptions().await?;
    hub.store().sweep_dispatches(clock.now()).await?;
    hub.store().sweep_partner_events(clock.now()).await?;
    hub.store().fill_search_columns().await
}
