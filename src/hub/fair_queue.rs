//! Keeps bursts of connects and disconnects from starving other tasks.
//!
//! All runnable tasks share one queue of the scheduler. If ten thousand connections end at once, each needing a tenth
//! of a millisecond, a message that arrives a moment later would wait behind all of them. So they wait here, and at
//! most one of them is runnable at a time.

use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// A fair queue with a single slot.
#[derive(Debug)]
pub struct FairQueue {
    slot: Semaphore,
}

impl Default for FairQueue {
    fn default() -> Self {
        Self { slot: Semaphore::new(1) }
    }
}

impl FairQueue {
    /// Waits for the caller's turn, first come, first served. Between two turns all other runnable tasks run once.
    pub async fn wait_turn(&self) {
        let _slot = self.slot.acquire().await.expect("the semaphore is never closed");
        yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn queue_is_fair_and_does_not_starve_other_tasks() {
        const TASKS: usize = 1_000;
        let (queue, done) = (Rc::new(FairQueue::default()), Rc::new(Cell::new(0)));
        let local = tokio::task::LocalSet::new();
        for number in 0..TASKS {
            let (queue, done) = (queue.clone(), done.clone());
            local.spawn_local(async move {
                queue.wait_turn().await;
                assert_eq!(done.get(), number, "first come, first served");
                done.set(number + 1);
            });
        }
        let most_at_once = local
            .run_until(async {
                let (mut most, mut before) = (0, 0);
                while done.get() < TASKS {
                    yield_now().await;
                    most = most.max(done.get() - before);
                    before = done.get();
                }
                most
            })
            .await;
        assert!(most_at_once <= 2, "{most_at_once} turns passed before another task ran");
    }
}
