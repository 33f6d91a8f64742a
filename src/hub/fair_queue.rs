//! Many who come or go at the same moment, as when a network breaks, let each other and everybody else have a turn.
//!
//! What is ready to go on stands in one line before the processor. Ten thousand connections that end at once would stand in it
//! before a message that came a moment later, and each of them takes a tenth of a millisecond. So they wait apart, and
//! one of them stands in that line at a time.

use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// Those who wait apart, in the order in which they came.
#[derive(Debug)]
pub struct FairQueue {
    turn: Semaphore,
}

impl Default for FairQueue {
    fn default() -> Self {
        Self { turn: Semaphore::new(1) }
    }
}

impl FairQueue {
    /// Waits until it is one's turn, and everybody who is not of this crowd and could go on has gone on.
    pub async fn wait_turn(&self) {
        let _turn = self.turn.acquire().await.expect("the semaphore is never closed");
        yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn who_is_not_of_the_crowd_waits_for_few_of_it_and_all_of_it_get_their_turn() {
        const MANY: usize = 1_000;
        let (crowd, done) = (Rc::new(FairQueue::default()), Rc::new(Cell::new(0)));
        let local = tokio::task::LocalSet::new();
        for number in 0..MANY {
            let (crowd, done) = (crowd.clone(), done.clone());
            local.spawn_local(async move {
                crowd.wait_turn().await;
                assert_eq!(done.get(), number, "in the order in which they came");
                done.set(number + 1);
            });
        }
        let most = local
            .run_until(async {
                let (mut most, mut before) = (0, 0);
                while done.get() < MANY {
                    yield_now().await;
                    most = most.max(done.get() - before);
                    before = done.get();
                }
                most
            })
            .await;
        assert!(most <= 2, "{most} of the crowd went before somebody else");
    }
}
