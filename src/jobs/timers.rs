//! Room timers. A timer is a column, `wake_at`, written in the transaction of its events, so it survives restarts.

use std::time::Duration;

use crate::clock::Clock;
use crate::hub::Hub;
use crate::store::StoreError;

/// How late a timer may fire.
pub const TIMER_INTERVAL: Duration = Duration::from_millis(500);
/// Rooms that one round wakes. The rest follow in the next round.
const MAX_WOKEN_ROOMS: u32 = 200;

/// Wakes the rooms whose timers are due.
pub async fn run(hub: &Hub, clock: &Clock) -> Result<(), StoreError> {
    for room in hub.store().due_rooms(clock.now(), MAX_WOKEN_ROOMS).await? {
        hub.wake(room);
    }
    Ok(())
}
