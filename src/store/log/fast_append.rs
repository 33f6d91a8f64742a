//! The ordinary commit: one message in each of some rooms, and their outbox entry, in one statement.
//!
//! Chat changes no table but the log. It needs neither slots nor projections, and every further statement would be a round
//! trip to the database, with SQLite two thread switches.
//!
//! Each of these appends is one row, so none can be torn. On PostgreSQL, rows that do not fit are left out: other nodes
//! write too, and a busy node that rolled back a large commit for one conflict would fall behind and conflict more often.
//! On SQLite, where nobody else writes, a row that does not fit fails the whole statement.

use std::collections::HashSet;
use std::sync::LazyLock;

use uuid::Uuid;

use super::append::Batch;
use crate::store::batching::{MAX_EXACT_ROWS, UNNAMED, values};
use crate::store::columns::signed;
use crate::store::outbox::{EventRange, OutboxEntry, encode_ranges};
use crate::store::record::{Append, Appended, HashedRecord};
use crate::store::{Store, StoreError, with_timeout};

/// Parameters of a message.
const MESSAGE_COLUMNS: usize = 8;
/// Parameters of the outbox entry after the messages.
const OUTBOX_COLUMNS: usize = 3;

/// Prepares a connection to SQLite: a statement writes a second table only by a trigger.
pub(in crate::store) const PREPARE_SQLITE: &str = "\
    create temp view plain (room, seq, body, hash, before, sender, command, command_hash, note, taken_until, spans) as \
        select null, null, null, null, null, null, null, null, null, null, null where false; \
    create temp trigger plain_commit instead of insert on plain begin \
        select raise(abort, 'it does not follow') where not exists (select 1 from events known \
            where known.room = new.room and known.seq = new.seq - 1 and known.hash = new.before); \
        insert into events (room, seq, body, hash, sender, command, command_hash, command_events) \
            values (new.room, new.seq, new.body, new.hash, new.sender, new.command, new.command_hash, 1); \
        insert into outgoing (id, taken_until, spans) values (new.note, new.taken_until, new.spans) on conflict do nothing; \
    end";

/// The statements for SQLite, for each number of messages from 1 on.
static SQLITE_APPEND: LazyLock<Vec<String>> = LazyLock::new(|| {
    let of = |lines| {
        let (lines, note) = (values(lines, MESSAGE_COLUMNS, UNNAMED), values(1, OUTBOX_COLUMNS, UNNAMED));
        format!("insert into plain select line.*, note.* from (values {lines}) line, (values {note}) note")
    };
    (1..=MAX_EXACT_ROWS).map(of).collect()
});

/// The statement for PostgreSQL, for any number of messages: a list for each column.
const POSTGRES_APPEND: &str = "\
    with line (room, seq, body, hash, before, sender, command, command_hash) as (select * from unnest( \
        $1::uuid[], $2::bigint[], $3::text[], $4::bytea[], $5::bytea[], $6::uuid[], $7::uuid[], $8::bytea[])), \
    fits as (insert into events (room, seq, body, hash, sender, command, command_hash, command_events) \
        select room, seq, body, hash, sender, command, command_hash, 1 from line where before = \
        (select known.hash from events known where known.room = line.room and known.seq = line.seq - 1) \
        on conflict do nothing returning room, seq), \
    noted as (insert into outgoing (id, taken_until, spans) select $9, $10, $11 where exists (select from fits)) \
    select room, seq from fits";

/// The message of an append that is one chat message of a person and leaves the hub.
fn message(append: &Append) -> Option<&HashedRecord> {
    match &*append.records {
        [message] if append.after.is_none() && append.sender.is_some() && append.command.is_some() => {
            EventRange::of(append).is_some().then_some(message)
        }
        _ => None,
    }
}

impl Store {
    /// Whether [`fast_append`](Self::fast_append) can append these.
    pub(super) fn is_chat_only(&self, appends: &[Append]) -> bool {
        let max_rows = match self {
            Store::Sqlite { .. } => MAX_EXACT_ROWS,
            Store::Postgres(_) => usize::MAX,
        };
        (1..=max_rows).contains(&appends.len()) && appends.iter().all(|append| message(append).is_some())
    }

    /// Appends a batch of chat by one statement and settles those that fit.
    pub(super) async fn fast_append(&self, batch: &mut Batch<'_>, entry: OutboxEntry) -> Result<(), StoreError> {
        let remaining = batch.remaining();
        let fitting = match self.fast_append_all(&remaining, entry).await {
            Err(StoreError::Unexpected(_)) => return Ok(()),
            fitting => fitting?,
        };
        for ((position, _), fits) in remaining.iter().zip(fitting) {
            if fits {
                batch.settle(*position, Appended::Committed);
            }
        }
        Ok(())
    }

    /// Returns for each append whether it did fit.
    async fn fast_append_all(&self, appends: &[(usize, &Append)], entry: OutboxEntry) -> Result<Vec<bool>, StoreError> {
        let rows: Vec<(&Append, &HashedRecord)> =
            appends.iter().filter_map(|(_, append)| Some((*append, message(append)?))).collect();
        let ranges = encode_ranges(appends.iter().map(|(_, append)| *append));
        match self {
            Store::Sqlite { write, .. } => {
                let statements: &'static [String] = &SQLITE_APPEND;
                let mut query = sqlx::query(statements[rows.len() - 1].as_str());
                for (append, message) in &rows {
                    query = query
                        .bind(append.room.0)
                        .bind(signed(message.seq))
                        .bind(&*message.canonical)
                        .bind(&message.hash[..])
                        .bind(&append.before[..])
                        .bind(append.sender.map(|sender| sender.0))
                        .bind(append.command.map(|command| command.0))
                        .bind(&append.command_hash[..]);
                }
                let query = query.bind(entry.id).bind(entry.leased_until.micros()).bind(ranges);
                with_timeout(query.execute(write)).await?;
                Ok(vec![true; rows.len()])
            }
            Store::Postgres(pool) => {
                let query = sqlx::query_as(POSTGRES_APPEND)
                    .bind(rows.iter().map(|(append, _)| append.room.0).collect::<Vec<_>>())
                    .bind(rows.iter().map(|(_, message)| signed(message.seq)).collect::<Vec<_>>())
                    .bind(rows.iter().map(|(_, message)| &*message.canonical).collect::<Vec<_>>())
                    .bind(rows.iter().map(|(_, message)| &message.hash[..]).collect::<Vec<_>>())
                    .bind(rows.iter().map(|(append, _)| &append.before[..]).collect::<Vec<_>>())
                    .bind(rows.iter().map(|(append, _)| append.sender.map(|sender| sender.0)).collect::<Vec<_>>())
                    .bind(rows.iter().map(|(append, _)| append.command.map(|command| command.0)).collect::<Vec<_>>())
                    .bind(rows.iter().map(|(append, _)| &append.command_hash[..]).collect::<Vec<_>>())
                    .bind(entry.id)
                    .bind(entry.leased_until.micros())
                    .bind(ranges);
                let fits: HashSet<(Uuid, i64)> = with_timeout(query.fetch_all(pool)).await?.into_iter().collect();
                Ok(rows.iter().map(|(append, message)| fits.contains(&(append.room.0, signed(message.seq)))).collect())
            }
        }
    }
}
