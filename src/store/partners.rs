//! What partners call the things of the hub, and which of their messages took effect.

use std::time::Duration;

use rooms::id::{DeliveryId, RoomId};
use rooms::time::Timestamp;
use uuid::Uuid;

use super::{Store, StoreError, read, write_one};

/// How long the ids of messages are kept. A message's signature is good for minutes.
const EVENTS_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// A room's payment, as the provider knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentLink {
    pub reference: String,
    pub checkout_url: Option<String>,
}

impl Store {
    /// Keeps what the provider calls a room's payment. What is known already stays, but for a page that was not.
    pub async fn link_payment(&self, room: RoomId, link: &PaymentLink, now: Timestamp) -> Result<(), StoreError> {
        let sql = "insert into payments (room, reference, checkout_url, created_at) values ($1, $2, $3, $4) \
            on conflict (room) do update set checkout_url = coalesce(payments.checkout_url, excluded.checkout_url)";
        write_one!(self, db => sqlx::query(sql)
            .bind(room.0).bind(&link.reference).bind(&link.checkout_url).bind(now.micros()).execute(db).await.map(drop))
    }

    pub async fn payment_link(&self, room: RoomId) -> Result<Option<PaymentLink>, StoreError> {
        let sql = "select reference, checkout_url from payments where room = $1";
        let row: Option<(String, Option<String>)> =
            read!(self, db => sqlx::query_as(sql).bind(room.0).fetch_optional(db).await)?;
        Ok(row.map(|(reference, checkout_url)| PaymentLink { reference, checkout_url }))
    }

    /// The room whose payment the provider calls so.
    pub async fn room_of_payment(&self, reference: &str) -> Result<Option<RoomId>, StoreError> {
        let sql = "select room from payments where reference = $1";
        let row: Option<(Uuid,)> = read!(self, db => sqlx::query_as(sql).bind(reference).fetch_optional(db).await)?;
        Ok(row.map(|(room,)| RoomId(room)))
    }

    /// Keeps what the courier partner calls a parcel: the latest order's name, if there was one before.
    pub async fn link_order(
        &self,
        room: RoomId,
        delivery: DeliveryId,
        reference: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let sql = "insert into courier_orders (delivery, room, reference, created_at) values ($1, $2, $3, $4) \
            on conflict (delivery) do update set reference = excluded.reference";
        write_one!(self, db => sqlx::query(sql)
            .bind(delivery.0).bind(room.0).bind(reference).bind(now.micros()).execute(db).await.map(drop))
    }

    /// What the courier partner calls a parcel.
    pub async fn order_of(&self, delivery: DeliveryId) -> Result<Option<String>, StoreError> {
        let sql = "select reference from courier_orders where delivery = $1";
        let row: Option<(String,)> = read!(self, db => sqlx::query_as(sql).bind(delivery.0).fetch_optional(db).await)?;
        Ok(row.map(|(reference,)| reference))
    }

    /// Whether a partner's message took effect before.
    pub async fn is_known_event(&self, partner: &str, id: &str) -> Result<bool, StoreError> {
        let sql = "select received_at from partner_events where partner = $1 and id = $2";
        let row: Option<(i64,)> =
            read!(self, db => sqlx::query_as(sql).bind(partner).bind(id).fetch_optional(db).await)?;
        Ok(row.is_some())
    }

    /// Notes that a partner's message took effect.
    pub async fn note_event(&self, partner: &str, id: &str, now: Timestamp) -> Result<(), StoreError> {
        let sql = "insert into partner_events (partner, id, received_at) values ($1, $2, $3) on conflict do nothing";
        write_one!(self, db => sqlx::query(sql).bind(partner).bind(id).bind(now.micros()).execute(db).await.map(drop))
    }

    /// Forgets the ids of messages that cannot come again.
    pub async fn sweep_partner_events(&self, now: Timestamp) -> Result<(), StoreError> {
        let before = now.micros() - i64::try_from(EVENTS_KEPT.as_micros()).unwrap_or(0);
        write_one!(self, db => sqlx::query("delete from partner_events where received_at < $1")
            .bind(before).execute(db).await.map(drop))
    }
}
