//! What was appended and may concern somebody outside: noted in the transaction that appends, until all that follows
//! from it is written down as [`dispatches`](super::dispatches).
//!
//! A note is a lease: the node that made it has it for a while, then any node may take it. Whatever is done with a note
//! may be done twice.

use std::sync::{Arc, LazyLock};

use rooms::id::{RoomId, UserId};
use rooms::record::Record;
use rooms::room::snapshot::Snapshot;
use rooms::time::Timestamp;
use uuid::Uuid;

use super::events::{Append, unsigned};
use super::pieces::{Texts, pieces};
use super::{Store, StoreError, Tx, on, read, write_one};

/// Bytes of a span.
const SPAN: usize = 32;

/// Under what an append's transaction is noted.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    pub id: Uuid,
    /// Until when it is with the node that appends.
    pub taken_until: Timestamp,
}

/// The events of one append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub room: RoomId,
    pub first: u64,
    pub last: u64,
}

/// What one append says to those outside. The same whether it comes from the appender or, later, from the log.
#[derive(Clone, Debug)]
pub struct News {
    pub room: RoomId,
    pub patient: UserId,
    pub doctor: UserId,
    /// Those of its records that go out, in order.
    pub records: Vec<Arc<Record>>,
    /// The room after the append, as its care team sees it; absent if there was nothing but chat.
    pub after: Option<Box<Snapshot>>,
}

impl News {
    /// What a committed append says; none if it is of no concern to anybody outside.
    pub fn of(append: Append) -> Option<Self> {
        let (patient, doctor) = append.parties?;
        let records = append.records.into_iter().map(|sealed| sealed.record);
        let records: Vec<_> = records.filter(|record| record.event.audience().outside).collect();
        (!records.is_empty()).then_some(Self { room: append.room, patient, doctor, records, after: append.after })
    }
}

impl Span {
    /// What of an append is noted; none if it is of no concern to anybody outside.
    pub(super) fn of(append: &Append) -> Option<Self> {
        let out =
            append.parties.is_some() && append.records.iter().any(|sealed| sealed.record.event.audience().outside);
        let last = append.records.last()?.seq;
        out.then_some(Self { room: append.room, first: append.first(), last })
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.room.0.as_bytes());
        bytes.extend_from_slice(&self.first.to_be_bytes());
        bytes.extend_from_slice(&self.last.to_be_bytes());
    }

    fn read(bytes: &[u8; SPAN]) -> Self {
        let number = |at: usize| bytes[at..at + 8].iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        let (room, _) = bytes.split_first_chunk().unwrap_or((&[0; 16], &[]));
        Self { room: RoomId(Uuid::from_bytes(*room)), first: number(16), last: number(24) }
    }
}

static DELETE: LazyLock<Texts> =
    LazyLock::new(|| Texts::new(1, |rows| format!("delete from outgoing where id in (values {rows})")));

/// What of these appends goes out, as a note keeps it.
pub(super) fn spans<'a>(appends: impl Iterator<Item = &'a Append>) -> Vec<u8> {
    let mut spans = Vec::new();
    appends.filter_map(Span::of).for_each(|span| span.write(&mut spans));
    spans
}

impl Tx {
    /// Notes what of these appends goes out, if anything does. A note that is there says at least that.
    pub(super) async fn note(&mut self, note: Note, appends: impl Iterator<Item = &Append>) -> Result<(), StoreError> {
        let spans = spans(appends);
        if spans.is_empty() {
            return Ok(());
        }
        let sql = "insert into outgoing (id, taken_until, spans) values ($1, $2, $3) on conflict do nothing";
        on!(self, db => sqlx::query(sql)
            .bind(note.id).bind(note.taken_until.micros()).bind(&spans).execute(db).await.map(drop))
    }
}

impl Store {
    /// Takes up to `limit` notes whose nodes have given no sign, the oldest first, until `until`.
    pub async fn take_notes(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Uuid, Vec<Span>)>, StoreError> {
        // The condition stands twice: on PostgreSQL another node may have taken a row since it was found.
        let sql = "update outgoing set taken_until = $1 \
            where id in (select id from outgoing where taken_until <= $2 order by taken_until limit $3) \
            and taken_until <= $2 returning id, spans";
        let rows: Vec<(Uuid, Vec<u8>)> = write_one!(self, db => sqlx::query_as(sql)
            .bind(until.micros()).bind(now.micros()).bind(i64::from(limit)).fetch_all(db).await)?;
        let mut notes: Vec<_> = rows
            .into_iter()
            .map(|(id, bytes)| (id, bytes.as_chunks::<SPAN>().0.iter().map(Span::read).collect::<Vec<_>>()))
            .collect();
        notes.sort_by_key(|(id, _)| *id);
        Ok(notes)
    }

    /// The patient and the doctor of a room.
    pub async fn parties(&self, room: RoomId) -> Result<Option<(UserId, UserId)>, StoreError> {
        let sql = "select patient, doctor from rooms where id = $1";
        let row: Option<(Uuid, Uuid)> = read!(self, db => sqlx::query_as(sql).bind(room.0).fetch_optional(db).await)?;
        Ok(row.map(|(patient, doctor)| (UserId(patient), UserId(doctor))))
    }

    /// Deletes notes that are worked through. In pieces, each its own commit, so that what is appended meanwhile does not
    /// wait for all of them.
    pub async fn finish_notes(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        for ids in pieces(ids) {
            let sql = DELETE.of(self, ids.len());
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

    /// Gives notes back, so that any node may take them at once.
    pub async fn release_notes(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for id in ids {
            on!(&mut tx, db => sqlx::query("update outgoing set taken_until = 0 where id = $1")
                .bind(*id).execute(db).await.map(drop))?;
        }
        tx.commit().await
    }

    /// How many notes there are.
    pub async fn notes(&self) -> Result<u64, StoreError> {
        let sql = "select count(*) from outgoing";
        let (count,): (i64,) = read!(self, db => sqlx::query_as(sql).fetch_one(db).await)?;
        unsigned(count)
    }
}
