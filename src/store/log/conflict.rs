//! Explains append conflicts: tells duplicates of a committed command from appends that lost the race for their place.

use std::collections::HashMap;

use super::append::Batch;
use super::read::{stored_command, stored_record};
use crate::store::columns::signed;
use crate::store::record::{Append, Appended};
use crate::store::{Store, StoreError, with_timeout};

/// For any number of appends: a list for each parameter. The lateral joins make the planner look up each of them by itself;
/// a plain join may read the whole log instead.
const POSTGRES_CONFLICTS: &str = "\
    with line (number, room, seq, sender, command) as (select * from unnest( \
        $1::bigint[], $2::uuid[], $3::bigint[], $4::uuid[], $5::uuid[])) \
    select line.number, done.* from line cross join lateral ( \
        select seq, command_hash, command_events, null::text from events \
        where room = line.room and sender = line.sender and command = line.command limit 1) done \
    union all select line.number, taken.* from line cross join lateral ( \
        select seq, hash, null::bigint, body from events \
        where room = line.room and seq >= line.seq order by seq limit 4) taken";

/// For one append: nobody else writes to SQLite, so conflicts are rare, and mostly repetitions.
const SQLITE_CONFLICT: &str = "\
    select $1, seq, command_hash, command_events, null from events where room = $2 and sender = $4 and command = $5 \
    union all select * from ( \
        select $1, seq, hash, null, body from events where room = $2 and seq >= $3 order by seq limit 4)";

/// The position of an append, then the seq and hash of an event; or those of a committed command, with the number of its
/// events.
type ConflictRow = (i64, i64, Vec<u8>, Option<i64>, Option<String>);

impl Store {
    /// Settles the remaining appends whose command took effect before, or whose place is taken.
    pub(super) async fn explain_conflicts(&self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        let remaining = batch.remaining();
        // On the primary: a replica may not have the winner yet.
        let rows: Vec<ConflictRow> = match self {
            Store::Postgres(pool) => {
                let query = sqlx::query_as(POSTGRES_CONFLICTS)
                    .bind(remaining.iter().map(|(number, _)| signed(*number as u64)).collect::<Vec<_>>())
                    .bind(remaining.iter().map(|(_, append)| append.room.0).collect::<Vec<_>>())
                    .bind(remaining.iter().map(|(_, append)| signed(append.first())).collect::<Vec<_>>())
                    .bind(remaining.iter().map(|(_, append)| append.sender.map(|sender| sender.0)).collect::<Vec<_>>())
                    .bind(
                        remaining.iter().map(|(_, append)| append.command.map(|command| command.0)).collect::<Vec<_>>(),
                    );
                with_timeout(query.fetch_all(pool)).await?
            }
            Store::Sqlite { write, .. } => {
                let mut rows = Vec::new();
                for (number, append) in &remaining {
                    let query = sqlx::query_as(SQLITE_CONFLICT)
                        .bind(signed(*number as u64))
                        .bind(append.room.0)
                        .bind(signed(append.first()))
                        .bind(append.sender.map(|sender| sender.0))
                        .bind(append.command.map(|command| command.0));
                    rows.extend(with_timeout(query.fetch_all(write)).await?);
                }
                rows
            }
        };
        let appends: HashMap<usize, &Append> = remaining.into_iter().collect();
        let mut conflicts: HashMap<usize, Appended> = HashMap::new();
        for (position, seq, hash, command_events, body) in rows {
            let Some((position, append)) = usize::try_from(position).ok().and_then(|it| appends.get_key_value(&it))
            else {
                continue;
            };
            if let Some(events) = command_events {
                let earlier = stored_command((seq, events, hash))?;
                let same_body = earlier.hash == append.command_hash;
                conflicts
                    .insert(*position, Appended::Duplicate { first: earlier.first, last: earlier.last, same_body });
            } else if let Some(body) = body
                && let Appended::Conflict { since } =
                    conflicts.entry(*position).or_insert_with(|| Appended::Conflict { since: Vec::new() })
            {
                since.push(stored_record((seq, body, hash))?);
            }
        }
        conflicts.into_iter().for_each(|(position, result)| batch.settle(position, result));
        Ok(())
    }
}
