//! Room timers. A timer is a column, `wake_at`, written in the transaction of its events, so it survives restarts.

use std::time::Duration;

use crate::clock::Clock;
use crate::hub::Hub;
use crate::store::StoreError;

/// How late a timer may fire.
pub const TIMER_INTERVAL: Duration = Duration::from_millis(500);
/// Rooms that one round wakes, beside those that stay due. The rest follow in the next round.
const MAX_WOKEN_ROOMS: usize = 200;

/// Wakes the rooms whose timers are due, and reorders the waiting rooms in which a slot begins.
pub async fn run(hub: &Hub, clock: &Clock) -> Result<(), StoreError> {
    hub.reorder_lobbies(clock.now()).await;
    // Rooms that stay due come first in the list, and must not hide the others.
    let limit = MAX_WOKEN_ROOMS.saturating_add(hub.due_room_count());
    hub.wake_due(&hub.store().due_rooms(clock.now(), limit).await?);
    Ok(())
}
