//! Timers are rows: a room's `wake_at` is written with the events it follows from, so it survives any restart.

use std::time::Duration;

use crate::clock::Clock;
use crate::hub::Hub;
use crate::store::StoreError;

/// How late a timer may be.
pub const EVERY: Duration = Duration::from_millis(500);
/// Rooms that are woken at a time; the rest follow in the next round.
const AT_ONCE: u32 = 200;

/// Wakes the rooms whose time has come.
pub async fn run(hub: &Hub, clock: &Clock) -> Result<(), StoreError> {
    for room in hub.store().due_rooms(clock.now(), AT_ONCE).await? {
        hub.wake(room);
    }
    Ok(())
}
