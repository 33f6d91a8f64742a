//! A room's state, as the store's log has it.

use std::sync::Arc;

use rooms::record::{GENESIS, Record};
use rooms::room::Room;

use super::{Loaded, RoomTask};
use crate::hub::SubmitError;
use crate::store::events::Sealed;

/// Events read from the store at a time.
const PAGE: u32 = 512;

impl RoomTask {
    pub(super) fn room(&self) -> Result<&Room, SubmitError> {
        self.loaded.as_ref().map(|loaded| &loaded.room).ok_or(SubmitError::Unavailable)
    }

    /// Reads the room from the store, if it is not in memory.
    pub(super) async fn load(&mut self) -> Result<(), SubmitError> {
        if self.loaded.is_some() {
            return Ok(());
        }
        let mut loaded = Loaded { room: Room::new(self.id), hash: GENESIS };
        while self.read_on(&mut loaded, |_| {}).await? {}
        self.marks = self.hub.store.marks(self.id).await?;
        self.loaded = Some(loaded);
        self.expect_parties();
        Ok(())
    }

    /// Applies the next page of the store's log; false at its end.
    async fn read_on(&self, loaded: &mut Loaded, mut seen: impl FnMut(&Sealed)) -> Result<bool, SubmitError> {
        let page = self.hub.store.events_after(self.id, loaded.room.head(), PAGE).await?;
        let more = page.len() == PAGE as usize;
        for stored in page {
            let record: Record = serde_json::from_str(&stored.canonical).map_err(|error| {
                tracing::error!(room = %self.id, seq = stored.seq, kind = ?error.classify(), "a stored record cannot be read");
                SubmitError::Unavailable
            })?;
            let sealed = Sealed {
                seq: stored.seq,
                canonical: stored.canonical.into(),
                hash: stored.hash,
                record: Arc::new(record),
            };
            loaded.room.apply(&sealed.record);
            loaded.hash = sealed.hash;
            seen(&sealed);
        }
        Ok(more)
    }

    /// Takes in what another node appended.
    pub(super) async fn catch_up(&mut self) -> Result<(), SubmitError> {
        let Some(mut loaded) = self.loaded.take() else { return self.load().await };
        let mut news = Vec::new();
        while self.read_on(&mut loaded, |sealed| news.push(sealed.clone())).await? {}
        if news.is_empty() {
            // Nobody was first, and yet there is no place behind the head: the store was put back to an older copy.
            tracing::error!(room = %self.id, head = loaded.room.head(), "the room in memory is not the stored one");
            return self.load().await;
        }
        self.loaded = Some(loaded);
        for sealed in &news {
            self.members.publish(self.id, sealed.seq, &sealed.record.event, &sealed.canonical);
        }
        self.put_out_unfit();
        self.tidy_desk();
        Ok(())
    }

    /// Applies a committed event and tells everybody who listens.
    pub(super) fn take_in(&mut self, sealed: &Sealed) {
        if let Some(loaded) = &mut self.loaded {
            loaded.room.apply(&sealed.record);
            loaded.hash = sealed.hash;
        }
        self.members.publish(self.id, sealed.seq, &sealed.record.event, &sealed.canonical);
    }
}
