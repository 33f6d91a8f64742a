//! Schedules the wakes of rooms whose timers are due. A room that stays due although it was woken is woken less and less
//! often, and finally given up, so that a room that cannot run its timer neither uses up the node nor delays the others.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rooms::id::RoomId;
use rooms::time::Timestamp;
use tokio::time::Instant;

/// The pause after the first wake without effect. Each further one doubles it.
const FIRST_REPEAT_DELAY: Duration = Duration::from_secs(1);
/// The longest pause between two wakes.
const MAX_REPEAT_DELAY: Duration = Duration::from_secs(3600);
/// Wakes without effect after which a room is given up, about a week after the first: no repairable outage of the
/// database lasts longer.
const MAX_WAKES: u32 = 180;
/// Wakes without effect from which on a room counts as stuck. A busy hub needs more than one at times.
const STUCK_WAKES: u32 = 5;

/// A room whose timer stays due although it was woken several times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StuckRoom {
    pub room: RoomId,
    /// When its timer was due.
    pub due_at: Timestamp,
    /// How often this node has woken it since.
    pub wakes: u32,
    /// Whether this node wakes it no more. A restart of the hub tries again.
    pub is_given_up: bool,
}

/// See the module.
#[derive(Default)]
pub struct WakeSchedule {
    pending: Mutex<HashMap<RoomId, PendingWake>>,
}

struct PendingWake {
    due_at: Timestamp,
    wakes: u32,
    next_at: Instant,
}

impl WakeSchedule {
    fn lock(&self) -> MutexGuard<'_, HashMap<RoomId, PendingWake>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the rooms to wake now. `due` are all rooms that are due, each with the time of its timer.
    pub fn next(&self, due: &[(RoomId, Timestamp)], now: Instant) -> Vec<RoomId> {
        let mut pending = self.lock();
        let mut still_due = HashMap::with_capacity(due.len());
        let mut to_wake = Vec::new();
        for (room, due_at) in due {
            // Another time means that the timer ran, and that the next one is due already.
            let known = pending.remove(room).filter(|known| known.due_at == *due_at);
            let mut wake = known.unwrap_or(PendingWake { due_at: *due_at, wakes: 0, next_at: now });
            if wake.next_at <= now && wake.wakes < MAX_WAKES {
                let delay = FIRST_REPEAT_DELAY.saturating_mul(2_u32.saturating_pow(wake.wakes)).min(MAX_REPEAT_DELAY);
                wake.wakes += 1;
                wake.next_at = now + delay;
                if wake.wakes == MAX_WAKES {
                    tracing::error!(%room, "room given up: its timer stays due however often it is woken");
                }
                to_wake.push(*room);
            }
            still_due.insert(*room, wake);
        }
        *pending = still_due;
        to_wake
    }

    /// Returns how many rooms were due in the last round and are woken later or no more.
    pub fn pending_count(&self) -> usize {
        self.lock().len()
    }

    /// Returns the rooms that stay due, the longest due first.
    pub fn stuck_rooms(&self) -> Vec<StuckRoom> {
        let pending = self.lock();
        let stuck = pending.iter().filter(|(_, wake)| wake.wakes >= STUCK_WAKES);
        let mut stuck: Vec<StuckRoom> = stuck
            .map(|(room, wake)| StuckRoom {
                room: *room,
                due_at: wake.due_at,
                wakes: wake.wakes,
                is_given_up: wake.wakes >= MAX_WAKES,
            })
            .collect();
        stuck.sort_by_key(|stuck| (stuck.due_at, stuck.room));
        stuck
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn stuck_room_is_woken_less_and_less_often_then_given_up() {
        let (schedule, room, start) = (WakeSchedule::default(), RoomId(Uuid::nil()), Instant::now());
        let (mut now, mut wakes) = (start, Vec::new());
        while now < start + Duration::from_secs(8 * 86_400) {
            if schedule.next(&[(room, at(1))], now) == [room] {
                wakes.push((now - start).as_secs());
            }
            now += Duration::from_millis(if wakes.len() < 7 { 500 } else { 60_000 });
        }
        assert_eq!(wakes[..6], [0, 1, 3, 7, 15, 31]);
        assert_eq!(wakes.len(), 180, "{wakes:?}");
        let stuck = StuckRoom { room, due_at: at(1), wakes: 180, is_given_up: true };
        assert_eq!(schedule.stuck_rooms(), [stuck]);
        // The timer ran after all, for example on another node.
        assert_eq!(schedule.next(&[(room, at(2))], now), [room]);
        assert_eq!(schedule.stuck_rooms(), []);
        assert!(schedule.next(&[], now).is_empty() && schedule.pending_count() == 0);
    }

    #[test]
    fn stuck_rooms_do_not_delay_others() {
        let (schedule, now) = (WakeSchedule::default(), Instant::now());
        let rooms: Vec<(RoomId, Timestamp)> = (0..300).map(|id| (RoomId(Uuid::from_u128(id)), at(1))).collect();
        assert_eq!(schedule.next(&rooms[..299], now).len(), 299);
        assert_eq!(schedule.next(&rooms, now), [rooms[299].0]);
    }
}
