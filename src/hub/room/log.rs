//! A room's state, as the store's log has it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rooms::record::{GENESIS, Record, chain};
use rooms::room::Room;

use super::{Loaded, RoomTask};
use crate::hub::SubmitError;
use crate::store::events::{Sealed, Stored};
use crate::telemetry::COMMAND_TRACE;

/// Events read from the store at a time.
const PAGE: u32 = 512;

impl RoomTask {
    pub(super) fn room(&self) -> Result<&Room, SubmitError> {
        self.loaded.as_ref().map(|loaded| &loaded.room).ok_or(SubmitError::Unavailable)
    }

    /// Reads the room from the store, if it is not in memory.
    pub(super) async fn load(&mut self) -> Result<(), SubmitError> {
        match self.loaded {
            None => self.read_all().await,
            Some(_) if self.stale => self.refresh().await.map(drop),
            Some(_) => Ok(()),
        }
    }

    async fn read_all(&mut self) -> Result<(), SubmitError> {
        let mut loaded = Loaded { room: Room::new(self.id), hash: GENESIS };
        loop {
            let (page, more) = self.page_after(loaded.room.head()).await?;
            page.iter().for_each(|sealed| loaded.take(sealed));
            if !more {
                break;
            }
        }
        self.marks = self.hub.store.marks(self.id).await?;
        self.head.store(loaded.room.head(), Ordering::Relaxed);
        self.loaded = Some(loaded);
        self.stale = false;
        self.expect_parties();
        self.ask_presence();
        Ok(())
    }

    /// The store's events behind `head`, and whether there may be more.
    async fn page_after(&self, head: u64) -> Result<(Vec<Sealed>, bool), SubmitError> {
        let page = self.hub.store.events_after(self.id, head, PAGE).await?;
        let more = page.len() == PAGE as usize;
        Ok((self.opened(page)?, more))
    }

    fn opened(&self, events: Vec<Stored>) -> Result<Vec<Sealed>, SubmitError> {
        let opened = events.into_iter().map(|stored| {
            let record: Record = serde_json::from_str(&stored.canonical).map_err(|error| {
                tracing::error!(room = %self.id, seq = stored.seq, kind = ?error.classify(), "a stored record cannot be read");
                SubmitError::Unavailable
            })?;
            let (canonical, record) = (stored.canonical.into(), Arc::new(record));
            Ok(Sealed { seq: stored.seq, canonical, hash: stored.hash, record })
        });
        opened.collect()
    }

    /// Takes in what was appended by another node, or by a commit whose outcome was unknown; false if there is nothing.
    pub(super) async fn refresh(&mut self) -> Result<bool, SubmitError> {
        let Some(before) = self.loaded.as_ref().map(|loaded| loaded.room.head()) else {
            return self.read_all().await.map(|()| true);
        };
        loop {
            let head = self.room()?.head();
            let (page, more) = self.page_after(head).await?;
            self.moved_on(&page);
            if !more {
                self.stale = false;
                return Ok(self.room()?.head() > before);
            }
        }
    }

    /// Takes in what was appended behind the head before what should have been.
    pub(super) async fn overtaken(&mut self, since: Vec<Stored>) -> Result<(), SubmitError> {
        let follows = match (&self.loaded, since.first()) {
            (Some(loaded), Some(next)) => {
                next.seq == loaded.room.head() + 1 && next.hash == chain(&loaded.hash, &next.canonical)
            }
            _ => false,
        };
        if !follows {
            return self.catch_up().await;
        }
        let news = self.opened(since)?;
        self.moved_on(&news);
        Ok(())
    }

    /// Reads what made an append fail.
    pub(super) async fn catch_up(&mut self) -> Result<(), SubmitError> {
        if self.refresh().await? {
            return Ok(());
        }
        // Nobody was first, and yet there is no place behind the head: the store was put back to an older copy.
        tracing::error!(room = %self.id, head = self.room()?.head(), "the room in memory is not the stored one");
        self.read_all().await
    }

    /// Applies a committed event and tells everybody who listens.
    pub(super) fn take_in(&mut self, sealed: &Sealed) {
        if let Some(loaded) = &mut self.loaded {
            loaded.take(sealed);
            self.head.store(sealed.seq, Ordering::Relaxed);
        }
        self.members.publish(self.id, sealed.seq, &sealed.record.event, &sealed.canonical);
        if let Some(command) = sealed.record.command {
            tracing::debug!(target: COMMAND_TRACE, command = %command.0, room = %self.id, seq = sealed.seq, "fanned out");
        }
    }
}

impl Loaded {
    fn take(&mut self, sealed: &Sealed) {
        self.room.apply(&sealed.record);
        self.hash = sealed.hash;
    }
}
