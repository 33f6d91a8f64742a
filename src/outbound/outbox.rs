//! The outbox worker: stores the deliveries that follow from committed changes, then deletes the outbox entries.
//!
//! Partners' deliveries are stored at once. Push notices first wait out a grace period, and only people who have not
//! confirmed the event by then are notified.
//!
//! Changes that this node commits arrive in memory. Entries of a dead node, and those that found a full queue or buffer
//! here, are leased again later and their events read from the log. Processing an entry twice is harmless, because a
//! delivery is stored once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rooms::event::Event;
use rooms::permission::View;
use rooms::record::Record;
use rooms::room::Room;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::dispatcher::Dispatcher;
use super::grace::{DelayedNotices, NoticeBatch};
use crate::clock::Clock;
use crate::hub::appender::{OUTBOX_LEASE, OutboxBatch};
use crate::integrations::Integrations;
use crate::integrations::push::recipients::{Notice, notices_for};
use crate::store::dispatches::Wish;
use crate::store::outbox::{CommittedChange, EventRange};
use crate::store::{Store, StoreError};
use crate::telemetry::panics::{TaskGuard, contain};

/// How often the worker looks for entries whose leases have expired.
const LEASE_POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How often the worker looks for notices whose grace period is over.
const GRACE_POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How long notices wait after the database failed.
const NOTICE_RETRY_DELAY: Duration = Duration::from_secs(1);
/// How often finished entries are deleted. They are collected, because each deletion is a commit.
const DELETE_INTERVAL: Duration = Duration::from_secs(1);
/// Expired entries that the worker leases at a time.
const MAX_LEASED_ENTRIES: u32 = 16;
/// Events in one read of the log.
const MAX_PAGE_EVENTS: u32 = 512;
/// Batches that may wait for the worker. The rest are found when their leases expire.
pub const QUEUE_CAPACITY: usize = 512;

struct OutboxWorker {
    store: Store,
    clock: Clock,
    integrations: Integrations,
    dispatcher: Dispatcher,
    delayed: Mutex<DelayedNotices>,
    /// Entries whose deliveries are stored, to be deleted.
    finished: Mutex<Vec<Uuid>>,
}

/// Starts the worker; it ends with `stop`.
pub fn start(
    store: Store,
    clock: Clock,
    integrations: Integrations,
    dispatcher: Dispatcher,
    mut committed: mpsc::Receiver<OutboxBatch>,
    stop: CancellationToken,
) {
    let (delayed, finished) = Default::default();
    let worker = Arc::new(OutboxWorker { store, clock, integrations, dispatcher, delayed, finished });
    // Three tasks, so that committed batches do not queue behind database work. A batch that finds the queue full must
    // be read from the log, which costs most when the database is busiest.
    tokio::spawn(stop.clone().run_until_cancelled_owned({
        let worker = worker.clone();
        async move {
            let mut guard = TaskGuard::new("outbox");
            while let Some(OutboxBatch { note: entry, news: changes }) = committed.recv().await {
                log_failure(guard.run(worker.process(entry, changes)).await);
            }
        }
    }));
    tokio::spawn(stop.clone().run_until_cancelled_owned({
        let (worker, mut poll) = (worker.clone(), interval(LEASE_POLL_INTERVAL));
        async move {
            let mut guard = TaskGuard::new("outbox recovery");
            loop {
                poll.tick().await;
                log_failure(guard.run(worker.process_expired_entries()).await);
            }
        }
    }));
    tokio::spawn(async move {
        let (mut grace, mut delete) = (interval(GRACE_POLL_INTERVAL), interval(DELETE_INTERVAL));
        let mut guard = TaskGuard::new("notifications");
        loop {
            tokio::select! {
                () = stop.cancelled() => return worker.release_entries().await,
                _ = grace.tick() => log_failure(guard.run(worker.notify_due()).await),
                _ = delete.tick() => log_failure(guard.run(worker.delete_finished()).await),
            }
        }
    });
}

/// Logs an error; the guard has logged a panic.
fn log_failure(done: Option<Result<(), StoreError>>) {
    if let Some(Err(error)) = done {
        tracing::warn!(%error, "outbox entries not processed; retrying");
    }
}

/// Returns an interval that does not catch up on missed ticks.
fn interval(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

impl OutboxWorker {
    fn delayed(&self) -> MutexGuard<'_, DelayedNotices> {
        self.delayed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finished(&self) -> MutexGuard<'_, Vec<Uuid>> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Processes an entry that this node committed.
    async fn process(&self, entry: Uuid, changes: Vec<CommittedChange>) -> Result<(), StoreError> {
        self.enqueue_for_partners(&changes).await?;
        let notices: Vec<Notice> = changes.iter().flat_map(notices_for).collect();
        if notices.is_empty() {
            self.finished().push(entry);
        } else if !self.delayed().delay(entry, notices, Instant::now()) {
            tracing::warn!(outbox.entry = %entry, "notification buffer full; entry left for lease recovery");
        }
        Ok(())
    }

    async fn enqueue_for_partners(&self, changes: &[CommittedChange]) -> Result<(), StoreError> {
        let mut deliveries = Vec::new();
        for change in changes {
            deliveries.extend(self.integrations.deliveries_for(change).await?);
        }
        self.enqueue(&deliveries).await
    }

    async fn enqueue(&self, deliveries: &[Wish]) -> Result<(), StoreError> {
        if self.store.enqueue(deliveries, self.clock.now(), || self.clock.fresh_id()).await? > 0 {
            self.dispatcher.wake();
        }
        Ok(())
    }

    /// Stores the push deliveries of notices whose grace period is over.
    async fn notify_due(&self) -> Result<(), StoreError> {
        let due = self.delayed().take_due(Instant::now());
        let (mut notices, mut entries) = (Vec::new(), Vec::new());
        for batch in due {
            notices.extend(batch.notices);
            entries.extend(batch.entry);
        }
        if notices.is_empty() {
            return Ok(());
        }
        let done = match self.integrations.push().deliveries_for(&notices).await {
            Ok(deliveries) => self.enqueue(&deliveries).await,
            Err(error) => Err(error),
        };
        if done.is_ok() {
            self.finished().append(&mut entries);
        } else {
            let (due, mut delayed) = (Instant::now() + NOTICE_RETRY_DELAY, self.delayed());
            delayed.insert(due, NoticeBatch { notices, entry: None });
            for entry in entries {
                delayed.insert(due, NoticeBatch { notices: Vec::new(), entry: Some(entry) });
            }
        }
        done
    }

    /// Processes entries whose nodes let the lease expire. Each by itself: one that fails must not hold up the others.
    async fn process_expired_entries(&self) -> Result<(), StoreError> {
        for (entry, ranges) in
            self.store.lease_outbox_entries(self.clock.now(), OUTBOX_LEASE, MAX_LEASED_ENTRIES).await?
        {
            let failure = match contain(self.process_expired(entry, ranges)).await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(panicked) => panicked.to_string(),
            };
            tracing::warn!(outbox.entry = %entry, error = failure, "outbox entry not processed; retried until it is dead");
        }
        Ok(())
    }

    /// Processes one expired entry. Its grace periods are over by now.
    async fn process_expired(&self, entry: Uuid, ranges: Vec<EventRange>) -> Result<(), StoreError> {
        let mut changes = Vec::with_capacity(ranges.len());
        for range in ranges {
            changes.extend(read_change(&self.store, range).await?);
        }
        self.enqueue_for_partners(&changes).await?;
        let notices: Vec<Notice> = changes.iter().flat_map(notices_for).collect();
        self.enqueue(&self.integrations.push().deliveries_for(&notices).await?).await?;
        self.finished().push(entry);
        Ok(())
    }

    async fn delete_finished(&self) -> Result<(), StoreError> {
        let finished = std::mem::take(&mut *self.finished());
        let done = self.store.delete_outbox_entries(&finished).await;
        if done.is_err() {
            self.finished().extend(finished);
        }
        done
    }

    /// Ends the leases of delayed entries, so that other nodes need not wait for them to expire.
    async fn release_entries(&self) {
        let released = match self.delete_finished().await {
            Ok(()) => {
                let entries = self.delayed().entries();
                self.store.release_outbox_entries(&entries).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = released {
            tracing::warn!(%error, "outbox leases not released; they will expire");
        }
    }
}

/// Rebuilds a committed change from the log. Chat alone needs only the room's parties. Anything else depends on the
/// room's state, which is replayed from its beginning.
async fn read_change(store: &Store, range: EventRange) -> Result<Option<CommittedChange>, StoreError> {
    let appended = read_records(store, range, range.first.saturating_sub(1)).await?;
    if appended.iter().all(|record| matches!(record.event, Event::ChatSent(_))) {
        let parties = if appended.is_empty() { None } else { store.parties(range.room).await? };
        return Ok(parties.map(|(patient, doctor)| CommittedChange {
            room: range.room,
            patient,
            doctor,
            records: appended,
            after: None,
        }));
    }
    let mut room = Room::new(range.room);
    let mut records = read_records(store, range, 0).await?;
    for record in &records {
        room.apply(record);
    }
    records.retain(|record| record.seq >= range.first && record.event.audience().outside);
    let Some((patient, doctor)) = room.parties() else { return Ok(None) };
    let Some(at) = records.last().map(|record| record.at) else { return Ok(None) };
    Ok(Some(CommittedChange {
        room: range.room,
        patient,
        doctor,
        records,
        after: Some(Box::new(room.snapshot(&View::Care, at))),
    }))
}

/// Reads the records after `after`, up to the last of the range.
async fn read_records(store: &Store, range: EventRange, mut after: u64) -> Result<Vec<Arc<Record>>, StoreError> {
    let mut records = Vec::new();
    while after < range.last {
        let limit = u32::try_from(range.last - after).unwrap_or(MAX_PAGE_EVENTS).min(MAX_PAGE_EVENTS);
        let page = store.events_after(range.room, after, limit).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        for stored in page {
            let record: Record = serde_json::from_str(&stored.canonical)
                .map_err(|_| StoreError::Unexpected("a stored record cannot be read".into()))?;
            records.push(Arc::new(record));
        }
    }
    Ok(records)
}
