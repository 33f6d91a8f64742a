//! The transactional outbox: the transaction that appends events also names, in one row of `outgoing`, the appends that
//! concern somebody outside. The entry stays until their deliveries are stored as [`dispatches`](super::dispatches).
//!
//! An entry is leased: the node that wrote it holds it for a while, then any node may lease it. So whatever a node does
//! with an entry may happen twice.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rooms::id::{RoomId, UserId};
use rooms::record::Record;
use rooms::room::snapshot::Snapshot;
use rooms::time::Timestamp;
use uuid::Uuid;

use super::batching::{BatchSql, chunks};
use super::columns::unsigned;
use super::record::Append;
use super::{Store, StoreError, Tx, on_tx, read, write_one};

/// Bytes of an encoded range.
const RANGE_BYTES: usize = 32;
/// Leases after which an entry that is still there is dead. With leases of half a minute, that takes under two hours.
pub const MAX_OUTBOX_ATTEMPTS: i64 = 20;

/// The identity and lease of an entry that an append writes.
#[derive(Clone, Copy, Debug)]
pub struct OutboxEntry {
    pub id: Uuid,
    /// End of the appending node's lease.
    pub leased_until: Timestamp,
}

/// The events of one append, as the outbox stores them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRange {
    pub room: RoomId,
    pub first: u64,
    pub last: u64,
}

/// A committed append that concerns somebody outside. The same whether it comes from the appender or, later, from the log.
#[derive(Clone, Debug)]
pub struct CommittedChange {
    pub room: RoomId,
    pub patient: UserId,
    pub doctor: UserId,
    /// Its records that leave the hub, in order.
    pub records: Vec<Arc<Record>>,
    /// The room after the append, as its care team sees it; absent after chat.
    pub after: Option<Box<Snapshot>>,
}

impl CommittedChange {
    /// Converts a committed append; `None` if it concerns nobody outside.
    pub fn of(append: Append) -> Option<Self> {
        let (patient, doctor) = append.parties?;
        let records = append.records.into_iter().map(|hashed| hashed.record);
        let records: Vec<_> = records.filter(|record| record.event.audience().outside).collect();
        (!records.is_empty()).then_some(Self { room: append.room, patient, doctor, records, after: append.after })
    }
}

impl EventRange {
    /// The range of an append; `None` if it concerns nobody outside.
    pub(super) fn of(append: &Append) -> Option<Self> {
        let out =
            append.parties.is_some() && append.records.iter().any(|hashed| hashed.record.event.audience().outside);
        let last = append.records.last()?.seq;
        out.then_some(Self { room: append.room, first: append.first(), last })
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.room.0.as_bytes());
        bytes.extend_from_slice(&self.first.to_be_bytes());
        bytes.extend_from_slice(&self.last.to_be_bytes());
    }

    fn read(bytes: &[u8; RANGE_BYTES]) -> Self {
        let number = |at: usize| bytes[at..at + 8].iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        let (room, _) = bytes.split_first_chunk().unwrap_or((&[0; 16], &[]));
        Self { room: RoomId(Uuid::from_bytes(*room)), first: number(16), last: number(24) }
    }
}

static DELETE: LazyLock<BatchSql> =
    LazyLock::new(|| BatchSql::new(1, |rows| format!("delete from outgoing where id in (values {rows})")));

/// Encodes the ranges of those appends that leave the hub.
pub(super) fn encode_ranges<'a>(appends: impl Iterator<Item = &'a Append>) -> Vec<u8> {
    let mut bytes = Vec::new();
    appends.filter_map(EventRange::of).for_each(|range| range.write(&mut bytes));
    bytes
}

impl Tx {
    /// Writes the entry for those appends that leave the hub, if any. An existing entry contains at least those.
    pub(super) async fn write_outbox(
        &mut self,
        entry: OutboxEntry,
        appends: impl Iterator<Item = &Append>,
    ) -> Result<(), StoreError> {
        let ranges = encode_ranges(appends);
        if ranges.is_empty() {
            return Ok(());
        }
        let sql = "insert into outgoing (id, taken_until, spans) values ($1, $2, $3) on conflict do nothing";
        on_tx!(self, db => sqlx::query(sql)
            .bind(entry.id).bind(entry.leased_until.micros()).bind(&ranges).execute(db).await.map(drop))
    }
}

impl Store {
    /// Leases up to `limit` entries whose lease has expired, the oldest first. The first lease of an entry here lasts
    /// `lease`; each further one is longer by that much, because processing the entry seems to fail. After
    /// [`MAX_OUTBOX_ATTEMPTS`] leases the entry is dead.
    pub async fn lease_outbox_entries(
        &self,
        now: Timestamp,
        lease: Duration,
        limit: u32,
    ) -> Result<Vec<(Uuid, Vec<EventRange>)>, StoreError> {
        // The condition is repeated: on PostgreSQL another node may have leased a row since it was found.
        let sql = "update outgoing set attempts = attempts + 1, taken_until = $1 + (attempts + 1) * $2 \
            where id in (select id from outgoing where taken_until <= $1 and attempts < $3 order by taken_until limit $4) \
            and taken_until <= $1 returning id, spans";
        let lease = i64::try_from(lease.as_micros()).unwrap_or(i64::MAX);
        let rows: Vec<(Uuid, Vec<u8>)> = write_one!(self, db => sqlx::query_as(sql)
            .bind(now.micros()).bind(lease).bind(MAX_OUTBOX_ATTEMPTS).bind(i64::from(limit)).fetch_all(db).await)?;
        let mut entries: Vec<_> = rows
            .into_iter()
            .map(|(id, bytes)| {
                (id, bytes.as_chunks::<RANGE_BYTES>().0.iter().map(EventRange::read).collect::<Vec<_>>())
            })
            .collect();
        entries.sort_by_key(|(id, _)| *id);
        Ok(entries)
    }

    /// Lists up to `limit` dead entries, the oldest first. An entry whose last lease still runs is not dead yet.
    pub async fn dead_outbox_entries(&self, now: Timestamp, limit: u32) -> Result<Vec<Uuid>, StoreError> {
        let sql = "select id from outgoing where attempts >= $1 and taken_until <= $2 order by id limit $3";
        let rows: Vec<(Uuid,)> = read!(self, db => sqlx::query_as(sql)
            .bind(MAX_OUTBOX_ATTEMPTS).bind(now.micros()).bind(i64::from(limit)).fetch_all(db).await)?;
        Ok(rows.into_iter().map(|(id,)| id).collect())
    }

    /// Schedules a dead entry again; returns `false` if there is none with this id.
    pub async fn retry_outbox_entry(&self, id: Uuid) -> Result<bool, StoreError> {
        let sql = "update outgoing set attempts = 0, taken_until = 0 where id = $1 and attempts >= $2";
        let changed = write_one!(self, db => sqlx::query(sql)
            .bind(id).bind(MAX_OUTBOX_ATTEMPTS).execute(db).await.map(|done| done.rows_affected()))?;
        Ok(changed == 1)
    }

    /// Reads the patient and the doctor of a room.
    pub async fn parties(&self, room: RoomId) -> Result<Option<(UserId, UserId)>, StoreError> {
        let sql = "select patient, doctor from rooms where id = $1";
        let row: Option<(Uuid, Uuid)> = read!(self, db => sqlx::query_as(sql).bind(room.0).fetch_optional(db).await)?;
        Ok(row.map(|(patient, doctor)| (UserId(patient), UserId(doctor))))
    }

    /// Deletes processed entries. Each chunk is a commit of its own, so that appends do not wait for all of them.
    pub async fn delete_outbox_entries(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        for ids in chunks(ids) {
            let sql = DELETE.get(self, ids.len());
            write_one!(self, db => {
                let mut query = sqlx::query(sql);
                for id in ids {
                    query = query.bind(*id);
                }
                query.execute(db).await.map(drop)
            })?;
        }
        Ok(())
    }

    /// Ends the lease of entries, so that any node may lease them at once.
    pub async fn release_outbox_entries(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for id in ids {
            on_tx!(&mut tx, db => sqlx::query("update outgoing set taken_until = 0 where id = $1")
                .bind(*id).execute(db).await.map(drop))?;
        }
        tx.commit().await
    }

    /// Counts the entries.
    pub async fn outbox_len(&self) -> Result<u64, StoreError> {
        let sql = "select count(*) from outgoing";
        let (count,): (i64,) = read!(self, db => sqlx::query_as(sql).fetch_one(db).await)?;
        unsigned(count)
    }
}
