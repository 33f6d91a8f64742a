//! What the jobs ask for.

use std::time::Duration;

use rooms::id::RoomId;
use rooms::time::Timestamp;
use uuid::Uuid;

use super::{Store, StoreError, read, soon, write_one};

/// How long an answer is kept for its repetition.
pub const KEYS_KEPT: Duration = Duration::from_secs(86_400);
/// How long an ended sign-in is kept, for the list of what happened to an account.
const SESSIONS_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// Pages of SQLite's write-ahead log from which on it is begun anew: 16 MiB. It is not shortened, only overwritten.
const LONG_LOG: i64 = 4_000;

impl Store {
    /// Copies what SQLite's write-ahead log holds into the file, beside the commits and not, as SQLite does it by itself, at
    /// the end of one. Only what came meanwhile is copied between two commits, when the log is long: then it begins anew.
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        let Store::Sqlite { read, write } = self else { return Ok(()) };
        let sql = "pragma wal_checkpoint(passive)";
        let (_busy, pages, _copied): (i64, i64, i64) = soon(sqlx::query_as(sql).fetch_one(read)).await?;
        if pages > LONG_LOG {
            soon(sqlx::query(sql).execute(write)).await?;
        }
        Ok(())
    }

    /// What time it is by the clock of the database's server; none for SQLite, which has the hub's own.
    pub async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        let Store::Postgres(pool) = self else { return Ok(None) };
        let sql = "select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)";
        let (micros,): (i64,) = soon(sqlx::query_as(sql).fetch_one(pool)).await?;
        Ok(Some(Timestamp::from_micros(micros)))
    }

    /// Rooms whose timers are due, the most overdue first.
    pub async fn due_rooms(&self, now: Timestamp, limit: u32) -> Result<Vec<RoomId>, StoreError> {
        let sql = "select id from rooms where wake_at is not null and wake_at <= $1 order by wake_at limit $2";
        let rows: Vec<(Uuid,)> =
            read!(self, db => sqlx::query_as(sql).bind(now.micros()).bind(i64::from(limit)).fetch_all(db).await)?;
        Ok(rows.into_iter().map(|(id,)| RoomId(id)).collect())
    }

    /// Deletes answers kept for long enough, and sign-ins that ended long ago.
    pub async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        let before = |kept: Duration| now.micros() - i64::try_from(kept.as_micros()).unwrap_or(0);
        write_one!(self, db => sqlx::query("delete from idempotency where created_at < $1")
            .bind(before(KEYS_KEPT)).execute(db).await.map(drop))?;
        write_one!(self, db => sqlx::query("delete from sessions where expires_at < $1")
            .bind(before(SESSIONS_KEPT)).execute(db).await.map(drop))?;
        Ok(())
    }
}
