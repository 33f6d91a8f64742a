//! Compare-and-append of many rooms in one transaction.
//!
//! The number of an event is its place: whoever inserts (room, seq) first has won, so inserting *is* comparing. The ladder
//! of a batch, in [`Store::try_append`]:
//!
//! 1. Append all of it together, with a few statements of many rows.
//! 2. If a row found its place taken, explain the conflicts; they are settled.
//! 3. Append the remaining ones together.
//! 4. If that fails too, append one after the other, so that only the losers learn of it.

use std::collections::HashMap;
use std::sync::LazyLock;

use rooms::record::GENESIS;
use uuid::Uuid;

use crate::store::batching::{BatchSql, chunks};
use crate::store::columns::{hash, signed, unsigned};
use crate::store::outbox::OutboxEntry;
use crate::store::projection::SlotChange;
use crate::store::record::{Append, Appended, HashedRecord};
use crate::store::{Store, StoreError, Tx, on_tx};

/// How often a batch is repeated that the database rolled back because of another transaction.
const MAX_SERIALIZATION_RETRIES: usize = 3;
/// Parameters of a row of `events`.
const EVENT_COLUMNS: usize = 8;

static INSERT: LazyLock<BatchSql> = LazyLock::new(|| {
    let insert = "insert into events (room, seq, body, hash, sender, command, command_hash, command_events) values ";
    BatchSql::new(EVENT_COLUMNS, |rows| format!("{insert}{rows} on conflict do nothing"))
});

static PREDECESSORS: LazyLock<BatchSql> = LazyLock::new(|| {
    // A join, because SQLite reads the whole table for `(room, seq) in (values …)`.
    BatchSql::new(2, |rows| {
        format!(
            "with before (room, seq) as (values {rows}) select events.room, events.seq, events.hash \
            from before join events on events.room = before.room and events.seq = before.seq"
        )
    })
});

/// The appends of one batch and the results that are known so far.
pub(super) struct Batch<'a> {
    /// The appends with their positions in the caller's order, sorted by room. Every node locks its rooms in the same
    /// order, so that two nodes do not wait for each other.
    appends: Vec<(usize, &'a Append)>,
    results: Vec<Option<Appended>>,
}

impl<'a> Batch<'a> {
    fn new(appends: &'a [Append]) -> Self {
        let mut sorted: Vec<(usize, &Append)> = appends.iter().enumerate().collect();
        sorted.sort_by_key(|(_, append)| (append.room, append.first()));
        Self { appends: sorted, results: vec![None; appends.len()] }
    }

    /// The appends without a result, each with its position.
    pub(super) fn remaining(&self) -> Vec<(usize, &'a Append)> {
        self.appends.iter().filter(|(position, _)| self.results[*position].is_none()).copied().collect()
    }

    /// Records the result of the append at `position`.
    pub(super) fn settle(&mut self, position: usize, result: Appended) {
        self.results[position] = Some(result);
    }

    fn is_settled(&self) -> bool {
        self.results.iter().all(Option::is_some)
    }

    fn committed(&self) -> impl Iterator<Item = &'a Append> {
        let is_committed = |position: usize| self.results[position] == Some(Appended::Committed);
        self.appends.iter().filter(move |(position, _)| is_committed(*position)).map(|(_, append)| *append)
    }

    /// The results in the caller's order. An append that nothing explained lost its place.
    fn into_results(self) -> Vec<Appended> {
        self.results.into_iter().map(|result| result.unwrap_or_else(unexplained_conflict)).collect()
    }
}

/// One row of `events`.
struct EventRow<'a> {
    append: &'a Append,
    record: &'a HashedRecord,
    /// The first row of an append carries its command.
    is_first: bool,
}

impl Store {
    /// Like [`append_with_outbox`](Self::append_with_outbox), for events that concern nobody outside.
    pub async fn append(&self, appends: &[Append]) -> Result<Vec<Appended>, StoreError> {
        self.append_with_outbox(appends, None).await
    }

    /// Appends a batch and returns the results in its order. The same transaction writes the outbox `entry` for those that
    /// leave the hub. A batch of chat alone is one statement.
    ///
    /// After an error the outcome is unknown: each append may or may not have been committed, as a whole.
    pub async fn append_with_outbox(
        &self,
        appends: &[Append],
        entry: Option<OutboxEntry>,
    ) -> Result<Vec<Appended>, StoreError> {
        for _ in 0..MAX_SERIALIZATION_RETRIES {
            match self.try_append(appends, entry).await {
                Err(StoreError::Serialization(why)) => tracing::debug!(why, "append batch rolled back; retrying"),
                outcome => return outcome,
            }
        }
        self.try_append(appends, entry).await
    }

    async fn try_append(&self, appends: &[Append], entry: Option<OutboxEntry>) -> Result<Vec<Appended>, StoreError> {
        let mut batch = Batch::new(appends);
        match entry {
            Some(entry) if self.is_chat_only(appends) => self.fast_append(&mut batch, entry).await,
            _ => self.append_remaining(&mut batch, entry).await,
        }?;
        let some_committed = batch.remaining().len() < appends.len();
        if !batch.is_settled() {
            self.explain_conflicts(&mut batch).await?;
        }
        // If others were committed, the place of a remaining append was taken: no later attempt can succeed.
        if some_committed || batch.is_settled() {
            return Ok(batch.into_results());
        }
        if batch.remaining().len() < appends.len() {
            self.append_remaining(&mut batch, entry).await?;
        }
        if !batch.is_settled() {
            self.append_one_by_one(&mut batch, entry).await?;
        }
        Ok(batch.into_results())
    }

    /// Appends everything that remains in one transaction. If any of it finds its place taken, nothing is settled.
    async fn append_remaining(&self, batch: &mut Batch<'_>, entry: Option<OutboxEntry>) -> Result<(), StoreError> {
        let remaining = batch.remaining();
        let appends: Vec<&Append> = remaining.iter().map(|(_, append)| *append).collect();
        match self.append_all(&appends, entry).await {
            Ok(true) => remaining.iter().for_each(|(position, _)| batch.settle(*position, Appended::Committed)),
            Ok(false) | Err(StoreError::Unexpected(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Appends all of them in one transaction, or nothing; returns `false` if any of them found its place taken.
    async fn append_all(&self, appends: &[&Append], entry: Option<OutboxEntry>) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        if !tx.append_all(appends).await? {
            tx.rollback().await?;
            return Ok(false);
        }
        if let Some(entry) = entry {
            tx.write_outbox(entry, appends.iter().copied()).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Appends what remains one by one in one transaction, so that only the losers learn of a conflict.
    async fn append_one_by_one(&self, batch: &mut Batch<'_>, entry: Option<OutboxEntry>) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for (position, append) in batch.remaining() {
            batch.settle(position, tx.append_one(append).await?);
        }
        if let Some(entry) = entry {
            tx.write_outbox(entry, batch.committed()).await?;
        }
        tx.commit().await
    }
}

impl Tx {
    /// Appends all of them; returns `false` if any of them found its place taken, or exceeds a limit.
    async fn append_all(&mut self, appends: &[&Append]) -> Result<bool, StoreError> {
        let rows: Vec<EventRow<'_>> = appends.iter().flat_map(|append| event_rows(append)).collect();
        if !self.insert_all(&rows).await? || !self.all_follow(appends).await? {
            return Ok(false);
        }
        let mut changes: Vec<(SlotChange, &Append)> =
            appends.iter().map(|append| (SlotChange::of(append), *append)).collect();
        changes.sort_by_key(|(change, _)| *change);
        for (change, append) in changes {
            if !self.apply_slot_change(append.room, change).await? {
                return Ok(false);
            }
        }
        self.write_projections(appends).await?;
        // In one order, so that two transactions do not wait for each other's patients.
        let mut appends = appends.to_vec();
        appends.sort_by_key(|append| append.parties);
        for append in appends {
            if self.check_booking_limits(append).await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Appends one; if it fails, the transaction keeps what it holds already.
    async fn append_one(&mut self, append: &Append) -> Result<Appended, StoreError> {
        on_tx!(self, db => sqlx::query("savepoint one").execute(db).await.map(drop))?;
        let appended = match self.write(append).await {
            // After the rollback to the savepoint the transaction is usable again, also on PostgreSQL.
            Err(StoreError::Unexpected(why)) => {
                tracing::error!(room = %append.room, why, "append rejected by the database");
                Appended::Rejected
            }
            other => other?,
        };
        if appended != Appended::Committed {
            on_tx!(self, db => sqlx::query("rollback to savepoint one").execute(db).await.map(drop))?;
        }
        on_tx!(self, db => sqlx::query("release savepoint one").execute(db).await.map(drop))?;
        Ok(appended)
    }

    async fn write(&mut self, append: &Append) -> Result<Appended, StoreError> {
        let rows: Vec<EventRow<'_>> = event_rows(append).collect();
        if !self.insert_all(&rows).await? || !self.all_follow(&[append]).await? {
            return Ok(unexplained_conflict());
        }
        if !self.apply_slot_change(append.room, SlotChange::of(append)).await? {
            return Ok(Appended::SlotTaken);
        }
        self.write_projections(&[append]).await?;
        Ok(self.check_booking_limits(append).await?.map_or(Appended::Committed, Appended::LimitReached))
    }

    /// Inserts rows; returns `false` at the first one whose place is taken.
    async fn insert_all(&mut self, rows: &[EventRow<'_>]) -> Result<bool, StoreError> {
        for rows in chunks(rows) {
            if self.insert(rows).await? < rows.len() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Inserts rows and returns how many found their place free.
    async fn insert(&mut self, rows: &[EventRow<'_>]) -> Result<usize, StoreError> {
        let sql = INSERT.get(self, rows.len());
        let inserted = on_tx!(self, db => {
            let mut query = sqlx::query(sql);
            for EventRow { append, record, is_first } in rows {
                let command = append.command.filter(|_| *is_first);
                query = query
                    .bind(append.room.0)
                    .bind(signed(record.seq))
                    .bind(&*record.canonical)
                    .bind(&record.hash[..])
                    .bind(append.sender.filter(|_| *is_first).map(|sender| sender.0))
                    .bind(command.map(|command| command.0))
                    .bind(command.map(|_| &append.command_hash[..]))
                    .bind(command.map(|_| signed(append.records.len() as u64)));
            }
            query.execute(db).await.map(|done| done.rows_affected())
        })?;
        Ok(usize::try_from(inserted).unwrap_or(usize::MAX))
    }

    /// Checks that each append follows the very event that it chains to. A free place alone does not prove it: a database
    /// restored from an older copy has lost events that a hub still has in memory.
    async fn all_follow(&mut self, appends: &[&Append]) -> Result<bool, StoreError> {
        let mut before = Vec::with_capacity(appends.len());
        for append in appends {
            if append.first() > 1 {
                before.push(*append);
            } else if append.before != GENESIS {
                return Ok(false);
            }
        }
        for appends in chunks(&before) {
            let sql = PREDECESSORS.get(self, appends.len());
            let rows: Vec<(Uuid, i64, Vec<u8>)> = on_tx!(self, db => {
                let mut query = sqlx::query_as(sql);
                for append in appends {
                    query = query.bind(append.room.0).bind(signed(append.first() - 1));
                }
                query.fetch_all(db).await
            })?;
            let mut known = HashMap::with_capacity(rows.len());
            for (room, seq, bytes) in rows {
                known.insert((room, unsigned(seq)?), hash(bytes)?);
            }
            let fits = |append: &&Append| {
                known.get(&(append.room.0, append.first() - 1)).is_some_and(|hash| append.before == *hash)
            };
            if !appends.iter().all(fits) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Another append was first; its events must be read.
fn unexplained_conflict() -> Appended {
    Appended::Conflict { since: Vec::new() }
}

fn event_rows(append: &Append) -> impl Iterator<Item = EventRow<'_>> {
    append.records.iter().enumerate().map(move |(index, record)| EventRow { append, record, is_first: index == 0 })
}
