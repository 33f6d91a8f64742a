//! When many arrive at once, as after the loss of another node: so many a second are let in, those first who come back.
//! A person in the middle of a consultation is not to wait behind others who open a page.
//!
//! Who waits has said hello and costs nothing yet: the token is not looked at, and no room is read.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// How long anybody waits before being told to come back in a minute; well before a client takes the hub for dead.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked who may come in.
const LOOK: Duration = Duration::from_millis(5);

/// The door; cheap to clone.
#[derive(Clone)]
pub struct Arrivals {
    inner: Arc<Inner>,
}

struct Inner {
    rate: DefaultDirectRateLimiter,
    patience: Duration,
    line: Mutex<Line>,
    waiting: AtomicUsize,
}

/// Who waits.
#[derive(Default)]
struct Line {
    /// Had a connection before.
    back: VecDeque<oneshot::Sender<()>>,
    fresh: VecDeque<oneshot::Sender<()>>,
    /// Whether somebody calls them in.
    is_called: bool,
}

/// It took too long.
#[derive(Debug)]
pub struct Crowded;

impl Arrivals {
    /// Lets in so many a second, a fiftieth of that at once.
    pub fn new(per_second: NonZeroU32) -> Self {
        Self::with(per_second, PATIENCE)
    }

    fn with(per_second: NonZeroU32, patience: Duration) -> Self {
        let at_once = NonZeroU32::new(per_second.get() / 50).unwrap_or(NonZeroU32::MIN);
        let rate = RateLimiter::direct(Quota::per_second(per_second).allow_burst(at_once));
        Self { inner: Arc::new(Inner { rate, patience, line: Mutex::default(), waiting: AtomicUsize::new(0) }) }
    }

    /// Those who wait.
    pub fn waiting(&self) -> usize {
        self.inner.waiting.load(Ordering::Relaxed)
    }

    /// Waits for one's turn.
    pub async fn admit(&self, comes_back: bool) -> Result<(), Crowded> {
        let turn = {
            let mut line = self.inner.line.lock().unwrap_or_else(PoisonError::into_inner);
            let is_next = line.back.is_empty() && (comes_back || line.fresh.is_empty());
            if is_next && self.inner.rate.check().is_ok() {
                return Ok(());
            }
            let (call, turn) = oneshot::channel();
            if comes_back { &mut line.back } else { &mut line.fresh }.push_back(call);
            if !line.is_called {
                line.is_called = true;
                tokio::spawn(call_in(self.inner.clone()));
            }
            turn
        };
        self.inner.waiting.fetch_add(1, Ordering::Relaxed);
        let called = timeout(self.inner.patience, turn).await;
        self.inner.waiting.fetch_sub(1, Ordering::Relaxed);
        // Nobody calls any more only when the runtime ends.
        if matches!(called, Ok(Ok(()))) { Ok(()) } else { Err(Crowded) }
    }
}

/// Calls in who waits, until nobody does.
async fn call_in(inner: Arc<Inner>) {
    loop {
        sleep(LOOK).await;
        let mut line = inner.line.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever gave up takes nobody's place.
        line.back.retain(|call| !call.is_closed());
        line.fresh.retain(|call| !call.is_closed());
        while !(line.back.is_empty() && line.fresh.is_empty()) && inner.rate.check().is_ok() {
            if let Some(call) = line.back.pop_front().or_else(|| line.fresh.pop_front()) {
                let _ = call.send(());
            }
        }
        if line.back.is_empty() && line.fresh.is_empty() {
            line.is_called = false;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test]
    async fn who_comes_back_goes_before_who_comes_anew_and_nobody_exceeds_the_rate() {
        let arrivals = Arrivals::new(NonZeroU32::new(50).unwrap());
        let order = Arc::new(Mutex::new(Vec::new()));
        let begin = Instant::now();
        let mut all = tokio::task::JoinSet::new();
        // The first finds the door open; then those who came first are those who came anew.
        for at in 0..51 {
            let (arrivals, order) = (arrivals.clone(), order.clone());
            all.spawn(async move {
                let back = at >= 31;
                arrivals.admit(back).await.unwrap();
                order.lock().unwrap().push(back);
            });
        }
        all.join_all().await;
        let order = order.lock().unwrap();
        assert!(!order[0] && order[1..21].iter().all(|back| *back), "{order:?}");
        assert!(begin.elapsed() > Duration::from_millis(950), "50 more at 50 a second: {:?}", begin.elapsed());
        assert_eq!(arrivals.waiting(), 0);
    }

    #[tokio::test]
    async fn nobody_waits_for_ever_and_who_gave_up_takes_nobodys_place() {
        let patience = Duration::from_millis(700);
        let arrivals = Arrivals::with(NonZeroU32::MIN, patience);
        arrivals.admit(false).await.unwrap();
        let begin = Instant::now();
        let (late, _) = tokio::join!(arrivals.admit(true), arrivals.admit(true));
        late.expect_err("there is no place within that time");
        assert!(begin.elapsed() >= patience);
        arrivals.admit(false).await.expect("the next place is free, a second after the first");
    }
}
