//! Queries of the periodic jobs: checkpoints, the server's clock, due timers and retention.

use std::time::Duration;

use rooms::id::RoomId;
use rooms::time::Timestamp;
use uuid::Uuid;

use super::{Store, StoreError, read, with_timeout, write_one};

/// Retention of idempotency keys and their responses.
pub const IDEMPOTENCY_KEY_RETENTION: Duration = Duration::from_secs(86_400);
/// Retention of ended sign-ins, for the account's history.
const SESSION_RETENTION: Duration = Duration::from_secs(30 * 86_400);

/// The size of SQLite's write-ahead log from which on it is restarted, in pages: 16 MiB. A restart overwrites the file
/// from its beginning and does not shorten it.
const WAL_RESTART_PAGES: i64 = 4_000;

impl Store {
    /// Copies SQLite's write-ahead log into the database file. A reading connection copies beside the commits; SQLite by
    /// itself would copy at the end of one and delay it. If the log is long, the writing connection copies the remainder
    /// between two commits, so that the log restarts.
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        let Store::Sqlite { read, write } = self else { return Ok(()) };
        let sql = "pragma wal_checkpoint(passive)";
        let (_busy, pages, _copied): (i64, i64, i64) = with_timeout(sqlx::query_as(sql).fetch_one(read)).await?;
        if pages > WAL_RESTART_PAGES {
            with_timeout(sqlx::query(sql).execute(write)).await?;
        }
        Ok(())
    }

    /// Returns the time of the database server's clock; `None` on SQLite, which shares the hub's.
    pub async fn server_time(&self) -> Result<Option<Timestamp>, StoreError> {
        let Store::Postgres(pool) = self else { return Ok(None) };
        let sql = "select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)";
        let (micros,): (i64,) = with_timeout(sqlx::query_as(sql).fetch_one(pool)).await?;
        Ok(Some(Timestamp::from_micros(micros)))
    }

    /// Lists rooms whose timers are due, each with the time of its timer, the most overdue first.
    pub async fn due_rooms(&self, now: Timestamp, limit: usize) -> Result<Vec<(RoomId, Timestamp)>, StoreError> {
        let sql = "select id, wake_at from rooms where wake_at is not null and wake_at <= $1 order by wake_at limit $2";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows: Vec<(Uuid, i64)> =
            read!(self, db => sqlx::query_as(sql).bind(now.micros()).bind(limit).fetch_all(db).await)?;
        Ok(rows.into_iter().map(|(id, wake_at)| (RoomId(id), Timestamp::from_micros(wake_at))).collect())
    }

    /// Deletes idempotency keys and sign-ins after their retention.
    pub async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        let cutoff = |retention: Duration| now.micros() - i64::try_from(retention.as_micros()).unwrap_or(0);
        write_one!(self, db => sqlx::query("delete from idempotency where created_at < $1")
            .bind(cutoff(IDEMPOTENCY_KEY_RETENTION)).execute(db).await.map(drop))?;
        write_one!(self, db => sqlx::query("delete from sessions where expires_at < $1")
            .bind(cutoff(SESSION_RETENTION)).execute(db).await.map(drop))?;
        Ok(())
    }
}
