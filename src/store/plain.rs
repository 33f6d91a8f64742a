//! The ordinary commit: one message in each of some rooms, and a note of it. It changes no table but the log, so it needs
//! no look at slots and no projections, and is one statement: each further one is a way to the database and back, and with
//! SQLite two changes of thread.
//!
//! Each of these appends is one row, so none can be torn. What does not fit is left out (PostgreSQL), or all of it is
//! (SQLite, where nobody else writes and it hardly ever happens); the caller answers what is late, and appends the rest. On
//! PostgreSQL any number of messages goes this way: there other nodes write too, and a busy one that took back a large commit
//! because one message of it came too late would fall behind, and so come too late more often.

use std::collections::HashSet;
use std::sync::LazyLock;

use uuid::Uuid;

use super::events::{Append, Sealed, signed};
use super::outgoing::{Note, Span, spans};
use super::pieces::{FEW, UNNAMED, values};
use super::{Store, StoreError, soon};

/// Parameters of a line.
const COLUMNS: usize = 8;
/// Parameters of the note behind the lines.
const NOTE: usize = 3;

/// Prepares a connection to SQLite, which writes only one table in a statement, unless by a trigger.
pub(super) const PREPARE_SQLITE: &str = "\
    create temp view plain (room, seq, body, hash, before, sender, command, command_hash, note, taken_until, spans) as \
        select null, null, null, null, null, null, null, null, null, null, null where false; \
    create temp trigger plain_commit instead of insert on plain begin \
        select raise(abort, 'it does not follow') where not exists (select 1 from events known \
            where known.room = new.room and known.seq = new.seq - 1 and known.hash = new.before); \
        insert into events (room, seq, body, hash, sender, command, command_hash, command_events) \
            values (new.room, new.seq, new.body, new.hash, new.sender, new.command, new.command_hash, 1); \
        insert into outgoing (id, taken_until, spans) values (new.note, new.taken_until, new.spans) on conflict do nothing; \
    end";

/// The texts for SQLite, for each number of lines from 1 on.
static SQLITE: LazyLock<Vec<String>> = LazyLock::new(|| {
    let of = |lines| {
        let (lines, note) = (values(lines, COLUMNS, UNNAMED), values(1, NOTE, UNNAMED));
        format!("insert into plain select line.*, note.* from (values {lines}) line, (values {note}) note")
    };
    (1..=FEW).map(of).collect()
});

/// The text for PostgreSQL, whatever the number of lines: a list for each column.
const POSTGRES: &str = "\
    with line (room, seq, body, hash, before, sender, command, command_hash) as (select * from unnest( \
        $1::uuid[], $2::bigint[], $3::text[], $4::bytea[], $5::bytea[], $6::uuid[], $7::uuid[], $8::bytea[])), \
    fits as (insert into events (room, seq, body, hash, sender, command, command_hash, command_events) \
        select room, seq, body, hash, sender, command, command_hash, 1 from line where before = \
        (select known.hash from events known where known.room = line.room and known.seq = line.seq - 1) \
        on conflict do nothing returning room, seq), \
    noted as (insert into outgoing (id, taken_until, spans) select $9, $10, $11 where exists (select from fits)) \
    select room, seq from fits";

/// What such an append appends.
fn line(append: &Append) -> Option<&Sealed> {
    match &*append.records {
        [message] if append.after.is_none() && append.sender.is_some() && append.command.is_some() => {
            Span::of(append).is_some().then_some(message)
        }
        _ => None,
    }
}

impl Store {
    /// Whether this is such a commit.
    pub(super) fn is_plain(&self, batch: &[&Append]) -> bool {
        let most = match self {
            Store::Sqlite { .. } => FEW,
            Store::Postgres(_) => usize::MAX,
        };
        (1..=most).contains(&batch.len()) && batch.iter().all(|append| line(append).is_some())
    }

    /// Appends what [`is_plain`](Self::is_plain), and says of each whether it did fit. `batch` is in the order of its rooms.
    pub(super) async fn append_plain(&self, batch: &[&Append], note: Note) -> Result<Vec<bool>, StoreError> {
        let lines = batch.iter().filter_map(|append| Some((*append, line(append)?)));
        let spans = spans(batch.iter().copied());
        match self {
            Store::Sqlite { write, .. } => {
                let texts: &'static [String] = &SQLITE;
                let mut query = sqlx::query(texts[batch.len() - 1].as_str());
                for (append, message) in lines {
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
                let query = query.bind(note.id).bind(note.taken_until.micros()).bind(spans);
                soon(query.execute(write)).await?;
                Ok(vec![true; batch.len()])
            }
            Store::Postgres(pool) => {
                let lines: Vec<(&Append, &Sealed)> = lines.collect();
                let query = sqlx::query_as(POSTGRES)
                    .bind(lines.iter().map(|(append, _)| append.room.0).collect::<Vec<_>>())
                    .bind(lines.iter().map(|(_, message)| signed(message.seq)).collect::<Vec<_>>())
                    .bind(lines.iter().map(|(_, message)| &*message.canonical).collect::<Vec<_>>())
                    .bind(lines.iter().map(|(_, message)| &message.hash[..]).collect::<Vec<_>>())
                    .bind(lines.iter().map(|(append, _)| &append.before[..]).collect::<Vec<_>>())
                    .bind(lines.iter().map(|(append, _)| append.sender.map(|sender| sender.0)).collect::<Vec<_>>())
                    .bind(lines.iter().map(|(append, _)| append.command.map(|command| command.0)).collect::<Vec<_>>())
                    .bind(lines.iter().map(|(append, _)| &append.command_hash[..]).collect::<Vec<_>>())
                    .bind(note.id)
                    .bind(note.taken_until.micros())
                    .bind(spans);
                let fits: HashSet<(Uuid, i64)> = soon(query.fetch_all(pool)).await?.into_iter().collect();
                Ok(lines.iter().map(|(append, message)| fits.contains(&(append.room.0, signed(message.seq)))).collect())
            }
        }
    }
}
