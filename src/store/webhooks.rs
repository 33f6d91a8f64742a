//! Integrators' webhook endpoints.

use rooms::time::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::columns::timestamp;
use super::{Store, StoreError, read, write_one};

/// An endpoint. It has no `Debug`, so that no log prints its secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    pub id: Uuid,
    pub url: String,
    /// The kinds of events to send; empty for all.
    pub kinds: Vec<String>,
    pub secret: Vec<u8>,
    /// The previous secret, and the time until which it signs as well.
    pub former: Option<(Vec<u8>, Timestamp)>,
    /// The reason for which it is disabled.
    pub disabled: Option<String>,
    pub created_at: Timestamp,
}

#[derive(FromRow)]
struct WebhookRow {
    id: Uuid,
    url: String,
    kinds: String,
    secret: Vec<u8>,
    former_secret: Option<Vec<u8>>,
    former_until: Option<i64>,
    disabled: Option<String>,
    created_at: i64,
}

impl From<WebhookRow> for Webhook {
    fn from(row: WebhookRow) -> Self {
        Self {
            id: row.id,
            url: row.url,
            kinds: row.kinds.split(',').filter(|kind| !kind.is_empty()).map(str::to_owned).collect(),
            secret: row.secret,
            former: row.former_secret.zip(row.former_until.map(timestamp)),
            disabled: row.disabled,
            created_at: timestamp(row.created_at),
        }
    }
}

impl Webhook {
    /// Whether to send events of this kind to it.
    pub fn wants(&self, kind: &str) -> bool {
        self.disabled.is_none() && (self.kinds.is_empty() || self.kinds.iter().any(|wanted| wanted == kind))
    }
}

impl Store {
    /// Adds or replaces an endpoint.
    pub async fn save_webhook(&self, it: &Webhook) -> Result<(), StoreError> {
        let sql = "insert into webhooks \
            (id, url, kinds, secret, former_secret, former_until, disabled, created_at) \
            values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (id) do update set url = excluded.url, \
            kinds = excluded.kinds, secret = excluded.secret, former_secret = excluded.former_secret, \
            former_until = excluded.former_until, disabled = excluded.disabled";
        let (former, until) = it.former.as_ref().map(|(secret, until)| (secret, until.micros())).unzip();
        write_one!(self, db => sqlx::query(sql)
            .bind(it.id).bind(&it.url).bind(it.kinds.join(",")).bind(&it.secret).bind(former).bind(until)
            .bind(&it.disabled).bind(it.created_at.micros())
            .execute(db).await.map(drop))
    }

    /// Lists all endpoints, oldest first.
    pub async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        let sql = "select * from webhooks order by id";
        let rows: Vec<WebhookRow> = read!(self, db => sqlx::query_as(sql).fetch_all(db).await)?;
        Ok(rows.into_iter().map(Webhook::from).collect())
    }

    /// Finds an endpoint.
    pub async fn webhook(&self, id: Uuid) -> Result<Option<Webhook>, StoreError> {
        let sql = "select * from webhooks where id = $1";
        let row: Option<WebhookRow> = read!(self, db => sqlx::query_as(sql).bind(id).fetch_optional(db).await)?;
        Ok(row.map(Webhook::from))
    }

    /// Disables an endpoint, with the reason.
    pub async fn disable_webhook(&self, id: Uuid, why: &str) -> Result<(), StoreError> {
        write_one!(self, db => sqlx::query("update webhooks set disabled = $1 where id = $2")
            .bind(why).bind(id).execute(db).await.map(drop))
    }

    /// Removes an endpoint; returns `false` if there was none.
    pub async fn remove_webhook(&self, id: Uuid) -> Result<bool, StoreError> {
        let removed = write_one!(self, db => sqlx::query("delete from webhooks where id = $1")
            .bind(id).execute(db).await.map(|done| done.rows_affected()))?;
        Ok(removed > 0)
    }
}
