//! Rooms whose tasks panicked, and how long each rests before its task may start again.

use std::time::Duration;

use dashmap::DashMap;
use rooms::id::RoomId;
use tokio::time::Instant;

use crate::telemetry::panics::restart_delay;

/// How long after its rest a room that did not panic again counts as healthy.
const RECOVERY_AGE: Duration = Duration::from_secs(600);

/// See the module.
#[derive(Default)]
pub struct RoomFailures {
    by_room: DashMap<RoomId, RoomFailure>,
}

struct RoomFailure {
    panics_in_a_row: u32,
    rests_until: Instant,
}

impl RoomFailures {
    /// Records a panic. Returns how long the room rests: longer after each panic in a row, up to a minute.
    pub fn record(&self, room: RoomId, now: Instant) -> Duration {
        self.by_room.retain(|_, failure| now.saturating_duration_since(failure.rests_until) < RECOVERY_AGE);
        let mut failure = self.by_room.entry(room).or_insert(RoomFailure { panics_in_a_row: 0, rests_until: now });
        let rest = restart_delay(failure.panics_in_a_row);
        failure.panics_in_a_row = failure.panics_in_a_row.saturating_add(1);
        failure.rests_until = now + rest;
        rest
    }

    /// Returns whether the room's task may not start yet.
    pub fn is_resting(&self, room: RoomId, now: Instant) -> bool {
        !self.by_room.is_empty() && self.by_room.get(&room).is_some_and(|failure| now < failure.rests_until)
    }

    /// Forgets the panics of a room whose task has ended without one.
    pub fn clear(&self, room: RoomId) {
        self.by_room.remove(&room);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn room_rests_longer_after_each_panic_until_it_recovers() {
        let (failures, room, mut now) = (RoomFailures::default(), RoomId(Uuid::nil()), Instant::now());
        assert!(!failures.is_resting(room, now));
        for rest in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(failures.record(room, now), Duration::from_secs(rest));
            assert!(failures.is_resting(room, now) && !failures.is_resting(RoomId(Uuid::max()), now));
            now += Duration::from_secs(rest);
            assert!(!failures.is_resting(room, now));
        }
        now += RECOVERY_AGE;
        assert_eq!(failures.record(room, now), Duration::from_secs(1));
        failures.clear(room);
        assert!(!failures.is_resting(room, now));
    }
}
