//! Works through what commits say to those outside: the deliveries that follow are written down, then the note goes.
//! Partners are told at once; people are notified a few seconds later, if they have not seen it by then.
//!
//! What this node committed is handed over in memory. What a dead node left behind, or found no place there, is found by
//! its lease, and read from the log. Either may be worked through twice: the same delivery is written down once.

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

use super::dispatch::Dispatcher;
use super::held::{Batch, Held};
use crate::clock::Clock;
use crate::gateway::Gateway;
use crate::hub::appender::{OUTBOX_LEASE, OutboxBatch};
use crate::push::{self, Notice};
use crate::store::dispatches::Wish;
use crate::store::outgoing::{News, Span};
use crate::store::{Store, StoreError};

/// How often notes whose leases are over are looked for.
const POLL: Duration = Duration::from_secs(2);
/// How often is looked who has still not seen what happened.
const LOOK: Duration = Duration::from_millis(250);
/// How long a look that failed waits for the next.
const AGAIN: Duration = Duration::from_secs(1);
/// How often notes that are worked through are deleted: together, since each deletion is a commit.
const TIDY: Duration = Duration::from_secs(1);
/// Notes of other nodes taken at a time.
const AT_ONCE: u32 = 16;
/// Events read from the store at a time.
const PAGE: u32 = 512;
/// Commits that may wait to be worked through; the rest are found by their leases.
pub const QUEUE: usize = 512;

/// The job's own data.
struct Outgoing {
    store: Store,
    clock: Clock,
    gateway: Gateway,
    dispatcher: Dispatcher,
    held: Mutex<Held>,
    /// Notes that are worked through.
    finished: Mutex<Vec<Uuid>>,
}

/// Starts working through what is handed over, and what is left behind, until `stop`.
pub fn start(
    store: Store,
    clock: Clock,
    gateway: Gateway,
    dispatcher: Dispatcher,
    mut handed: mpsc::Receiver<OutboxBatch>,
    stop: CancellationToken,
) {
    let (held, finished) = Default::default();
    let job = Arc::new(Outgoing { store, clock, gateway, dispatcher, held, finished });
    // Three tasks, so that what is handed over does not wait for the database: what finds no place is read from the log
    // later, which costs most when there is least time.
    tokio::spawn(stop.clone().run_until_cancelled_owned({
        let job = job.clone();
        async move {
            while let Some(OutboxBatch { note, news }) = handed.recv().await {
                complain(job.work(note, news).await);
            }
        }
    }));
    tokio::spawn(stop.clone().run_until_cancelled_owned({
        let (job, mut poll) = (job.clone(), every(POLL));
        async move {
            loop {
                poll.tick().await;
                complain(job.take_over().await);
            }
        }
    }));
    tokio::spawn(async move {
        let (mut look, mut tidy) = (every(LOOK), every(TIDY));
        loop {
            tokio::select! {
                () = stop.cancelled() => return job.give_back().await,
                _ = look.tick() => complain(job.notify().await),
                _ = tidy.tick() => complain(job.tidy().await),
            }
        }
    });
}

fn complain(done: Result<(), StoreError>) {
    if let Err(error) = done {
        tracing::warn!(%error, "what goes out was not worked through; it is tried again");
    }
}

/// Ticks that are late do not come closer together for it.
fn every(span: Duration) -> Interval {
    let mut interval = tokio::time::interval(span);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

impl Outgoing {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finished(&self) -> MutexGuard<'_, Vec<Uuid>> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this node committed.
    async fn work(&self, note: Uuid, news: Vec<News>) -> Result<(), StoreError> {
        self.tell_partners(&news).await?;
        let notices: Vec<Notice> = news.iter().flat_map(push::notices).collect();
        if notices.is_empty() {
            self.finished().push(note);
        } else if !self.held().keep(note, notices, Instant::now()) {
            tracing::warn!(%note, "too much waits; this is looked at when its lease is over");
        }
        Ok(())
    }

    async fn tell_partners(&self, news: &[News]) -> Result<(), StoreError> {
        let mut wishes = Vec::new();
        for news in news {
            wishes.extend(self.gateway.wishes(news).await?);
        }
        self.enqueue(&wishes).await
    }

    async fn enqueue(&self, wishes: &[Wish]) -> Result<(), StoreError> {
        if self.store.enqueue(wishes, self.clock.now(), || self.clock.fresh_id()).await? > 0 {
            self.dispatcher.wake();
        }
        Ok(())
    }

    /// Notifies those who had time enough to see it.
    async fn notify(&self) -> Result<(), StoreError> {
        let due = self.held().due(Instant::now());
        let (mut notices, mut notes) = (Vec::new(), Vec::new());
        for batch in due {
            notices.extend(batch.notices);
            notes.extend(batch.note);
        }
        if notices.is_empty() {
            return Ok(());
        }
        let done = match self.gateway.push().wishes(&notices).await {
            Ok(wishes) => self.enqueue(&wishes).await,
            Err(error) => Err(error),
        };
        if done.is_ok() {
            self.finished().append(&mut notes);
        } else {
            let (due, mut held) = (Instant::now() + AGAIN, self.held());
            held.put(due, Batch { notices, note: None });
            for note in notes {
                held.put(due, Batch { notices: Vec::new(), note: Some(note) });
            }
        }
        done
    }

    /// Works through what nodes that gave no sign have left behind. They had time enough.
    async fn take_over(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        for (note, spans) in self.store.take_notes(now, now.plus(OUTBOX_LEASE), AT_ONCE).await? {
            let mut news = Vec::with_capacity(spans.len());
            for span in spans {
                news.extend(read_news(&self.store, span).await?);
            }
            self.tell_partners(&news).await?;
            let notices: Vec<Notice> = news.iter().flat_map(push::notices).collect();
            self.enqueue(&self.gateway.push().wishes(&notices).await?).await?;
            self.finished().push(note);
        }
        Ok(())
    }

    async fn tidy(&self) -> Result<(), StoreError> {
        let finished = std::mem::take(&mut *self.finished());
        let done = self.store.finish_notes(&finished).await;
        if done.is_err() {
            self.finished().extend(finished);
        }
        done
    }

    /// Leaves what waits to others, who need not wait for the end of a lease.
    async fn give_back(&self) {
        let given = match self.tidy().await {
            Ok(()) => {
                let notes = self.held().notes();
                self.store.release_notes(&notes).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = given {
            tracing::warn!(%error, "what waits to go out stays until its lease is over");
        }
    }
}

/// What an append said, as the log has it. Of messages alone no more is needed than who take part; what follows from anything
/// else depends on the room, which is read from its begin.
async fn read_news(store: &Store, span: Span) -> Result<Option<News>, StoreError> {
    let said = read(store, span, span.first.saturating_sub(1)).await?;
    if said.iter().all(|record| matches!(record.event, Event::ChatSent(_))) {
        let parties = if said.is_empty() { None } else { store.parties(span.room).await? };
        return Ok(parties.map(|(patient, doctor)| News {
            room: span.room,
            patient,
            doctor,
            records: said,
            after: None,
        }));
    }
    let mut room = Room::new(span.room);
    let mut records = read(store, span, 0).await?;
    for record in &records {
        room.apply(record);
    }
    records.retain(|record| record.seq >= span.first && record.event.audience().outside);
    let Some((patient, doctor)) = room.parties().filter(|_| !records.is_empty()) else { return Ok(None) };
    Ok(Some(News { room: span.room, patient, doctor, records, after: Some(Box::new(room.snapshot(&View::Care))) }))
}

/// The records behind `after`, up to the span's last.
async fn read(store: &Store, span: Span, mut after: u64) -> Result<Vec<Arc<Record>>, StoreError> {
    let mut records = Vec::new();
    while after < span.last {
        let limit = u32::try_from(span.last - after).unwrap_or(PAGE).min(PAGE);
        let page = store.events_after(span.room, after, limit).await?;
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
