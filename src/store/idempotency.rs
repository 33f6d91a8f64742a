//! Stored responses to unsafe requests, for repetitions with the same idempotency key
//! (draft-ietf-httpapi-idempotency-key-header-07).

use rooms::id::UserId;
use rooms::record::Hash;
use rooms::time::Timestamp;
use uuid::Uuid;

use super::{Store, StoreError, read, write_one};

/// A response as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    pub status: u16,
    /// The headers to be sent again, as JSON.
    pub headers: String,
    pub body: Vec<u8>,
}

/// The state of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// This request claimed the key: it is new, or its earlier request died. Both get the same id.
    Claimed(Uuid),
    /// The first request is still running.
    InProgress,
    /// The key was used for a request with another body.
    BodyMismatch,
    /// The first request is complete.
    Completed(StoredResponse),
}

impl Store {
    /// Claims a key, or returns its state. `fresh` is the id for what the request creates. A claim from before `stale`
    /// counts as abandoned and is taken over.
    #[expect(clippy::too_many_arguments, reason = "each is a column of the one row")]
    pub async fn claim_key(
        &self,
        user: UserId,
        route: &str,
        key: &str,
        body: &Hash,
        fresh: Uuid,
        now: Timestamp,
        stale: Timestamp,
    ) -> Result<KeyState, StoreError> {
        let sql = "insert into idempotency (user_id, route, key, body_hash, created_at, fresh) \
            values ($1, $2, $3, $4, $5, $7) \
            on conflict (user_id, route, key) do update set created_at = excluded.created_at \
            where idempotency.status is null and idempotency.body_hash = excluded.body_hash \
            and idempotency.created_at < $6 returning fresh";
        let claimed: Option<(Uuid,)> = write_one!(self, db => sqlx::query_as(sql)
            .bind(user.0).bind(route).bind(key).bind(&body[..]).bind(now.micros()).bind(stale.micros()).bind(fresh)
            .fetch_optional(db).await)?;
        if let Some((fresh,)) = claimed {
            return Ok(KeyState::Claimed(fresh));
        }
        let sql =
            "select body_hash, status, headers, body from idempotency where user_id = $1 and route = $2 and key = $3";
        type Row = (Vec<u8>, Option<i64>, Option<String>, Option<Vec<u8>>);
        let row: Option<Row> =
            read!(self, db => sqlx::query_as(sql).bind(user.0).bind(route).bind(key).fetch_optional(db).await)?;
        Ok(match row {
            Some((hash, ..)) if hash != body[..] => KeyState::BodyMismatch,
            Some((_, Some(status), headers, body)) => KeyState::Completed(StoredResponse {
                status: u16::try_from(status).unwrap_or(500),
                headers: headers.unwrap_or_default(),
                body: body.unwrap_or_default(),
            }),
            Some(_) | None => KeyState::InProgress,
        })
    }

    /// Stores the response.
    pub async fn store_response(
        &self,
        user: UserId,
        route: &str,
        key: &str,
        response: &StoredResponse,
    ) -> Result<(), StoreError> {
        let sql = "update idempotency set status = $4, headers = $5, body = $6 \
            where user_id = $1 and route = $2 and key = $3";
        write_one!(self, db => sqlx::query(sql)
            .bind(user.0).bind(route).bind(key)
            .bind(i64::from(response.status)).bind(&response.headers).bind(&response.body)
            .execute(db).await.map(drop))?;
        Ok(())
    }

    /// Releases a key whose request had no lasting effect, so that the caller may retry.
    pub async fn release_key(&self, user: UserId, route: &str, key: &str) -> Result<(), StoreError> {
        let sql = "delete from idempotency where user_id = $1 and route = $2 and key = $3 and status is null";
        write_one!(self, db => sqlx::query(sql).bind(user.0).bind(route).bind(key).execute(db).await.map(drop))?;
        Ok(())
    }
}
