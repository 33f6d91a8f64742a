//! The ordinary commit: one message in each of a few rooms, and a note of it. It changes no table but the log, so it needs
//! no look at slots and no projections, and is one statement: each further one is a way to the database and back, and with
//! SQLite two changes of thread.
//!
//! Each of these appends is one row, so none can be torn. What does not fit is left out (PostgreSQL), or all of it is
//! (SQLite, where nobody else writes and it hardly ever happens); the caller looks at them one by one then.

use std::sync::LazyLock;

use super::events::{Append, signed};
use super::outgoing::{Note, Span, spans};
use super::pieces::{FEW, NUMBERED, Parameter, UNNAMED, values};
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

fn sqlite(lines: &str, note: &str) -> String {
    format!("insert into plain select line.*, note.* from (values {lines}) line, (values ({note})) note")
}

fn postgres(lines: &str, note: &str) -> String {
    format!(
        "with line (room, seq, body, hash, before, sender, command, command_hash) as (values {lines}), \
        fits as (insert into events (room, seq, body, hash, sender, command, command_hash, command_events) \
            select room, seq, body, hash, sender, command, command_hash, 1 from line where before = \
            (select known.hash from events known where known.room = line.room and known.seq = line.seq - 1) \
            on conflict do nothing returning 1), \
        noted as (insert into outgoing (id, taken_until, spans) select {note} where exists (select from fits)) \
        select count(*) from fits"
    )
}

/// The texts for each number of lines, from 1 on.
fn texts(text: fn(&str, &str) -> String, parameter: Parameter) -> Vec<String> {
    let of = |lines| {
        let note: Vec<String> = (1..=NOTE).map(|at| parameter(lines * COLUMNS + at)).collect();
        text(&values(lines, COLUMNS, parameter), &note.join(", "))
    };
    (1..=FEW).map(of).collect()
}

static SQLITE: LazyLock<Vec<String>> = LazyLock::new(|| texts(sqlite, UNNAMED));
static POSTGRES: LazyLock<Vec<String>> = LazyLock::new(|| texts(postgres, NUMBERED));

fn text(texts: &'static LazyLock<Vec<String>>, batch: &[&Append]) -> &'static str {
    &texts[batch.len() - 1]
}

/// Binds what both texts have in the same order.
macro_rules! bind {
    ($query:expr, $batch:expr, $note:expr) => {{
        let mut query = $query;
        for (append, sealed) in $batch.iter().flat_map(|append| append.records.iter().map(move |it| (append, it))) {
            query = query
                .bind(append.room.0)
                .bind(signed(sealed.seq))
                .bind(&*sealed.canonical)
                .bind(&sealed.hash[..])
                .bind(&append.before[..])
                .bind(append.sender.map(|sender| sender.0))
                .bind(append.command.map(|command| command.0))
                .bind(&append.command_hash[..]);
        }
        query.bind($note.id).bind($note.taken_until.micros()).bind(spans($batch.iter().copied()))
    }};
}

/// Whether this is such a commit.
pub(super) fn is_plain(batch: &[&Append]) -> bool {
    let plain = |append: &&Append| {
        let by_person = append.sender.is_some() && append.command.is_some();
        append.records.len() == 1 && append.after.is_none() && by_person && Span::of(append).is_some()
    };
    (1..=FEW).contains(&batch.len()) && batch.iter().all(plain)
}

impl Store {
    /// Appends what [`is_plain`]; false if some of it, or all, did not fit. `batch` is in the order of its rooms.
    pub(super) async fn append_plain(&self, batch: &[&Append], note: Note) -> Result<bool, StoreError> {
        match self {
            Store::Sqlite { write, .. } => {
                let query = bind!(sqlx::query(text(&SQLITE, batch)), batch, note);
                soon(query.execute(write)).await?;
                Ok(true)
            }
            Store::Postgres(pool) => {
                let query = bind!(sqlx::query_as(text(&POSTGRES, batch)), batch, note);
                let (fits,): (i64,) = soon(query.fetch_one(pool)).await?;
                Ok(usize::try_from(fits) == Ok(batch.len()))
            }
        }
    }
}
