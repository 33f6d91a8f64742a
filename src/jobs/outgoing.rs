//! Works through what commits say to those outside: the deliveries that follow are written down, then the note goes.
//! Partners are told at once; people are notified a few seconds later, if they have not seen it by then.
//!
//! What this node committed is handed over in memory. What a dead node left behind is found by its lease, and read from
//! the log. Either may be worked through twice: the same delivery is written down once.

use std::sync::Arc;
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
use crate::hub::appender::{Handed, LEASE};
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
    held: Held,
    /// Notes that are worked through.
    finished: Vec<Uuid>,
}

/// Starts working through what is handed over, and what is left behind, until `stop`.
pub fn start(
    store: Store,
    clock: Clock,
    gateway: Gateway,
    dispatcher: Dispatcher,
    mut handed: mpsc::Receiver<Handed>,
    stop: CancellationToken,
) {
    let mut job = Outgoing { store, clock, gateway, dispatcher, held: Held::default(), finished: Vec::new() };
    tokio::spawn(async move {
        let (mut look, mut tidy, mut poll) = (every(LOOK), every(TIDY), every(POLL));
        loop {
            let done = tokio::select! {
                () = stop.cancelled() => return job.give_back().await,
                Some(Handed { note, news }) = handed.recv() => job.work(note, news).await,
                _ = look.tick() => job.notify().await,
                _ = tidy.tick() => job.tidy().await,
                _ = poll.tick() => job.take_over().await,
            };
            if let Err(error) = done {
                tracing::warn!(%error, "what goes out was not worked through; it is tried again");
            }
        }
    });
}

/// Ticks that are late do not come closer together for it.
fn every(span: Duration) -> Interval {
    let mut interval = tokio::time::interval(span);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

impl Outgoing {
    /// What this node committed.
    async fn work(&mut self, note: Uuid, news: Vec<News>) -> Result<(), StoreError> {
        self.tell_partners(&news).await?;
        let notices: Vec<Notice> = news.iter().flat_map(push::notices).collect();
        if notices.is_empty() {
            self.finished.push(note);
        } else if !self.held.keep(note, notices, Instant::now()) {
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
    async fn notify(&mut self) -> Result<(), StoreError> {
        let (mut notices, mut notes) = (Vec::new(), Vec::new());
        for batch in self.held.due(Instant::now()) {
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
            self.finished.append(&mut notes);
        } else {
            let due = Instant::now() + AGAIN;
            self.held.put(due, Batch { notices, note: None });
            for note in notes {
                self.held.put(due, Batch { notices: Vec::new(), note: Some(note) });
            }
        }
        done
    }

    /// Works through what nodes that gave no sign have left behind. They had time enough.
    async fn take_over(&mut self) -> Result<(), StoreError> {
        let now = self.clock.now();
        for (note, spans) in self.store.take_notes(now, now.plus(LEASE), AT_ONCE).await? {
            let mut news = Vec::with_capacity(spans.len());
            for span in spans {
                news.extend(read_news(&self.store, span).await?);
            }
            self.tell_partners(&news).await?;
            let notices: Vec<Notice> = news.iter().flat_map(push::notices).collect();
            self.enqueue(&self.gateway.push().wishes(&notices).await?).await?;
            self.finished.push(note);
        }
        Ok(())
    }

    async fn tidy(&mut self) -> Result<(), StoreError> {
        self.store.finish_notes(&self.finished).await?;
        self.finished.clear();
        Ok(())
    }

    /// Leaves what waits to others, who need not wait for the end of a lease.
    async fn give_back(mut self) {
        let given = match self.tidy().await {
            Ok(()) => self.store.release_notes(&self.held.notes()).await,
            Err(error) => Err(error),
        };
        if let Err(error) = given {
            tracing::warn!(%error, "what waits to go out stays until its lease is over");
        }
    }
}

/// What an append said, as the log has it.
async fn read_news(store: &Store, span: Span) -> Result<Option<News>, StoreError> {
    let mut room = Room::new(span.room);
    let mut records = Vec::new();
    while room.head() < span.last {
        let head = room.head();
        for stored in store.events_after(span.room, head, PAGE).await? {
            if stored.seq > span.last {
                break;
            }
            let record: Record = serde_json::from_str(&stored.canonical)
                .map_err(|_| StoreError::Unexpected("a stored record cannot be read".into()))?;
            room.apply(&record);
            if stored.seq >= span.first && record.event.goes_out() {
                records.push(Arc::new(record));
            }
        }
        if room.head() == head {
            break;
        }
    }
    let Some((patient, doctor)) = room.parties() else { return Ok(None) };
    if records.is_empty() {
        return Ok(None);
    }
    let only_chat = records.iter().all(|record| matches!(record.event, Event::ChatSent(_)));
    let after = (!only_chat).then(|| Box::new(room.snapshot(&View::Care)));
    Ok(Some(News { room: span.room, patient, doctor, records, after }))
}
