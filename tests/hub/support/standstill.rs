//! When the machine stood still: a virtual one at times gets no processor, or its disk takes nothing, for seconds. What is
//! promised within a time is promised of a machine that runs, so that time does not count.

use std::io::Write;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

/// How often the processor is asked for.
const TICK: Duration = Duration::from_millis(10);
/// How often the disk is.
const FLUSH: Duration = Duration::from_millis(100);
/// Who waits longer than this for either stands still; less is how a busy machine is.
const STILL: Duration = Duration::from_millis(250);

/// What one of the watchers saw.
struct Seen {
    stops: Vec<(Instant, Instant)>,
    /// Up to when it has looked.
    until: Option<Instant>,
}

impl Seen {
    const fn nothing() -> Mutex<Self> {
        Mutex::new(Self { stops: Vec::new(), until: None })
    }
}

/// Of the processor, and of the disk.
static SEEN: [Mutex<Seen>; 2] = [Seen::nothing(), Seen::nothing()];

/// How much of the time from `from` to `to` the machine ran. Watched from the first call of [`watch`] on.
pub fn ran(from: Instant, to: Instant) -> Duration {
    let time = to.saturating_duration_since(from);
    if time <= STILL {
        return time;
    }
    watch();
    let mut stops: Vec<(Instant, Instant)> = SEEN
        .iter()
        .flat_map(|seen| {
            loop {
                let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                if seen.until.is_some_and(|until| until >= to) {
                    break seen.stops.clone();
                }
                drop(seen);
                thread::sleep(TICK);
            }
        })
        .collect();
    stops.sort_unstable();
    let (mut ran, mut at) = (Duration::ZERO, from);
    for (begin, end) in stops {
        ran += begin.min(to).saturating_duration_since(at);
        at = at.max(end.min(to));
    }
    ran + to.saturating_duration_since(at)
}

/// How much of the time since then the machine ran.
pub fn ran_since(from: Instant) -> Duration {
    ran(from, Instant::now())
}

/// Begins to watch.
pub fn watch() {
    static WATCHED: OnceLock<()> = OnceLock::new();
    WATCHED.get_or_init(|| {
        keep_asking(&SEEN[0], TICK, || {});
        let mut file = tempfile::tempfile().expect("a temporary file");
        keep_asking(&SEEN[1], FLUSH, move || {
            // A full disk does not stand still.
            let _ = file.write_all(b"x").and_then(|()| file.sync_data());
        });
    });
}

fn keep_asking(seen: &'static Mutex<Seen>, every: Duration, mut ask: impl FnMut() + Send + 'static) {
    thread::spawn(move || {
        loop {
            let due = Instant::now() + every;
            thread::sleep(every);
            ask();
            let now = Instant::now();
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            if now.saturating_duration_since(due) > STILL {
                println!("the machine stood still for {:?}", now - due);
                seen.stops.push((due, now));
            }
            seen.until = Some(now);
        }
    });
}
