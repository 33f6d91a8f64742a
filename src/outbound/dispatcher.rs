//! Sends the deliveries that are due, destination by destination, as many at a time as its limit and breaker allow.
//!
//! A node leases the rows that it sends. If it dies, they are due again when the lease expires, so none is lost. Two
//! nodes send the same row only if one of them did not report for the length of a lease.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::lane::Destinations;
use super::retry;
use crate::clock::Clock;
use crate::integrations::{AttemptResult, Evidence, Integrations, Outcome};
use crate::store::dispatches::{Dispatch, DispatchState, Report, Sink};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::observe_attempt;
use crate::telemetry::panics::{TaskGuard, contain};

/// How often this node polls for rows that another node wrote, or whose time has come.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a node keeps the rows that it sends: longer than any attempt takes.
const DISPATCH_LEASE: Duration = Duration::from_secs(60);
/// Outcomes that one transaction records.
const MAX_REPORT_BATCH: usize = 128;
/// How often the dispatcher tries to record a batch of outcomes.
const MAX_REPORT_TRIES: u32 = 30;

/// The task that sends deliveries; cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    store: Store,
    clock: Clock,
    integrations: Integrations,
    destinations: Destinations,
    /// Notified when a row may be due.
    wake: Arc<Notify>,
    reports: mpsc::Sender<Report>,
}

impl Dispatcher {
    /// Starts sending; ends with `stop`.
    pub fn start(
        store: Store,
        clock: Clock,
        integrations: Integrations,
        destinations: Destinations,
        stop: CancellationToken,
    ) -> Self {
        let (reports, queued) = mpsc::channel(MAX_REPORT_BATCH);
        let dispatcher = Self { store, clock, integrations, destinations, wake: Arc::default(), reports };
        tokio::spawn(dispatcher.clone().record_reports(queued));
        let runner = dispatcher.clone();
        tokio::spawn(async move {
            let mut guard = TaskGuard::new("dispatcher");
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = runner.wake.notified() => {}
                    () = tokio::time::sleep(POLL_INTERVAL) => {}
                }
                if let Some(Err(error)) = guard.run(runner.send_due()).await {
                    tracing::warn!(%error, "due deliveries not read; retrying");
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
            }
        });
        dispatcher
    }

    /// Checks for due deliveries at once.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    async fn send_due(&self) -> Result<(), StoreError> {
        for (sink, lane) in self.store.due_lanes(self.clock.now()).await? {
            let permitted = self.destinations.begin(sink, &lane, Instant::now());
            if permitted == 0 {
                continue;
            }
            let now = self.clock.now();
            let leased = self.store.take_dispatches((sink, &lane), now, now.plus(DISPATCH_LEASE), permitted).await;
            let count = leased.as_ref().map_or(0, Vec::len);
            self.destinations.return_unused(sink, &lane, permitted - count);
            for delivery in leased? {
                let (dispatcher, lane) = (self.clone(), lane.clone());
                let attempt = Attempt { dispatcher, sink, lane, evidence: Evidence::Nothing };
                tokio::spawn(attempt.run(delivery));
            }
        }
        Ok(())
    }

    /// Records outcomes in batches.
    async fn record_reports(self, mut queued: mpsc::Receiver<Report>) {
        let mut reports = Vec::with_capacity(MAX_REPORT_BATCH);
        let mut guard = TaskGuard::new("delivery reports");
        while queued.recv_many(&mut reports, MAX_REPORT_BATCH).await > 0 {
            // Without a record the delivery is sent again when its lease expires, so many tries are worth it.
            for _ in 0..MAX_REPORT_TRIES {
                match guard.run(self.store.report(&reports, self.clock.now())).await {
                    Some(Ok(())) => break,
                    Some(Err(error)) => tracing::warn!(%error, "delivery outcomes not recorded; retrying"),
                    None => {}
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            reports.clear();
            self.wake();
        }
    }
}

/// An attempt in flight. Dropping it frees its place at the destination, however the attempt ends.
struct Attempt {
    dispatcher: Dispatcher,
    sink: Sink,
    lane: String,
    evidence: Evidence,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.dispatcher.destinations.finish(self.sink, &self.lane, self.evidence, Instant::now());
    }
}

impl Attempt {
    async fn run(mut self, delivery: Dispatch) {
        let (limit, started) = (retry::attempt_timeout(self.sink), tokio::time::Instant::now());
        let outcome = if delivery.attempts > retry::max_attempts(self.sink) {
            Outcome::postponed("the last attempts ended without a result")
        } else {
            attempt(limit, self.dispatcher.integrations.send(&delivery)).await
        };
        observe_attempt(self.sink.as_str(), outcome.as_str(), started);
        self.evidence = outcome.evidence;
        let report = report(&delivery, outcome, rand::random(), &self.dispatcher.clock);
        let reports = self.dispatcher.reports.clone();
        // Free the place before recording the outcome, so that the round that the record triggers can use it.
        drop(self);
        // The channel closes only when the hub stops.
        let _ = reports.send(report).await;
    }
}

/// Makes one attempt. A panic counts as a failed attempt that shows nothing about the destination.
async fn attempt(limit: Duration, send: impl Future<Output = Outcome>) -> Outcome {
    match tokio::time::timeout(limit, contain(send)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panicked)) => Outcome::postponed(panicked.to_string()),
        Err(_) => Outcome::retry(format!("no answer within {limit:?}")),
    }
}

/// Maps an outcome to the row's next state. `chance` is from 0 to 1 and spreads retries.
fn report(delivery: &Dispatch, outcome: Outcome, chance: f64, clock: &Clock) -> Report {
    let (state, delay, error) = match outcome.result {
        AttemptResult::Done => (DispatchState::Done, None, None),
        AttemptResult::Gone { why } => (DispatchState::Dropped, None, Some(why)),
        AttemptResult::Refused { why } => (DispatchState::Dead, None, Some(why)),
        AttemptResult::Retry { after, why } => match retry::delay(delivery.sink, delivery.attempts, chance, after) {
            Some(delay) => (DispatchState::Waiting, Some(delay), Some(why)),
            None => (DispatchState::Dead, None, Some(why)),
        },
    };
    if state == DispatchState::Dead {
        let (sink, lane, kind) = (delivery.sink.as_str(), &delivery.lane, &delivery.kind);
        tracing::error!(dispatch = %delivery.id, sink, lane, kind, attempts = delivery.attempts, "delivery given up");
    }
    let due_at = delay.map(|delay| clock.now().plus(delay));
    Report { id: delivery.id, attempts: delivery.attempts, state, due_at, error }
}

#[cfg(test)]
mod tests {
    use rooms::id::RoomId;
    use rooms::time::Timestamp;
    use uuid::Uuid;

    use super::*;

    fn delivery(attempts: u32) -> Dispatch {
        Dispatch {
            id: Uuid::nil(),
            sink: Sink::Mail,
            lane: "smtp".to_owned(),
            target: "somebody".to_owned(),
            room: RoomId(Uuid::nil()),
            seq: 1,
            kind: "booked".to_owned(),
            body: String::new(),
            state: DispatchState::Sending,
            attempts,
            due_at: None,
            last_error: None,
            created_at: Timestamp::from_micros(0),
            done_at: None,
        }
    }

    #[tokio::test]
    async fn panicking_delivery_is_retried_by_its_schedule_then_dead_and_no_evidence_against_its_destination() {
        let panicked = async || attempt(Duration::from_secs(1), async { panic!("a test") }).await;
        let clock = Clock::system();
        let mut attempts = 1;
        loop {
            let outcome = panicked().await;
            assert_eq!(outcome.evidence, Evidence::Nothing);
            let report = report(&delivery(attempts), outcome, 0.5, &clock);
            assert!(report.error.is_some_and(|error| error.contains("panic")));
            if report.state == DispatchState::Dead {
                break;
            }
            assert_eq!(report.state, DispatchState::Waiting);
            assert!(report.due_at.is_some_and(|due_at| due_at > clock.now()));
            attempts += 1;
        }
        assert_eq!(attempts, retry::max_attempts(Sink::Mail));
        let silent = attempt(Duration::from_millis(1), std::future::pending()).await;
        assert_eq!(silent.evidence, Evidence::Fails);
    }
}
