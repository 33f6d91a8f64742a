//! Partners' references to payments and deliveries, and the ids of their webhooks that took effect.

use std::time::Duration;

use rooms::id::{DeliveryId, RoomId};
use rooms::time::Timestamp;
use uuid::Uuid;

use super::{Store, StoreError, read, write_one};

/// Retention of webhook ids. A webhook's signature is valid for minutes only.
const PARTNER_EVENT_RETENTION: Duration = Duration::from_secs(30 * 86_400);

/// The provider's reference to a room's payment, and its checkout page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentLink {
    pub reference: String,
    pub checkout_url: Option<String>,
}

impl Store {
    /// Stores the provider's reference to a room's payment. An existing reference stays; a missing page is added.
    pub async fn save_payment_link(&self, room: RoomId, link: &PaymentLink, now: Timestamp) -> Result<(), StoreError> {
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

    /// Finds the room whose payment has this reference.
    pub async fn room_of_payment(&self, reference: &str) -> Result<Option<RoomId>, StoreError> {
        let sql = "select room from payments where reference = $1";
        let row: Option<(Uuid,)> = read!(self, db => sqlx::query_as(sql).bind(reference).fetch_optional(db).await)?;
        Ok(row.map(|(room,)| RoomId(room)))
    }

    /// Stores the courier partner's reference to a delivery. A later order replaces an earlier one's.
    pub async fn save_courier_order(
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

    /// Returns the courier partner's reference to a delivery.
    pub async fn courier_order(&self, delivery: DeliveryId) -> Result<Option<String>, StoreError> {
        let sql = "select reference from courier_orders where delivery = $1";
        let row: Option<(String,)> = read!(self, db => sqlx::query_as(sql).bind(delivery.0).fetch_optional(db).await)?;
        Ok(row.map(|(reference,)| reference))
    }

    /// Removes the reference to a delivery whose order was cancelled.
    pub async fn remove_courier_order(&self, delivery: DeliveryId, reference: &str) -> Result<(), StoreError> {
        let sql = "delete from courier_orders where delivery = $1 and reference = $2";
        write_one!(self, db => sqlx::query(sql).bind(delivery.0).bind(reference).execute(db).await.map(drop))
    }

    /// Whether a partner's webhook took effect before.
    pub async fn is_processed_event(&self, partner: &str, id: &str) -> Result<bool, StoreError> {
        let sql = "select received_at from partner_events where partner = $1 and id = $2";
        let row: Option<(i64,)> =
            read!(self, db => sqlx::query_as(sql).bind(partner).bind(id).fetch_optional(db).await)?;
        Ok(row.is_some())
    }

    /// Records that a partner's webhook took effect.
    pub async fn record_processed_event(&self, partner: &str, id: &str, now: Timestamp) -> Result<(), StoreError> {
        let sql = "insert into partner_events (partner, id, received_at) values ($1, $2, $3) on conflict do nothing";
        write_one!(self, db => sqlx::query(sql).bind(partner).bind(id).bind(now.micros()).execute(db).await.map(drop))
    }

    /// Deletes the ids of webhooks that are too old to be repeated.
    pub async fn sweep_partner_events(&self, now: Timestamp) -> Result<(), StoreError> {
        let before = now.micros() - i64::try_from(PARTNER_EVENT_RETENTION.as_micros()).unwrap_or(0);
        write_one!(self, db => sqlx::query("delete from partner_events where received_at < $1")
            .bind(before).execute(db).await.map(drop))
    }
}
