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

impl Store {
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
