//! Answers to unsafe requests, kept for their repetition
//! (draft-ietf-httpapi-idempotency-key-header-07).

use rooms::id::UserId;
use rooms::record::Hash;
use rooms::time::Timestamp;
use uuid::Uuid;

use super::{Store, StoreError, read, write_one};

/// An answer as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedAnswer {
    pub status: u16,
    /// The headers that belong to the answer, as JSON.
    pub headers: String,
    pub body: Vec<u8>,
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// It is new, or its request died, and now this request's. The id is the same for both.
    Fresh(Uuid),
    /// The first request still runs.
    Running,
    /// It was used for another content.
    Other,
    /// It was answered.
    Answered(SavedAnswer),
}

impl Store {
    /// Claims a key, with a `fresh` id for what its request makes, or says what became of it. A claim older than `stale` counts as dead and is taken over.
    #[expect(clippy::too_many_arguments, reason = "each is a column of the one row")]
    pub async fn begin_request(
        &self,
        user: UserId,
        route: &str,
        key: &str,
        body: &Hash,
        fresh: Uuid,
        now: Timestamp,
        stale: Timestamp,
    ) -> Result<Begin, StoreError> {
        let sql = "insert into idempotency (user_id, route, key, body_hash, created_at, fresh) \
            values ($1, $2, $3, $4, $5, $7) \
            on conflict (user_id, route, key) do update set created_at = excluded.created_at \
            where idempotency.status is null and idempotency.body_hash = excluded.body_hash \
            and idempotency.created_at < $6 returning fresh";
        let claimed: Option<(Uuid,)> = write_one!(self, db => sqlx::query_as(sql)
            .bind(user.0).bind(route).bind(key).bind(&body[..]).bind(now.micros()).bind(stale.micros()).bind(fresh)
            .fetch_optional(db).await)?;
        if let Some((fresh,)) = claimed {
            return Ok(Begin::Fresh(fresh));
        }
        let sql =
            "select body_hash, status, headers, body from idempotency where user_id = $1 and route = $2 and key = $3";
        type Row = (Vec<u8>, Option<i64>, Option<String>, Option<Vec<u8>>);
        let row: Option<Row> =
            read!(self, db => sqlx::query_as(sql).bind(user.0).bind(route).bind(key).fetch_optional(db).await)?;
        Ok(match row {
            Some((hash, ..)) if hash != body[..] => Begin::Other,
            Some((_, Some(status), headers, body)) => Begin::Answered(SavedAnswer {
                status: u16::try_from(status).unwrap_or(500),
                headers: headers.unwrap_or_default(),
                body: body.unwrap_or_default(),
            }),
            Some(_) | None => Begin::Running,
        })
    }

    /// Keeps the answer.
    pub async fn finish_request(
        &self,
        user: UserId,
        route: &str,
        key: &str,
        answer: &SavedAnswer,
    ) -> Result<(), StoreError> {
        let sql = "update idempotency set status = $4, headers = $5, body = $6 \
            where user_id = $1 and route = $2 and key = $3";
        write_one!(self, db => sqlx::query(sql)
            .bind(user.0).bind(route).bind(key).bind(i64::from(answer.status)).bind(&answer.headers).bind(&answer.body)
            .execute(db).await.map(drop))?;
        Ok(())
    }

    /// Forgets a key whose request had no lasting answer, so that it may be tried again.
    pub async fn abandon_request(&self, user: UserId, route: &str, key: &str) -> Result<(), StoreError> {
        let sql = "delete from idempotency where user_id = $1 and route = $2 and key = $3 and status is null";
        write_one!(self, db => sqlx::query(sql).bind(user.0).bind(route).bind(key).execute(db).await.map(drop))?;
        Ok(())
    }
}
