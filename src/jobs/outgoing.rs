//! Works through what commits say to those outside: the deliveries that follow are written down, then the note goes.
//!
//! What this node committed is handed over in memory. What a dead node left behind is found by its lease, and read from
//! the log. Either may be worked through twice: the same delivery is written down once.

use std::sync::Arc;
use std::time::Duration;

use rooms::event::Event;
use rooms::permission::View;
use rooms::record::Record;
use rooms::room::Room;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::dispatch::Dispatcher;
use crate::clock::Clock;
use crate::gateway::Gateway;
use crate::hub::appender::{Handed, LEASE};
use crate::store::outgoing::{News, Span};
use crate::store::{Store, StoreError};

/// How often notes whose leases are over are looked for.
const POLL: Duration = Duration::from_secs(2);
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
    let mut job = Outgoing { store, clock, gateway, dispatcher, finished: Vec::new() };
    tokio::spawn(async move {
        let (mut poll, mut tidy) = (every(POLL), every(TIDY));
        loop {
            let done = tokio::select! {
                () = stop.cancelled() => return,
                Some(Handed { note, news }) = handed.recv() => job.work(note, &news).await,
                _ = poll.tick() => job.take_over().await,
                _ = tidy.tick() => job.tidy().await,
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
    async fn work(&mut self, note: Uuid, news: &[News]) -> Result<(), StoreError> {
        let mut wishes = Vec::new();
        for news in news {
            wishes.extend(self.gateway.wishes(news).await?);
        }
        if self.store.enqueue(&wishes, self.clock.now(), || self.clock.fresh_id()).await? > 0 {
            self.dispatcher.wake();
        }
        self.finished.push(note);
        Ok(())
    }

    /// Works through what nodes that gave no sign have left behind.
    async fn take_over(&mut self) -> Result<(), StoreError> {
        let now = self.clock.now();
        for (note, spans) in self.store.take_notes(now, now.plus(LEASE), AT_ONCE).await? {
            let mut news = Vec::with_capacity(spans.len());
            for span in spans {
                news.extend(read_news(&self.store, span).await?);
            }
            self.work(note, &news).await?;
        }
        Ok(())
    }

    async fn tidy(&mut self) -> Result<(), StoreError> {
        self.store.finish_notes(&self.finished).await?;
        self.finished.clear();
        Ok(())
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
