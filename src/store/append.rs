//! Compare-and-append of many rooms in one transaction.
//!
//! The number of an event is its place: whoever inserts (room, seq) first has won, so inserting *is* comparing. A batch
//! goes in with a few statements of many rows. If any row finds its place taken, the batch is taken back and done again
//! without what came too late; if that does not help, one append after the other, so that the loser alone learns of it.

use std::collections::HashMap;
use std::sync::LazyLock;

use rooms::record::GENESIS;
use uuid::Uuid;

use super::events::{Append, Appended, Sealed, hash_of, signed, unsigned};
use super::outgoing::Note;
use super::pieces::{Texts, pieces};
use super::project::SlotWish;
use super::{Store, StoreError, Tx, on};

/// How often a batch is done again that the database took back.
const TAKEN_BACK: usize = 3;
/// Parameters of a row of `events`.
const COLUMNS: usize = 8;

static INSERT: LazyLock<Texts> = LazyLock::new(|| {
    let insert = "insert into events (room, seq, body, hash, sender, command, command_hash, command_events) values ";
    Texts::new(COLUMNS, |rows| format!("{insert}{rows} on conflict do nothing"))
});

static PREDECESSORS: LazyLock<Texts> = LazyLock::new(|| {
    // A join, because SQLite reads the whole table for `(room, seq) in (values …)`.
    Texts::new(2, |rows| {
        format!(
            "with before (room, seq) as (values {rows}) select events.room, events.seq, events.hash \
            from before join events on events.room = before.room and events.seq = before.seq"
        )
    })
});

/// One row of `events`, and where it stands in its append.
struct Line<'a> {
    append: &'a Append,
    sealed: &'a Sealed,
    first: bool,
}

impl Store {
    /// Like [`append_noting`](Self::append_noting), for what nobody outside is to hear of.
    pub async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>, StoreError> {
        self.append_noting(batch, None).await
    }

    /// Appends a batch: of messages alone, what fits, by one statement; otherwise what fits, in one transaction. The answers
    /// are in the batch's order. On an error nothing is known: each append of the batch may or may not have been committed,
    /// as a whole. What of it goes out is written down under `note`.
    pub async fn append_noting(&self, batch: &[Append], note: Option<Note>) -> Result<Vec<Appended>, StoreError> {
        for _ in 0..TAKEN_BACK {
            match self.try_append(batch, note).await {
                Err(StoreError::TakenBack(why)) => tracing::debug!(why, "a batch was taken back; it is tried again"),
                outcome => return outcome,
            }
        }
        self.try_append(batch, note).await
    }

    async fn try_append(&self, batch: &[Append], note: Option<Note>) -> Result<Vec<Appended>, StoreError> {
        // Every node takes its rooms in the same order, so that two of them do not wait for each other.
        let mut sorted: Vec<(usize, &Append)> = batch.iter().enumerate().collect();
        sorted.sort_by_key(|(_, append)| (append.room, append.first()));
        let mut answers = vec![None; batch.len()];
        if self.append_most(&sorted, note, &mut answers).await? {
            return Ok(answers.into_iter().map(|answer| answer.unwrap_or(Appended::Committed)).collect());
        }
        // One by one, so that the loser alone learns of it.
        let mut tx = self.begin().await?;
        for (at, append) in sorted {
            if answers[at].is_none() {
                answers[at] = Some(tx.append_one(append).await?);
            }
        }
        let answers: Vec<Appended> = answers.into_iter().map(|answer| answer.unwrap_or_else(overtaken)).collect();
        if let Some(note) = note {
            let committed = batch.iter().zip(&answers).filter(|(_, it)| **it == Appended::Committed);
            tx.note(note, committed.map(|(append, _)| append)).await?;
        }
        tx.commit().await?;
        Ok(answers)
    }

    /// Appends all that does not come too late, and notes in `answers` what does; false if the rest is still to be appended.
    async fn append_most(
        &self,
        sorted: &[(usize, &Append)],
        note: Option<Note>,
        answers: &mut [Option<Appended>],
    ) -> Result<bool, StoreError> {
        let all: Vec<&Append> = sorted.iter().map(|(_, append)| *append).collect();
        let fitted = match note.filter(|_| self.is_plain(&all)) {
            Some(note) => self.append_plain(&all, note).await,
            None => self.append_all(&all, note).await.map(|fit| vec![fit; all.len()]),
        };
        let fitted = match fitted {
            Err(StoreError::Unexpected(_)) => vec![false; all.len()],
            other => other?,
        };
        let left: Vec<(usize, &Append)> =
            sorted.iter().zip(fitted).filter(|(_, fit)| !fit).map(|(append, _)| *append).collect();
        if left.is_empty() {
            return Ok(true);
        }
        for (at, answer) in self.late(&left).await? {
            answers[at] = Some(answer);
        }
        let rest: Vec<(usize, &Append)> = left.iter().filter(|(at, _)| answers[*at].is_none()).copied().collect();
        if left.len() < all.len() {
            // The others are committed: these stand behind nothing.
            rest.iter().for_each(|(at, _)| answers[*at] = Some(overtaken()));
            return Ok(true);
        }
        if rest.is_empty() || rest.len() == all.len() {
            return Ok(rest.is_empty());
        }
        let rest: Vec<&Append> = rest.iter().map(|(_, append)| *append).collect();
        match self.append_all(&rest, note).await {
            Err(StoreError::Unexpected(_)) => Ok(false),
            fit => fit,
        }
    }

    /// Appends all of it in one transaction, or nothing; false if any part of it found its place taken.
    async fn append_all(&self, batch: &[&Append], note: Option<Note>) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        if !tx.append_all(batch).await? {
            tx.rollback().await?;
            return Ok(false);
        }
        if let Some(note) = note {
            tx.note(note, batch.iter().copied()).await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}

impl Tx {
    /// Tries the whole batch; false if any part of it found its place taken.
    async fn append_all(&mut self, batch: &[&Append]) -> Result<bool, StoreError> {
        let lines: Vec<Line<'_>> = batch.iter().flat_map(|append| lines(append)).collect();
        for lines in pieces(&lines) {
            if self.insert(lines).await? < lines.len() {
                return Ok(false);
            }
        }
        if !self.all_follow(batch).await? {
            return Ok(false);
        }
        let mut wishes: Vec<(SlotWish, &Append)> = batch.iter().map(|append| (SlotWish::of(append), *append)).collect();
        wishes.sort_by_key(|(wish, _)| *wish);
        for (wish, append) in wishes {
            if !self.place(append.room, wish).await? {
                return Ok(false);
            }
        }
        self.project(batch).await?;
        Ok(true)
    }

    /// One append by itself, without harm to what the transaction holds already.
    async fn append_one(&mut self, append: &Append) -> Result<Appended, StoreError> {
        on!(self, db => sqlx::query("savepoint one").execute(db).await.map(drop))?;
        let appended = match self.write(append).await {
            // The savepoint makes the transaction usable again, also on PostgreSQL.
            Err(StoreError::Unexpected(why)) => {
                tracing::error!(room = %append.room, why, "the database refused the rows of an append");
                Appended::Rejected
            }
            other => other?,
        };
        if appended != Appended::Committed {
            on!(self, db => sqlx::query("rollback to savepoint one").execute(db).await.map(drop))?;
        }
        on!(self, db => sqlx::query("release savepoint one").execute(db).await.map(drop))?;
        Ok(appended)
    }

    async fn write(&mut self, append: &Append) -> Result<Appended, StoreError> {
        let lines: Vec<Line<'_>> = lines(append).collect();
        for lines in pieces(&lines) {
            if self.insert(lines).await? < lines.len() {
                return Ok(overtaken());
            }
        }
        if !self.all_follow(&[append]).await? {
            return Ok(overtaken());
        }
        if !self.place(append.room, SlotWish::of(append)).await? {
            return Ok(Appended::SlotTaken);
        }
        self.project(&[append]).await?;
        Ok(Appended::Committed)
    }

    /// Inserts rows and says how many found their place free.
    async fn insert(&mut self, lines: &[Line<'_>]) -> Result<usize, StoreError> {
        let sql = INSERT.get(self, lines.len());
        let inserted = on!(self, db => {
            let mut query = sqlx::query(sql);
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

    /// Whether each append stands behind the very event that it was chained to. A free place alone does not tell: a
    /// database that came back from an older copy has lost events that a hub still has in mind.
    async fn all_follow(&mut self, batch: &[&Append]) -> Result<bool, StoreError> {
        let mut before = Vec::with_capacity(batch.len());
        for append in batch {
            if append.first() > 1 {
                before.push(*append);
            } else if append.before != GENESIS {
                return Ok(false);
            }
        }
        for appends in pieces(&before) {
            let sql = PREDECESSORS.get(self, appends.len());
            let rows: Vec<(Uuid, i64, Vec<u8>)> = on!(self, db => {
                let mut query = sqlx::query_as(sql);
                for append in appends {
                    query = query.bind(append.room.0).bind(signed(append.first() - 1));
                }
                query.fetch_all(db).await
            })?;
            let mut known = HashMap::with_capacity(rows.len());
            for (room, seq, hash) in rows {
                known.insert((room, unsigned(seq)?), hash_of(hash)?);
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

/// Somebody was first; by whom, is to be read.
fn overtaken() -> Appended {
    Appended::Conflict { since: Vec::new() }
}

fn lines(append: &Append) -> impl Iterator<Item = Line<'_>> {
    append.records.iter().enumerate().map(move |(at, sealed)| Line { append, sealed, first: at == 0 })
}
