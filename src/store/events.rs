//! The log: compare-and-append of many rooms in one transaction, and reading it back.
//!
//! The number of an event is its place: whoever inserts (room, seq) first has won, so inserting *is* comparing. A batch
//! goes in with a few statements of many rows. If any row finds its place taken, the batch is taken back and done again
//! one append after the other, so that the loser alone learns of it.

use std::collections::HashSet;
use std::sync::Arc;

use rooms::event::Event;
use rooms::id::{CommandId, RoomId, UserId};
use rooms::record::{Hash, Record};
use rooms::time::Timestamp;
use rooms::wire::snapshot::Snapshot;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{Store, StoreError, Tx, on, read};

/// Rows in one insert. Batches are cut into powers of two, so that few statement texts exist and all stay prepared.
const MAX_ROWS: usize = 128;

/// An event that is ready to be stored.
#[derive(Clone, Debug)]
pub struct Sealed {
    pub seq: u64,
    pub canonical: Arc<str>,
    pub hash: Hash,
    pub record: Arc<Record>,
}

/// The events of one command, to be appended behind `records[0].seq - 1` or not at all.
#[derive(Clone, Debug)]
pub struct Append {
    pub room: RoomId,
    /// At least one, numbered without gaps.
    pub records: Vec<Sealed>,
    /// The person who sent the command and its id; absent for the hub's own commands, which are not repeated.
    pub sender: Option<UserId>,
    pub command: Option<CommandId>,
    pub command_hash: Hash,
    /// The room after the events, if they changed more than the chat: the projections are written from it.
    pub after: Option<Box<Snapshot>>,
    /// When the room's timer is due then.
    pub wake_at: Option<Timestamp>,
}

impl Append {
    /// How much it adds to the log, in bytes.
    pub fn bytes(&self) -> usize {
        self.records.iter().map(|sealed| sealed.canonical.len()).sum()
    }
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    Committed,
    /// Another append was there first: load what is missing and decide again.
    Conflict,
    /// The command took effect before.
    Duplicate {
        first: u64,
        last: u64,
        same_body: bool,
    },
    /// The slot that the events take belongs to another room.
    SlotTaken,
}

/// An event as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub seq: u64,
    pub canonical: String,
    pub hash: Hash,
}

/// A command that took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub first: u64,
    pub last: u64,
    pub hash: Hash,
}

impl Store {
    /// Appends a batch in one transaction. The answers are in the batch's order. On an error nothing is known: the
    /// batch may or may not have been committed.
    pub async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>, StoreError> {
        let mut tx = self.begin().await?;
        if tx.append_all(batch).await? {
            tx.commit().await?;
            return Ok(vec![Appended::Committed; batch.len()]);
        }
        tx.rollback().await?;
        let mut tx = self.begin().await?;
        let mut answers = Vec::with_capacity(batch.len());
        for append in batch {
            answers.push(tx.append_one(append).await?);
        }
        tx.commit().await?;
        Ok(answers)
    }

    /// Up to `limit` events behind `after`, in order.
    pub async fn events_after(&self, room: RoomId, after: u64, limit: u32) -> Result<Vec<Stored>, StoreError> {
        let sql = "select seq, body, hash from events where room = $1 and seq > $2 order by seq limit $3";
        let rows: Vec<(i64, String, Vec<u8>)> = read!(self, db => {
            sqlx::query_as(sql).bind(room.0).bind(signed(after)).bind(i64::from(limit)).fetch_all(db).await
        })?;
        rows.into_iter().map(stored).collect()
    }

    /// Up to `limit` events before `before`, in order: the last ones of them.
    pub async fn events_before(&self, room: RoomId, before: u64, limit: u32) -> Result<Vec<Stored>, StoreError> {
        let sql = "select seq, body, hash from events where room = $1 and seq < $2 order by seq desc limit $3";
        let rows: Vec<(i64, String, Vec<u8>)> = read!(self, db => {
            sqlx::query_as(sql).bind(room.0).bind(signed(before)).bind(i64::from(limit)).fetch_all(db).await
        })?;
        rows.into_iter().rev().map(stored).collect()
    }

    /// The command that `sender` sent to `room` under this id, if it took effect.
    pub async fn find_command(
        &self,
        room: RoomId,
        sender: UserId,
        command: CommandId,
    ) -> Result<Option<Found>, StoreError> {
        let row: Option<(i64, i64, Vec<u8>)> = read!(self, db => {
            sqlx::query_as(FIND_COMMAND).bind(room.0).bind(sender.0).bind(command.0).fetch_optional(db).await
        })?;
        row.map(found).transpose()
    }

    /// The rooms that have events, in order of their ids, behind `after`.
    pub async fn rooms_after(&self, after: Option<RoomId>, limit: u32) -> Result<Vec<RoomId>, StoreError> {
        let sql = "select id from rooms where id > $1 order by id limit $2";
        let after = after.map_or(Uuid::nil(), |room| room.0);
        let rows: Vec<(Uuid,)> =
            read!(self, db => sqlx::query_as(sql).bind(after).bind(i64::from(limit)).fetch_all(db).await)?;
        Ok(rows.into_iter().map(|(id,)| RoomId(id)).collect())
    }
}

const FIND_COMMAND: &str = "select seq, command_events, command_hash from events \
    where room = $1 and sender = $2 and command = $3";

/// One row of `events`, and where it stands in the batch.
struct Line<'a> {
    append: &'a Append,
    sealed: &'a Sealed,
    first: bool,
}

impl Tx {
    /// Tries the whole batch; false if any part of it found its place taken.
    async fn append_all(&mut self, batch: &[Append]) -> Result<bool, StoreError> {
        let lines: Vec<Line<'_>> = batch
            .iter()
            .flat_map(|append| {
                append.records.iter().enumerate().map(move |(at, sealed)| Line { append, sealed, first: at == 0 })
            })
            .collect();
        // Two appends of one command in one batch would trip over each other with an error instead of a count.
        let mut places = HashSet::with_capacity(lines.len());
        if !lines.iter().all(|line| places.insert((line.append.room, line.sealed.seq))) {
            return Ok(false);
        }
        let mut rest = &lines[..];
        while !rest.is_empty() {
            let rows = (rest.len().min(MAX_ROWS) + 1).next_power_of_two() / 2;
            let (now, later) = rest.split_at(rows);
            if self.insert(now).await? < rows {
                return Ok(false);
            }
            rest = later;
        }
        for append in batch {
            if !self.project(append).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// One append by itself, without harm to what the transaction holds already.
    async fn append_one(&mut self, append: &Append) -> Result<Appended, StoreError> {
        if let (Some(sender), Some(command)) = (append.sender, append.command) {
            let row: Option<(i64, i64, Vec<u8>)> = on!(self, db => {
                sqlx::query_as(FIND_COMMAND).bind(append.room.0).bind(sender.0).bind(command.0).fetch_optional(db).await
            })?;
            if let Some(found) = row.map(found).transpose()? {
                let same_body = found.hash == append.command_hash;
                return Ok(Appended::Duplicate { first: found.first, last: found.last, same_body });
            }
        }
        on!(self, db => sqlx::query("savepoint one").execute(db).await.map(drop))?;
        for (at, sealed) in append.records.iter().enumerate() {
            if self.insert(&[Line { append, sealed, first: at == 0 }]).await? == 0 {
                on!(self, db => sqlx::query("rollback to savepoint one").execute(db).await.map(drop))?;
                return Ok(Appended::Conflict);
            }
        }
        if !self.project(append).await? {
            on!(self, db => sqlx::query("rollback to savepoint one").execute(db).await.map(drop))?;
            return Ok(Appended::SlotTaken);
        }
        on!(self, db => sqlx::query("release savepoint one").execute(db).await.map(drop))?;
        Ok(Appended::Committed)
    }

    /// Inserts rows and says how many found their place free.
    async fn insert(&mut self, lines: &[Line<'_>]) -> Result<usize, StoreError> {
        let sql = insert_text(lines.len());
        let inserted = on!(self, db => {
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for line in lines {
                let (append, sealed) = (line.append, line.sealed);
                let command = append.command.filter(|_| line.first);
                query = query
                    .bind(append.room.0)
                    .bind(signed(sealed.seq))
                    .bind(&*sealed.canonical)
                    .bind(&sealed.hash[..])
                    .bind(append.sender.filter(|_| line.first).map(|sender| sender.0))
                    .bind(command.map(|command| command.0))
                    .bind(command.map(|_| &append.command_hash[..]))
                    .bind(command.map(|_| signed(append.records.len() as u64)));
            }
            query.execute(db).await.map(|done| done.rows_affected())
        })?;
        Ok(usize::try_from(inserted).unwrap_or(usize::MAX))
    }
}

fn insert_text(rows: usize) -> String {
    let mut sql = String::from(
        "insert into events (room, seq, body, hash, sender, command, command_hash, command_events) values ",
    );
    for row in 0..rows {
        let at = row * 8;
        let numbers: Vec<String> = (at + 1..=at + 8).map(|number| format!("${number}")).collect();
        sql.push_str(if row == 0 { "(" } else { ", (" });
        sql.push_str(&numbers.join(", "));
        sql.push(')');
    }
    sql.push_str(" on conflict do nothing");
    sql
}

/// Whether the events move the consultation, and so perhaps its slot.
pub(super) fn moves_slot(append: &Append) -> bool {
    append
        .records
        .iter()
        .any(|sealed| matches!(sealed.record.event, Event::Requested(_) | Event::Rescheduled(_) | Event::Moved(_)))
}

fn stored((seq, canonical, hash): (i64, String, Vec<u8>)) -> Result<Stored, StoreError> {
    Ok(Stored { seq: unsigned(seq)?, canonical, hash: hash_of(hash)? })
}

fn found((first, events, hash): (i64, i64, Vec<u8>)) -> Result<Found, StoreError> {
    let first = unsigned(first)?;
    Ok(Found { first, last: first + unsigned(events)?.saturating_sub(1), hash: hash_of(hash)? })
}

fn hash_of(bytes: Vec<u8>) -> Result<Hash, StoreError> {
    bytes.try_into().map_err(|_| StoreError::Unexpected("a hash that is not 32 bytes long".into()))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Unexpected("a negative number".into()))
}
