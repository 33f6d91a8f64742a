//! Sign-ins. A refresh token contains its sign-in and a counter. A rotation succeeds only for the present counter, so
//! each counter has one successor.

use rooms::id::{SessionId, UserId};
use rooms::time::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::columns::timestamp;
use super::{Store, StoreError, read, write_one};

/// One sign-in of a person.
#[derive(Clone, Debug)]
pub struct Session {
    pub id: SessionId,
    pub user: UserId,
    /// The counter of the valid refresh token.
    pub counter: i64,
    /// The time of the last rotation.
    pub rotated_at: Timestamp,
    pub created_at: Timestamp,
    pub last_seen_at: Timestamp,
    /// The end of the sign-in, however often it is refreshed.
    pub expires_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
    /// The client's name for itself.
    pub label: String,
}

#[derive(FromRow)]
struct SessionRow {
    id: Uuid,
    user_id: Uuid,
    counter: i64,
    rotated_at: i64,
    created_at: i64,
    last_seen_at: i64,
    expires_at: i64,
    revoked_at: Option<i64>,
    label: String,
}

impl From<SessionRow> for Session {
    fn from(row: SessionRow) -> Self {
        Self {
            id: SessionId(row.id),
            user: UserId(row.user_id),
            counter: row.counter,
            rotated_at: timestamp(row.rotated_at),
            created_at: timestamp(row.created_at),
            last_seen_at: timestamp(row.last_seen_at),
            expires_at: timestamp(row.expires_at),
            revoked_at: row.revoked_at.map(timestamp),
            label: row.label,
        }
    }
}

impl Store {
    pub async fn insert_session(&self, session: &Session) -> Result<(), StoreError> {
        let sql = "insert into sessions (id, user_id, counter, rotated_at, created_at, last_seen_at, expires_at, label) \
            values ($1, $2, $3, $4, $5, $6, $7, $8)";
        write_one!(self, db => sqlx::query(sql)
            .bind(session.id.0).bind(session.user.0).bind(session.counter).bind(session.rotated_at.micros())
            .bind(session.created_at.micros()).bind(session.last_seen_at.micros()).bind(session.expires_at.micros())
            .bind(&session.label).execute(db).await.map(drop))?;
        Ok(())
    }

    pub async fn session(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        let sql = "select * from sessions where id = $1";
        let row: Option<SessionRow> = read!(self, db => sqlx::query_as(sql).bind(id.0).fetch_optional(db).await)?;
        Ok(row.map(Session::from))
    }

    /// Lists a person's valid sign-ins, newest first.
    pub async fn sessions_of(&self, user: UserId, now: Timestamp) -> Result<Vec<Session>, StoreError> {
        let sql =
            "select * from sessions where user_id = $1 and revoked_at is null and expires_at > $2 order by id desc";
        let rows: Vec<SessionRow> =
            read!(self, db => sqlx::query_as(sql).bind(user.0).bind(now.micros()).fetch_all(db).await)?;
        Ok(rows.into_iter().map(Session::from).collect())
    }

    /// Makes `from + 1` the valid refresh token; returns `false` if `from` is no longer the valid one.
    pub async fn rotate_session(&self, id: SessionId, from: i64, now: Timestamp) -> Result<bool, StoreError> {
        let sql = "update sessions set counter = counter + 1, rotated_at = $3, last_seen_at = $3 \
            where id = $1 and counter = $2 and revoked_at is null";
        let rotated = write_one!(self, db => sqlx::query(sql).bind(id.0).bind(from).bind(now.micros())
            .execute(db).await.map(|done| done.rows_affected()))?;
        Ok(rotated == 1)
    }

    /// Revokes one sign-in of a person; returns `false` if they have none with this id.
    pub async fn revoke_session(&self, user: UserId, id: SessionId, now: Timestamp) -> Result<bool, StoreError> {
        let sql = "update sessions set revoked_at = coalesce(revoked_at, $3) where id = $1 and user_id = $2";
        let revoked = write_one!(self, db => sqlx::query(sql).bind(id.0).bind(user.0).bind(now.micros())
            .execute(db).await.map(|done| done.rows_affected()))?;
        Ok(revoked == 1)
    }

    /// Revokes all sign-ins of a person and returns those that were valid.
    pub async fn revoke_sessions(&self, user: UserId, now: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        let sql = "update sessions set revoked_at = $2 where user_id = $1 and revoked_at is null returning id";
        let rows: Vec<(Uuid,)> =
            write_one!(self, db => sqlx::query_as(sql).bind(user.0).bind(now.micros()).fetch_all(db).await)?;
        Ok(rows.into_iter().map(|(id,)| SessionId(id)).collect())
    }

    /// Lists the sign-ins revoked since `since`: their access tokens may not have expired yet.
    pub async fn revoked_sessions(&self, since: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        let sql = "select id from sessions where revoked_at is not null and revoked_at >= $1";
        let rows: Vec<(Uuid,)> = read!(self, db => sqlx::query_as(sql).bind(since.micros()).fetch_all(db).await)?;
        Ok(rows.into_iter().map(|(id,)| SessionId(id)).collect())
    }
}
