//! When the machine stood still: a virtual one at times gets no processor for seconds. What is promised within a time is
//! promised of a machine that runs, so that time does not count.

use std::sync::{Mutex, Once, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

/// How often the processor is asked for.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(10);
/// Who waits longer than this for it stands still; less is how a busy machine is.
const STALL_THRESHOLD: Duration = Duration::from_millis(250);

/// What the watcher saw.
struct Observations {
    stalls: Vec<(Instant, Instant)>,
    /// Up to when it has looked.
    until: Option<Instant>,
}

static OBSERVATIONS: Mutex<Observations> = Mutex::new(Observations { stalls: Vec::new(), until: None });

/// How much of the time from `from` to `to` the machine ran. Watched from the first call of [`watch`] on.
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
            return time - observed.stalls.iter().map(within).sum::<Duration>();
        }
        drop(observed);
        thread::sleep(SAMPLE_INTERVAL);
    }
}

/// How much of the time since then the machine ran.
pub fn running_time_since(from: Instant) -> Duration {
    running_time(from, Instant::now())
}

/// Begins to watch.
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
                    println!("the machine stood still for {:?}", now - due);
                    observed.stalls.push((due, now));
                }
                observed.until = Some(now);
            }
        });
    });
}
