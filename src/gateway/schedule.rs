//! When a delivery that failed is tried again, and when it is given up.

use std::time::Duration;

use crate::store::dispatches::Sink;

/// How far an attempt is moved about its time, in parts of the pause.
const JITTER: f64 = 0.2;
/// The longest pause that a receiver can ask for.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// Pauses after the first attempt, the second, and so on, in seconds. After as many failures as there are pauses, and
/// one more, a delivery is given up.
fn pauses(sink: Sink) -> &'static [u64] {
    match sink {
        // A notification that comes a day late is of no use; most have a shorter time anyway.
        Sink::Push => &[2, 10, 30, 120, 600, 1_800, 3_600, 7_200],
        // As Standard Webhooks proposes.
        Sink::Webhook => &[5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400],
        Sink::Mail | Sink::Payment | Sink::Courier => {
            &[5, 15, 60, 300, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200]
        }
    }
}

/// The pause after the `attempts`th attempt has failed, or none if that was the last. `chance` is from 0 to 1 and moves
/// it, so that what failed together does not come back together. A receiver that says when to come back (`wish`) is
/// not asked earlier.
pub fn pause(sink: Sink, attempts: u32, chance: f64, wish: Option<Duration>) -> Option<Duration> {
    let planned = *pauses(sink).get(usize::try_from(attempts.saturating_sub(1)).ok()?)?;
    let moved = Duration::from_secs(planned).mul_f64(1.0 - JITTER + 2.0 * JITTER * chance.clamp(0.0, 1.0));
    Some(wish.map_or(moved, |wish| moved.max(wish.min(LONGEST))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schedule_grows_and_ends() {
        for sink in Sink::ALL {
            let pauses: Vec<_> = (1..100).map_while(|attempts| pause(sink, attempts, 0.5, None)).collect();
            assert!(pauses.is_sorted() && (5..20).contains(&pauses.len()), "{sink:?}: {pauses:?}");
            assert!(pauses[0] <= Duration::from_secs(5), "{sink:?}: a short fault costs little");
        }
    }

    #[test]
    fn a_pause_is_moved_by_chance_and_by_what_the_receiver_asks() {
        let seconds = |chance, wish: Option<u64>| {
            pause(Sink::Payment, 3, chance, wish.map(Duration::from_secs)).unwrap().as_secs_f64()
        };
        assert_eq!((seconds(0.0, None), seconds(1.0, None)), (48.0, 72.0));
        assert_eq!((seconds(0.0, Some(10)), seconds(0.0, Some(900))), (48.0, 900.0));
        assert_eq!(seconds(0.0, Some(u64::MAX)), 6.0 * 3600.0);
    }
}
