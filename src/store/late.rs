//! What came too late for its place in the log, and what to answer it.

use std::collections::HashMap;

use super::events::{Append, Appended, found, signed, stored};
use super::{Store, StoreError, soon};

/// For any number of appends: a list for each parameter. Whatever the planner takes the tables for, each of them is looked
/// up by itself: a join may read the whole log instead.
const POSTGRES: &str = "\
    with line (number, room, seq, sender, command) as (select * from unnest( \
        $1::bigint[], $2::uuid[], $3::bigint[], $4::uuid[], $5::uuid[])) \
    select line.number, done.* from line cross join lateral ( \
        select seq, command_hash, command_events, null::text from events \
        where room = line.room and sender = line.sender and command = line.command limit 1) done \
    union all select line.number, taken.* from line cross join lateral ( \
        select seq, hash, null::bigint, body from events \
        where room = line.room and seq >= line.seq order by seq limit 4) taken";

/// For one append: nobody else writes to SQLite, so hardly any is late, and mostly because it is a repetition.
const SQLITE: &str = "\
    select $1, seq, command_hash, command_events, null from events where room = $2 and sender = $4 and command = $5 \
    union all select * from ( \
        select $1, seq, hash, null, body from events where room = $2 and seq >= $3 order by seq limit 4)";

/// The number of an append, then the number and the hash of an event; or of a command that took effect, with the number of
/// its events.
type Row = (i64, i64, Vec<u8>, Option<i64>, Option<String>);

impl Store {
    /// Which of these come too late, and what to answer them: their command took effect before, or their place is taken.
    pub(super) async fn late(&self, batch: &[(usize, &Append)]) -> Result<HashMap<usize, Appended>, StoreError> {
        // Where appends are written: a copy of the database may not know yet who was first.
        let rows: Vec<Row> = match self {
            Store::Postgres(pool) => {
                let query = sqlx::query_as(POSTGRES)
                    .bind(batch.iter().map(|(number, _)| signed(*number as u64)).collect::<Vec<_>>())
                    .bind(batch.iter().map(|(_, append)| append.room.0).collect::<Vec<_>>())
                    .bind(batch.iter().map(|(_, append)| signed(append.first())).collect::<Vec<_>>())
                    .bind(batch.iter().map(|(_, append)| append.sender.map(|sender| sender.0)).collect::<Vec<_>>())
                    .bind(batch.iter().map(|(_, append)| append.command.map(|command| command.0)).collect::<Vec<_>>());
                soon(query.fetch_all(pool)).await?
            }
            Store::Sqlite { write, .. } => {
                let mut rows = Vec::new();
                for (number, append) in batch {
                    let query = sqlx::query_as(SQLITE)
                        .bind(signed(*number as u64))
                        .bind(append.room.0)
                        .bind(signed(append.first()))
                        .bind(append.sender.map(|sender| sender.0))
                        .bind(append.command.map(|command| command.0));
                    rows.extend(soon(query.fetch_all(write)).await?);
                }
                rows
            }
        };
        let commands: HashMap<usize, &Append> = batch.iter().copied().collect();
        let mut late = HashMap::new();
        for (number, seq, hash, command_events, body) in rows {
            let Some((number, append)) = usize::try_from(number).ok().and_then(|it| commands.get_key_value(&it)) else {
                continue;
            };
            if let Some(events) = command_events {
                let earlier = found((seq, events, hash))?;
                let same_body = earlier.hash == append.command_hash;
                late.insert(*number, Appended::Duplicate { first: earlier.first, last: earlier.last, same_body });
            } else if let Some(body) = body
                && let Appended::Conflict { since } =
                    late.entry(*number).or_insert_with(|| Appended::Conflict { since: Vec::new() })
            {
                since.push(stored((seq, body, hash))?);
            }
        }
        Ok(late)
    }
}
