//! Reads the room's log from the store: to load the room, to refresh it, and to catch up with other nodes.

use std::sync::Arc;

use rooms::event::Event;
use rooms::record::Record;

use super::state::ReplayedLog;
use super::task::RoomTask;
use crate::hub::submission::SubmitError;
use crate::store::record::{HashedRecord, StoredRecord};
use crate::telemetry::COMMAND_TRACE;

/// Events read from the store at a time.
const PAGE_EVENTS: u32 = 512;

impl RoomTask {
    /// Reads the room from the store if it is not in memory, or may be behind.
    pub(super) async fn load(&mut self) -> Result<(), SubmitError> {
        match self.state.loaded() {
            None => self.read_log().await,
            Some(_) if self.state.is_stale() => self.refresh().await.map(drop),
            Some(_) => Ok(()),
        }
    }

    async fn read_log(&mut self) -> Result<(), SubmitError> {
        let mut log = ReplayedLog::new(self.id);
        loop {
            let (page, has_more) = self.page_after(log.head()).await?;
            page.iter().for_each(|record| log.apply(record));
            if !has_more {
                break;
            }
        }
        let marks = self.hub.store.marks(self.id).await?;
        self.state.install(log, marks);
        self.expect_parties();
        self.query_presence();
        Ok(())
    }

    /// Reads the events after `head`, and whether there may be more.
    async fn page_after(&self, head: u64) -> Result<(Vec<HashedRecord>, bool), SubmitError> {
        let page = self.hub.store.events_after(self.id, head, PAGE_EVENTS).await?;
        let has_more = page.len() == PAGE_EVENTS as usize;
        Ok((self.parse(page)?, has_more))
    }

    fn parse(&self, events: Vec<StoredRecord>) -> Result<Vec<HashedRecord>, SubmitError> {
        let records = events.into_iter().map(|stored| {
            let record: Record = serde_json::from_str(&stored.canonical).map_err(|error| {
                tracing::error!(room = %self.id, seq = stored.seq, kind = ?error.classify(), "stored record unreadable");
                SubmitError::Unavailable
            })?;
            let (canonical, record) = (stored.canonical.into(), Arc::new(record));
            Ok(HashedRecord { seq: stored.seq, canonical, hash: stored.hash, record })
        });
        records.collect()
    }

    /// Applies what another node, or a commit with an unknown outcome, has appended. Returns `false` if that is
    /// nothing.
    pub(super) async fn refresh(&mut self) -> Result<bool, SubmitError> {
        let Some(before) = self.state.loaded().map(|room| room.head()) else {
            return self.read_log().await.map(|()| true);
        };
        loop {
            let head = self.state.room()?.head();
            let (page, has_more) = self.page_after(head).await?;
            self.apply_remote(&page);
            if !has_more {
                self.state.set_stale(false);
                return Ok(self.state.room()?.head() > before);
            }
        }
    }

    /// Applies the events that another node appended first.
    pub(super) async fn append_lost_race(&mut self, since: Vec<StoredRecord>) -> Result<(), SubmitError> {
        if !since.first().is_some_and(|next| self.state.is_followed_by(next)) {
            return self.catch_up().await;
        }
        let records = self.parse(since)?;
        self.apply_remote(&records);
        Ok(())
    }

    /// Reads the events that made an append fail.
    pub(super) async fn catch_up(&mut self) -> Result<(), SubmitError> {
        if self.refresh().await? {
            return Ok(());
        }
        // The store has no event after the head, and yet the append failed: somebody has restored an older copy.
        tracing::error!(room = %self.id, head = self.state.room()?.head(), "room in memory differs from the store");
        self.read_log().await
    }

    /// Applies a committed event, sends it to the subscribers, and ends what the relay holds for those it excludes.
    pub(super) fn apply_committed(&mut self, record: &HashedRecord) {
        self.state.apply(record);
        match &record.record.event {
            Event::CallEnded(_) => self.hub.relays.end_call(self.id),
            Event::GuestDismissed(dismissed) => self.hub.relays.dismiss_guest(dismissed.guest),
            _ => {}
        }
        self.subscribers.publish(self.id, record.seq, &record.record.event, &record.canonical);
        if let Some(command) = record.record.command {
            tracing::debug!(target: COMMAND_TRACE, command = %command.0, room = %self.id, seq = record.seq, "fanned out");
        }
    }
}
