//! Deletes what has served its time. Nothing clinical is among it.

use std::time::Duration;

use crate::clock::Clock;
use crate::hub::Hub;
use crate::store::StoreError;

/// How often is swept.
pub const EVERY: Duration = Duration::from_secs(600);

/// Deletes idempotency keys after a day, sign-ins that ended, deliveries that were made a while ago, and the ids
/// of partners' old messages.
pub async fn run(hub: &Hub, clock: &Clock) -> Result<(), StoreError> {
    hub.store().sweep(clock.now()).await?;
    hub.store().sweep_subscriptions().await?;
    hub.store().sweep_dispatches(clock.now()).await?;
    hub.store().sweep_partner_events(clock.now()).await
}
