//! The sandbox partners' state: simulated payments and parcels.

use rooms::id::{DeliveryId, RoomId};
use rooms::text::Text;
use rooms::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use uuid::Uuid;

use super::columns::{named, signed, text, timestamp, unsigned};
use super::{Store, StoreError, read, write_one};

/// The state of a sandbox payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "PlayState")]
pub enum SandboxPaymentState {
    /// The patient has not paid.
    Open,
    Authorized,
    Captured,
    Released,
    Refunded,
}

impl SandboxPaymentState {
    pub fn as_str(self) -> &'static str {
        match self {
            SandboxPaymentState::Open => "open",
            SandboxPaymentState::Authorized => "authorized",
            SandboxPaymentState::Captured => "captured",
            SandboxPaymentState::Released => "released",
            SandboxPaymentState::Refunded => "refunded",
        }
    }
}

/// Faults that a sandbox injects on request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Whims")]
pub struct SandboxFaults {
    /// Every request fails.
    pub fails: bool,
    /// Every response takes ten seconds.
    pub slow: bool,
    /// Every webhook is sent twice.
    pub twice: bool,
}

/// A sandbox payment.
#[derive(Clone, Debug)]
pub struct SandboxPayment {
    pub id: Uuid,
    pub room: RoomId,
    pub amount: u64,
    pub currency: Text<200>,
    pub state: SandboxPaymentState,
    pub faults: SandboxFaults,
}

/// A sandbox parcel.
#[derive(Clone, Debug)]
pub struct SandboxParcel {
    pub id: Uuid,
    pub delivery: DeliveryId,
    pub room: RoomId,
    /// The name of the delivery's state as the courier reports it.
    pub state: String,
    /// The time of its next automatic move.
    pub next_at: Option<Timestamp>,
    pub updated_at: Timestamp,
}

#[derive(FromRow)]
struct PaymentRow {
    id: Uuid,
    room: Uuid,
    amount: i64,
    currency: String,
    state: String,
    fails: bool,
    slow: bool,
    twice: bool,
}

#[derive(FromRow)]
struct ParcelRow {
    id: Uuid,
    delivery: Uuid,
    room: Uuid,
    state: String,
    next_at: Option<i64>,
    updated_at: i64,
}

impl TryFrom<PaymentRow> for SandboxPayment {
    type Error = StoreError;

    fn try_from(row: PaymentRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            room: RoomId(row.room),
            amount: unsigned(row.amount)?,
            currency: text(&row.currency)?,
            state: named(&row.state)?,
            faults: SandboxFaults { fails: row.fails, slow: row.slow, twice: row.twice },
        })
    }
}

impl From<ParcelRow> for SandboxParcel {
    fn from(row: ParcelRow) -> Self {
        Self {
            id: row.id,
            delivery: DeliveryId(row.delivery),
            room: RoomId(row.room),
            state: row.state,
            next_at: row.next_at.map(timestamp),
            updated_at: timestamp(row.updated_at),
        }
    }
}

impl Store {
    /// Opens a sandbox payment for a room, unless it has one. Returns the id of the room's payment.
    pub async fn open_sandbox_payment(
        &self,
        id: Uuid,
        room: RoomId,
        amount: u64,
        currency: &Text<200>,
        now: Timestamp,
    ) -> Result<Uuid, StoreError> {
        let sql = "insert into sandbox_payments (id, room, amount, currency, state, fails, slow, twice, created_at) \
            values ($1, $2, $3, $4, 'open', $5, $5, $5, $6) on conflict do nothing";
        write_one!(self, db => sqlx::query(sql)
            .bind(id).bind(room.0).bind(signed(amount)).bind(currency.as_str()).bind(false).bind(now.micros())
            .execute(db).await.map(drop))?;
        let sql = "select id from sandbox_payments where room = $1";
        let (id,): (Uuid,) = read!(self, db => sqlx::query_as(sql).bind(room.0).fetch_one(db).await)?;
        Ok(id)
    }

    pub async fn sandbox_payment(&self, id: Uuid) -> Result<Option<SandboxPayment>, StoreError> {
        let sql = "select * from sandbox_payments where id = $1";
        let row: Option<PaymentRow> = read!(self, db => sqlx::query_as(sql).bind(id).fetch_optional(db).await)?;
        row.map(SandboxPayment::try_from).transpose()
    }

    /// Changes the state of a sandbox payment; returns `false` if the payment is not in `from`.
    pub async fn move_sandbox_payment(
        &self,
        id: Uuid,
        from: SandboxPaymentState,
        to: SandboxPaymentState,
    ) -> Result<bool, StoreError> {
        let sql = "update sandbox_payments set state = $3 where id = $1 and state = $2";
        let moved = write_one!(self, db => sqlx::query(sql)
            .bind(id).bind(from.as_str()).bind(to.as_str()).execute(db).await.map(|done| done.rows_affected()))?;
        Ok(moved == 1)
    }

    /// Sets the faults of a sandbox payment; returns `false` if there is none with this id.
    pub async fn set_sandbox_faults(&self, id: Uuid, faults: SandboxFaults) -> Result<bool, StoreError> {
        let sql = "update sandbox_payments set fails = $2, slow = $3, twice = $4 where id = $1";
        let set = write_one!(self, db => sqlx::query(sql)
            .bind(id).bind(faults.fails).bind(faults.slow).bind(faults.twice)
            .execute(db).await.map(|done| done.rows_affected()))?;
        Ok(set == 1)
    }

    /// Starts a delivery's parcel, to move at `next_at`, unless it has one. A cancelled parcel starts again. Returns the
    /// parcel's id.
    pub async fn start_sandbox_parcel(
        &self,
        id: Uuid,
        room: RoomId,
        delivery: DeliveryId,
        next_at: Timestamp,
        now: Timestamp,
    ) -> Result<Uuid, StoreError> {
        let sql = "insert into sandbox_parcels (id, delivery, room, state, next_at, updated_at) \
            values ($1, $2, $3, 'assigned', $4, $5) on conflict (delivery) do update \
            set state = 'assigned', next_at = excluded.next_at, updated_at = excluded.updated_at \
            where sandbox_parcels.state = 'cancelled'";
        write_one!(self, db => sqlx::query(sql)
            .bind(id).bind(delivery.0).bind(room.0).bind(next_at.micros()).bind(now.micros())
            .execute(db).await.map(drop))?;
        let sql = "select id from sandbox_parcels where delivery = $1";
        let (id,): (Uuid,) = read!(self, db => sqlx::query_as(sql).bind(delivery.0).fetch_one(db).await)?;
        Ok(id)
    }

    pub async fn sandbox_parcel(&self, id: Uuid) -> Result<Option<SandboxParcel>, StoreError> {
        let sql = "select * from sandbox_parcels where id = $1";
        let row: Option<ParcelRow> = read!(self, db => sqlx::query_as(sql).bind(id).fetch_optional(db).await)?;
        Ok(row.map(SandboxParcel::from))
    }

    /// Lists the parcels that moved last, at most 50.
    pub async fn recent_sandbox_parcels(&self) -> Result<Vec<SandboxParcel>, StoreError> {
        let sql = "select * from sandbox_parcels order by updated_at desc limit 50";
        let rows: Vec<ParcelRow> = read!(self, db => sqlx::query_as(sql).fetch_all(db).await)?;
        Ok(rows.into_iter().map(SandboxParcel::from).collect())
    }

    /// Leases the parcels that are due to move until `until`, so that only one node moves each.
    pub async fn lease_due_sandbox_parcels(
        &self,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<SandboxParcel>, StoreError> {
        let sql = "update sandbox_parcels set next_at = $1 where next_at <= $2 returning *";
        let rows: Vec<ParcelRow> = write_one!(self, db => sqlx::query_as(sql)
            .bind(until.micros()).bind(now.micros()).fetch_all(db).await)?;
        Ok(rows.into_iter().map(SandboxParcel::from).collect())
    }

    /// Changes the state of a sandbox parcel.
    pub async fn move_sandbox_parcel(
        &self,
        id: Uuid,
        to: &str,
        next_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let sql = "update sandbox_parcels set state = $2, next_at = $3, updated_at = $4 where id = $1";
        write_one!(self, db => sqlx::query(sql)
            .bind(id).bind(to).bind(next_at.map(Timestamp::micros)).bind(now.micros()).execute(db).await.map(drop))
    }
}
