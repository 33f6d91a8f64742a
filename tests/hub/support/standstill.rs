//! When the machine stood still: a virtual one at times gets no processor for seconds. What is promised within a time is
//! promised of a machine that runs, so that time does not count.

use std::sync::{Mutex, Once, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

/// How often the processor is asked for.
const TICK: Duration = Duration::from_millis(10);
/// Who waits longer than this for it stands still; less is how a busy machine is.
const STILL: Duration = Duration::from_millis(250);

/// What the watcher saw.
struct Seen {
    stops: Vec<(Instant, Instant)>,
    /// Up to when it has looked.
    until: Option<Instant>,
}

static SEEN: Mutex<Seen> = Mutex::new(Seen { stops: Vec::new(), until: None });

/// How much of the time from `from` to `to` the machine ran. Watched from the first call of [`watch`] on.
pub fn ran(from: Instant, to: Instant) -> Duration {
    let time = to.saturating_duration_since(from);
    if time <= STILL {
        return time;
    }
    watch();
    loop {
        let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.until.is_some_and(|until| until >= to) {
            let within =
                |(begin, end): &(Instant, Instant)| (*end).min(to).saturating_duration_since((*begin).max(from));
            return time - seen.stops.iter().map(within).sum::<Duration>();
        }
        drop(seen);
        thread::sleep(TICK);
    }
}

/// How much of the time since then the machine ran.
pub fn ran_since(from: Instant) -> Duration {
    ran(from, Instant::now())
}

/// Begins to watch.
pub fn watch() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        thread::spawn(|| {
            loop {
                let due = Instant::now() + TICK;
                thread::sleep(TICK);
                let now = Instant::now();
                let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
                if now.saturating_duration_since(due) > STILL {
                    println!("the machine stood still for {:?}", now - due);
                    seen.stops.push((due, now));
                }
                seen.until = Some(now);
            }
        });
    });
}
