//! Admission control for new sockets and streams.
//!
//! After the loss of a node thousands of clients connect at once. The queue admits a fixed number per second, returning
//! clients first: a person in a consultation must not wait behind people who open a page. A queued client has sent its
//! hello and costs almost nothing: nobody has verified its token or read a room yet.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// Maximum time in the queue. Shorter than the silence after which a client considers the hub dead.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// Interval between two rounds of admission.
const ADMIT_INTERVAL: Duration = Duration::from_millis(5);

/// The queue of clients that wait for admission; cheap to clone.
#[derive(Clone)]
pub struct AdmissionQueue {
    inner: Arc<AdmissionInner>,
}

struct AdmissionInner {
    rate: DefaultDirectRateLimiter,
    max_wait: Duration,
    waiters: Mutex<Waiters>,
    waiting: AtomicUsize,
}

/// Clients in the queue, by priority.
#[derive(Default)]
struct Waiters {
    /// Clients that had a connection before.
    returning: VecDeque<oneshot::Sender<()>>,
    new: VecDeque<oneshot::Sender<()>>,
    /// Whether a task is admitting them.
    is_draining: bool,
}

/// The client waited longer than the limit.
#[derive(Debug)]
pub struct AdmissionTimeout;

impl AdmissionQueue {
    /// Admits `per_second` clients per second, in bursts of at most a fiftieth of that.
    pub fn new(per_second: NonZeroU32) -> Self {
        Self::with(per_second, MAX_WAIT)
    }

    fn with(per_second: NonZeroU32, max_wait: Duration) -> Self {
        let at_once = NonZeroU32::new(per_second.get() / 50).unwrap_or(NonZeroU32::MIN);
        let rate = RateLimiter::direct(Quota::per_second(per_second).allow_burst(at_once));
        Self {
            inner: Arc::new(AdmissionInner { rate, max_wait, waiters: Mutex::default(), waiting: AtomicUsize::new(0) }),
        }
    }

    /// The number of waiting clients.
    pub fn waiting(&self) -> usize {
        self.inner.waiting.load(Ordering::Relaxed)
    }

    /// Waits until the client is admitted; `returning` clients go first.
    pub async fn admit(&self, returning: bool) -> Result<(), AdmissionTimeout> {
        let admitted = {
            let mut waiters = self.inner.waiters.lock().unwrap_or_else(PoisonError::into_inner);
            let is_next = waiters.returning.is_empty() && (returning || waiters.new.is_empty());
            if is_next && self.inner.rate.check().is_ok() {
                return Ok(());
            }
            let (permit, admitted) = oneshot::channel();
            if returning { &mut waiters.returning } else { &mut waiters.new }.push_back(permit);
            if !waiters.is_draining {
                waiters.is_draining = true;
                tokio::spawn(admit_waiters(self.inner.clone()));
            }
            admitted
        };
        self.inner.waiting.fetch_add(1, Ordering::Relaxed);
        let result = timeout(self.inner.max_wait, admitted).await;
        self.inner.waiting.fetch_sub(1, Ordering::Relaxed);
        // The sender is dropped only when the runtime ends.
        if matches!(result, Ok(Ok(()))) { Ok(()) } else { Err(AdmissionTimeout) }
    }
}

/// Admits waiting clients at the configured rate until the queue is empty.
async fn admit_waiters(inner: Arc<AdmissionInner>) {
    loop {
        sleep(ADMIT_INTERVAL).await;
        let mut waiters = inner.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        // A client that gave up must not use up a permit.
        waiters.returning.retain(|permit| !permit.is_closed());
        waiters.new.retain(|permit| !permit.is_closed());
        while !(waiters.returning.is_empty() && waiters.new.is_empty()) && inner.rate.check().is_ok() {
            if let Some(permit) = waiters.returning.pop_front().or_else(|| waiters.new.pop_front()) {
                let _ = permit.send(());
            }
        }
        if waiters.returning.is_empty() && waiters.new.is_empty() {
            waiters.is_draining = false;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test]
    async fn returning_clients_go_first_and_the_rate_holds() {
        let queue = AdmissionQueue::new(NonZeroU32::new(50).unwrap());
        let order = Arc::new(Mutex::new(Vec::new()));
        let begin = Instant::now();
        let mut all = tokio::task::JoinSet::new();
        // The first is admitted at once. Of the rest, new clients arrive before returning ones.
        for at in 0..51 {
            let (queue, order) = (queue.clone(), order.clone());
            all.spawn(async move {
                let returning = at >= 31;
                queue.admit(returning).await.unwrap();
                order.lock().unwrap().push(returning);
            });
        }
        all.join_all().await;
        let order = order.lock().unwrap();
        assert!(!order[0] && order[1..21].iter().all(|returning| *returning), "{order:?}");
        assert!(begin.elapsed() > Duration::from_millis(950), "50 more at 50 a second: {:?}", begin.elapsed());
        assert_eq!(queue.waiting(), 0);
    }

    #[tokio::test]
    async fn waiting_is_bounded_and_a_client_that_gave_up_uses_no_permit() {
        let max_wait = Duration::from_millis(700);
        let queue = AdmissionQueue::with(NonZeroU32::MIN, max_wait);
        queue.admit(false).await.unwrap();
        let begin = Instant::now();
        let (late, _) = tokio::join!(queue.admit(true), queue.admit(true));
        late.expect_err("no permit within that time");
        assert!(begin.elapsed() >= max_wait);
        queue.admit(false).await.expect("the next permit is free, a second after the first");
    }
}
