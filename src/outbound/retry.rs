//! The retry schedule: how long one attempt may take, when the next one follows, and when a delivery is given up.

use std::time::Duration;

use crate::store::dispatches::Sink;

/// How far a delay is spread around its planned length, as a fraction of it.
const JITTER: f64 = 0.2;
/// The longest delay that a receiver can ask for.
const MAX_REQUESTED_DELAY: Duration = Duration::from_secs(6 * 3600);

/// Returns how long one attempt may take.
pub fn attempt_timeout(sink: Sink) -> Duration {
    match sink {
        Sink::Push | Sink::Webhook | Sink::Payment | Sink::Courier => Duration::from_secs(10),
        Sink::Mail => Duration::from_secs(20),
    }
}

/// Returns the delays after the first failed attempt, the second, and so on, in seconds. A delivery is given up when
/// its last delay has passed and it fails once more.
fn delays_s(sink: Sink) -> &'static [u64] {
    match sink {
        // A notification is of no use a day late; most expire sooner anyway.
        Sink::Push => &[2, 10, 30, 120, 600, 1_800, 3_600, 7_200],
        // As Standard Webhooks proposes.
        Sink::Webhook => &[5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400],
        Sink::Mail | Sink::Payment | Sink::Courier => {
            &[5, 15, 60, 300, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200]
        }
    }
}

/// Returns how many attempts are made at a delivery.
pub fn max_attempts(sink: Sink) -> u32 {
    u32::try_from(delays_s(sink).len()).unwrap_or(u32::MAX).saturating_add(1)
}

/// Returns the delay after the `attempts`th attempt has failed, or `None` if that was the last one.
///
/// `chance`, from 0 to 1, spreads the delay, so that deliveries that failed together do not retry together.
/// `requested` is the receiver's own `Retry-After`: it can lengthen the delay, up to [`MAX_REQUESTED_DELAY`].
pub fn delay(sink: Sink, attempts: u32, chance: f64, requested: Option<Duration>) -> Option<Duration> {
    let planned = *delays_s(sink).get(usize::try_from(attempts.saturating_sub(1)).ok()?)?;
    let spread = Duration::from_secs(planned).mul_f64(1.0 - JITTER + 2.0 * JITTER * chance.clamp(0.0, 1.0));
    Some(requested.map_or(spread, |requested| spread.max(requested.min(MAX_REQUESTED_DELAY))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schedule_grows_and_ends() {
        for sink in Sink::ALL {
            let delays: Vec<_> = (1..100).map_while(|attempts| delay(sink, attempts, 0.5, None)).collect();
            assert!(delays.is_sorted() && (5..20).contains(&delays.len()), "{sink:?}: {delays:?}");
            assert!(delays[0] <= Duration::from_secs(5), "{sink:?}: a short fault costs little");
        }
    }

    #[test]
    fn delay_is_spread_by_chance_and_lengthened_by_the_receiver() {
        let seconds = |chance, requested: Option<u64>| {
            delay(Sink::Payment, 3, chance, requested.map(Duration::from_secs)).unwrap().as_secs_f64()
        };
        assert_eq!((seconds(0.0, None), seconds(1.0, None)), (48.0, 72.0));
        assert_eq!((seconds(0.0, Some(10)), seconds(0.0, Some(900))), (48.0, 900.0));
        assert_eq!(seconds(0.0, Some(u64::MAX)), 6.0 * 3600.0);
    }
}
