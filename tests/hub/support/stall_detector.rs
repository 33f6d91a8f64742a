//! Detects stalls of the machine: a virtual one sometimes gets no processor for seconds. Time limits apply to a
//! machine that runs, so stalls do not count.

use std::sync::{Mutex, Once, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

/// How often the detector asks for the processor.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(10);
/// A longer wait for the processor is a stall; shorter ones are normal on a busy machine.
const STALL_THRESHOLD: Duration = Duration::from_millis(250);

/// Stalls observed so far.
struct Observations {
    stalls: Vec<(Instant, Instant)>,
    /// The time up to which the observations are complete.
    until: Option<Instant>,
}

static OBSERVATIONS: Mutex<Observations> = Mutex::new(Observations { stalls: Vec::new(), until: None });

/// Returns how long the machine ran between `from` and `to`. Observation begins with the first call of [`start`].
pub fn running_time(from: Instant, to: Instant) -> Duration {
    let time = to.saturating_duration_since(from);
    if time <= STALL_THRESHOLD {
        return time;
    }
    start();
    loop {
        let observed = OBSERVATIONS.lock().unwrap_or_else(PoisonError::into_inner);
        if observed.until.is_some_and(|until| until >= to) {
            let within =
                |(begin, end): &(Instant, Instant)| (*end).min(to).saturating_duration_since((*begin).max(from));
            return time.checked_sub(observed.stalls.iter().map(within).sum::<Duration>()).unwrap();
        }
        drop(observed);
        thread::sleep(SAMPLE_INTERVAL);
    }
}

/// Returns how long the machine has run since `from`.
pub fn running_time_since(from: Instant) -> Duration {
    running_time(from, Instant::now())
}

/// Starts the detector, once per process.
pub fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        thread::spawn(|| {
            loop {
                let due = Instant::now() + SAMPLE_INTERVAL;
                thread::sleep(SAMPLE_INTERVAL);
                let now = Instant::now();
                let mut observed = OBSERVATIONS.lock().unwrap_or_else(PoisonError::into_inner);
                if now.saturating_duration_since(due) > STALL_THRESHOLD {
                    println!("the machine stalled for {:?}", now - due);
                    observed.stalls.push((due, now));
                }
                observed.until = Some(now);
            }
        });
    });
}
