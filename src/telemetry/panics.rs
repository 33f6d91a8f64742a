//! Panics as outcomes. A panic ends only the work that panicked; it is logged and counted like any other failure.
//!
//! [`install_hook`] logs and counts every panic of the process. [`contain`] and [`TaskGuard`] keep a panic from ending a
//! task that the hub cannot do without.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use metrics::counter;

/// How long a guarded task pauses after a panic. Each further panic in a row doubles it.
const FIRST_RESTART_DELAY: Duration = Duration::from_secs(1);
/// The longest pause of a guarded task.
const MAX_RESTART_DELAY: Duration = Duration::from_secs(60);

/// The name of the counter of panics.
const PANICS_METRIC: &str = "wardroom_panics_total";

/// The work panicked. The log has a line with the place, written by the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hub failed: a fault in its code (a panic); its log names the place")]
pub struct Panicked;

/// Logs and counts every panic of this process, in place of the standard hook, whose lines are not in the log's format.
pub fn install_hook() {
    // Registers the counter, so that it is visible before the first panic.
    counter!(PANICS_METRIC).absolute(0);
    std::panic::set_hook(Box::new(|info| {
        counter!(PANICS_METRIC).increment(1);
        let location = info.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
        let reason = literal_reason(info.payload());
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        tracing::error!(location, reason, thread, "panic");
    }));
}

/// Returns the reason if it is a literal of the code. A formatted one may contain patient data.
fn literal_reason(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("withheld: it may contain data")
}

/// Runs `work`, and turns a panic into an error. What `work` had changed in shared state stays as it was at the panic.
pub async fn contain<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_| Panicked)
}

/// Keeps a long-lived task running: each turn of its loop may panic without ending it.
#[derive(Debug)]
pub struct TaskGuard {
    /// The name of the task in the log.
    task: &'static str,
    panics_in_a_row: u32,
}

impl TaskGuard {
    pub fn new(task: &'static str) -> Self {
        Self { task, panics_in_a_row: 0 }
    }

    /// Runs one turn. After a panic it pauses, longer each time, and returns `None`.
    pub async fn run<T>(&mut self, turn: impl Future<Output = T>) -> Option<T> {
        if let Ok(done) = contain(turn).await {
            self.panics_in_a_row = 0;
            return Some(done);
        }
        let delay = restart_delay(self.panics_in_a_row);
        self.panics_in_a_row = self.panics_in_a_row.saturating_add(1);
        let (task, panics_in_a_row) = (self.task, self.panics_in_a_row);
        tracing::error!(task, panics_in_a_row, ?delay, "background task panicked; it restarts");
        tokio::time::sleep(delay).await;
        None
    }
}

/// Returns how long to pause after a panic that follows `earlier` others in a row.
pub fn restart_delay(earlier: u32) -> Duration {
    FIRST_RESTART_DELAY.saturating_mul(2_u32.saturating_pow(earlier)).min(MAX_RESTART_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let delays: Vec<u64> = (0..8).map(|earlier| restart_delay(earlier).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(restart_delay(u32::MAX), MAX_RESTART_DELAY);
    }

    #[tokio::test]
    async fn guarded_task_survives_a_panic() {
        let mut guard = TaskGuard::new("test");
        assert_eq!(guard.run(async { panic!("a test") }).await, None::<()>);
        assert_eq!(guard.panics_in_a_row, 1);
        assert_eq!(guard.run(async { 7 }).await, Some(7));
        assert_eq!(guard.panics_in_a_row, 0);
    }

    #[tokio::test]
    async fn panics_after_an_await_are_contained_and_their_data_is_withheld() {
        let work = async {
            tokio::task::yield_now().await;
            std::panic::panic_any("a literal");
        };
        assert_eq!(contain(work).await, Err::<(), _>(Panicked));
        assert_eq!(literal_reason(&"a literal"), "a literal");
        assert!(literal_reason(&format!("cannot read {}", "Pat Ient")).starts_with("withheld"));
    }
}
