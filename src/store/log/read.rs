//! Reads the log back.

use rooms::id::{CommandId, RoomId, UserId};
use uuid::Uuid;

use crate::store::columns::{hash, signed, unsigned};
use crate::store::record::{StoredCommand, StoredRecord};
use crate::store::{Store, StoreError, read};

impl Store {
    /// Reads up to `limit` events after `after`, in order.
    pub async fn events_after(&self, room: RoomId, after: u64, limit: u32) -> Result<Vec<StoredRecord>, StoreError> {
        let sql = "select seq, body, hash from events where room = $1 and seq > $2 order by seq limit $3";
        let rows: Vec<(i64, String, Vec<u8>)> = read!(self, db => {
            sqlx::query_as(sql).bind(room.0).bind(signed(after)).bind(i64::from(limit)).fetch_all(db).await
        })?;
        rows.into_iter().map(stored_record).collect()
    }

    /// Reads the last `limit` events before `before`, in order.
    pub async fn events_before(&self, room: RoomId, before: u64, limit: u32) -> Result<Vec<StoredRecord>, StoreError> {
        let sql = "select seq, body, hash from events where room = $1 and seq < $2 order by seq desc limit $3";
        let rows: Vec<(i64, String, Vec<u8>)> = read!(self, db => {
            sqlx::query_as(sql).bind(room.0).bind(signed(before)).bind(i64::from(limit)).fetch_all(db).await
        })?;
        rows.into_iter().rev().map(stored_record).collect()
    }

    /// Finds the command that `sender` sent to `room` under this id, if it took effect.
    pub async fn find_command(
        &self,
        room: RoomId,
        sender: UserId,
        command: CommandId,
    ) -> Result<Option<StoredCommand>, StoreError> {
        let sql =
            "select seq, command_events, command_hash from events where room = $1 and sender = $2 and command = $3";
        let row: Option<(i64, i64, Vec<u8>)> = read!(self, db => {
            sqlx::query_as(sql).bind(room.0).bind(sender.0).bind(command.0).fetch_optional(db).await
        })?;
        row.map(stored_command).transpose()
    }

    /// Returns the first room after `after`, by id, that has events.
    ///
    /// One room per call, because that is one step in the index: a list of all rooms would read every event.
    pub async fn room_after(&self, after: Option<RoomId>) -> Result<Option<RoomId>, StoreError> {
        let sql = "select room from events where room > $1 order by room limit 1";
        let after = after.map_or(Uuid::nil(), |room| room.0);
        let row: Option<(Uuid,)> = read!(self, db => sqlx::query_as(sql).bind(after).fetch_optional(db).await)?;
        Ok(row.map(|(room,)| RoomId(room)))
    }
}

/// Reads a row of (seq, body, hash).
pub(super) fn stored_record((seq, canonical, bytes): (i64, String, Vec<u8>)) -> Result<StoredRecord, StoreError> {
    Ok(StoredRecord { seq: unsigned(seq)?, canonical, hash: hash(bytes)? })
}

/// Reads a row of (seq, command_events, command_hash).
pub(super) fn stored_command((first, events, bytes): (i64, i64, Vec<u8>)) -> Result<StoredCommand, StoreError> {
    let first = unsigned(first)?;
    Ok(StoredCommand { first, last: first + unsigned(events)?.saturating_sub(1), hash: hash(bytes)? })
}
