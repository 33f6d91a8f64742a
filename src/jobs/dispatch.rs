//! Sends what is due, lane by lane: as many at a time as a lane's bound and breaker allow.
//!
//! Nothing is lost with this node: what it was sending is due again when its lease is over. Nothing is sent by two
//! nodes unless one of them gave no answer for the length of a lease.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::gateway::{Gateway, Outcome, schedule, timeout};
use crate::store::dispatches::{Dispatch, DispatchState, Report, Sink};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::observe_attempt;

/// How late a delivery may be that another node wrote down, or that waited for its time.
const EVERY: Duration = Duration::from_secs(1);
/// How long a delivery stays with the node that sends it: longer than any attempt takes.
const LEASE: Duration = Duration::from_secs(60);
/// Answers that are written down together.
const REPORTS: usize = 128;
/// How often it is tried to write them down.
const REPORT_TRIES: u32 = 30;

/// The one who sends; cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    store: Store,
    clock: Clock,
    gateway: Gateway,
    /// Something may be due.
    wake: Arc<Notify>,
    reports: mpsc::Sender<Report>,
}

impl Dispatcher {
    /// Starts sending until `stop`.
    pub fn start(store: Store, clock: Clock, gateway: Gateway, stop: CancellationToken) -> Self {
        let (reports, waiting) = mpsc::channel(REPORTS);
        let dispatcher = Self { store, clock, gateway, wake: Arc::default(), reports };
        tokio::spawn(dispatcher.clone().write_reports(waiting));
        let runner = dispatcher.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = runner.wake.notified() => {}
                    () = tokio::time::sleep(EVERY) => {}
                }
                if let Err(error) = runner.round().await {
                    tracing::warn!(%error, "what is due was not sent; it is tried again");
                    tokio::time::sleep(EVERY).await;
                }
            }
        });
        dispatcher
    }

    /// Looks for what is due at once.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    async fn round(&self) -> Result<(), StoreError> {
        for (sink, lane) in self.store.due_lanes(self.clock.now()).await? {
            let free = self.gateway.lanes().begin(sink, &lane, Instant::now());
            if free == 0 {
                continue;
            }
            let now = self.clock.now();
            let taken = self.store.take_dispatches((sink, &lane), now, now.plus(LEASE), free).await;
            let count = taken.as_ref().map_or(0, Vec::len);
            self.gateway.lanes().unused(sink, &lane, free - count);
            for dispatch in taken? {
                let under_way = UnderWay { dispatcher: self.clone(), sink, lane: lane.clone(), works: None };
                tokio::spawn(under_way.send(dispatch));
            }
        }
        Ok(())
    }

    /// Writes down answers, as many together as there are.
    async fn write_reports(self, mut waiting: mpsc::Receiver<Report>) {
        let mut reports = Vec::with_capacity(REPORTS);
        while waiting.recv_many(&mut reports, REPORTS).await > 0 {
            // What is not written down is sent again when its lease is over, so it is worth some patience.
            for _ in 0..REPORT_TRIES {
                match self.store.report(&reports, self.clock.now()).await {
                    Ok(()) => break,
                    Err(error) => tracing::warn!(%error, "what became of deliveries is not written down yet"),
                }
                tokio::time::sleep(EVERY).await;
            }
            reports.clear();
            self.wake();
        }
    }
}

/// A delivery under way: its place in the lane is given back however it ends.
struct UnderWay {
    dispatcher: Dispatcher,
    sink: Sink,
    lane: String,
    works: Option<bool>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.dispatcher.gateway.lanes().ended(self.sink, &self.lane, self.works, Instant::now());
    }
}

impl UnderWay {
    async fn send(mut self, dispatch: Dispatch) {
        let (limit, begin) = (timeout(self.sink), tokio::time::Instant::now());
        let outcome = match tokio::time::timeout(limit, self.dispatcher.gateway.send(&dispatch)).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::retry(format!("no answer within {limit:?}")),
        };
        observe_attempt(self.sink.as_str(), outcome.as_str(), begin);
        self.works = Some(outcome.works());
        let report = report(&dispatch, outcome, rand::random(), &self.dispatcher.clock);
        let reports = self.dispatcher.reports.clone();
        // The place is free before the answer is written, so that the round after it finds it free.
        drop(self);
        // Its end means that the hub ends.
        let _ = reports.send(report).await;
    }
}

fn report(dispatch: &Dispatch, outcome: Outcome, chance: f64, clock: &Clock) -> Report {
    let (state, pause, error) = match outcome {
        Outcome::Done => (DispatchState::Done, None, None),
        Outcome::Gone { why } => (DispatchState::Dropped, None, Some(why)),
        Outcome::Refused { why } => (DispatchState::Dead, None, Some(why)),
        Outcome::Retry { after, why } => match schedule::pause(dispatch.sink, dispatch.attempts, chance, after) {
            Some(pause) => (DispatchState::Waiting, Some(pause), Some(why)),
            None => (DispatchState::Dead, None, Some(why)),
        },
    };
    if state == DispatchState::Dead {
        let (sink, lane, kind) = (dispatch.sink.as_str(), &dispatch.lane, &dispatch.kind);
        tracing::error!(dispatch = %dispatch.id, sink, lane, kind, attempts = dispatch.attempts, "a delivery is given up");
    }
    let due_at = pause.map(|pause| clock.now().plus(pause));
    Report { id: dispatch.id, attempts: dispatch.attempts, state, due_at, error }
}
