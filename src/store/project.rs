//! The projections: tables that are queried, written from the room's state in the transaction of its events.

use rooms::case::consultation::ConsultationState;
use rooms::event::HandOver;
use rooms::id::RoomId;
use rooms::time::Timestamp;
use rooms::wire::snapshot::{ConsultationView, DeliveryView, DispensingView, PrescriptionView};

use super::events::{Append, moves_slot};
use super::{StoreError, Tx, on};

impl Tx {
    /// Writes what the events changed; false if they take a slot that belongs to another room.
    pub(super) async fn project(&mut self, append: &Append) -> Result<bool, StoreError> {
        let (Some(after), Some(last)) = (&append.after, append.records.last()) else { return Ok(true) };
        let at = last.record.at;
        // Versions are the seq of the last change, so what is older than this append has not changed.
        let since = append.records.first().map_or(0, |sealed| sealed.seq);
        if let (Some(consultation), Some(doctor)) = (&after.consultation, &after.doctor) {
            if moves_slot(append) && !self.place(append.room, consultation).await? {
                return Ok(false);
            }
            let row = sqlx_room(append, consultation, at);
            on!(self, db => sqlx::query(UPSERT_ROOM)
                .bind(append.room.0)
                .bind(after.patient.id.0)
                .bind(after.patient.name.as_str())
                .bind(doctor.id.0)
                .bind(doctor.name.as_str())
                .bind(consultation.state.as_str())
                .bind(row.slot)
                .bind(row.starts_at)
                .bind(row.waiting_since)
                .bind(consultation.started_at.map(Timestamp::micros))
                .bind(consultation.ended_at.map(Timestamp::micros))
                .bind(row.wake_at)
                .bind(at.micros())
                .execute(db)
                .await.map(drop))?;
        }
        for it in after.prescriptions.iter().filter(|it| it.version >= since) {
            self.prescription(append.room, it, at).await?;
        }
        for it in after.dispensings.iter().filter(|it| it.version >= since) {
            let items = after.prescriptions.iter().find(|of| of.id == it.prescription).map_or(0, |of| of.items.len());
            self.dispensing(append.room, it, items, at).await?;
        }
        for it in after.deliveries.iter().filter(|it| it.version >= since) {
            self.delivery(append.room, it, at).await?;
        }
        Ok(true)
    }

    /// Gives the room the slot it has now, and frees the one it had before.
    async fn place(&mut self, room: RoomId, consultation: &ConsultationView) -> Result<bool, StoreError> {
        let over = matches!(consultation.state, ConsultationState::Cancelled | ConsultationState::Expired);
        let slot = consultation.slot.as_ref().filter(|_| !over).map(|slot| slot.id.0);
        // A null would make the comparison unknown, and free nothing.
        let kept = slot.unwrap_or_default();
        on!(self, db => sqlx::query("update slots set room = null where room = $1 and id <> $2")
            .bind(room.0).bind(kept).execute(db).await.map(drop))?;
        let Some(slot) = slot else { return Ok(true) };
        let taken = on!(self, db => {
            sqlx::query("update slots set room = $1 where id = $2 and (room is null or room = $1)")
                .bind(room.0).bind(slot).execute(db).await.map(|done| done.rows_affected())
        })?;
        Ok(taken == 1)
    }

    async fn prescription(&mut self, room: RoomId, it: &PrescriptionView, at: Timestamp) -> Result<(), StoreError> {
        on!(self, db => sqlx::query(
            "insert into prescriptions (id, room, state, version, updated_at) values ($1, $2, $3, $4, $5) \
             on conflict (id) do update set state = excluded.state, version = excluded.version, \
             updated_at = excluded.updated_at")
            .bind(it.id.0).bind(room.0).bind(it.state.as_str()).bind(number(it.version)).bind(at.micros())
            .execute(db).await.map(drop))?;
        Ok(())
    }

    async fn dispensing(
        &mut self,
        room: RoomId,
        it: &DispensingView,
        items: usize,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        on!(self, db => sqlx::query(
            "insert into dispensings \
             (id, room, prescription, pharmacy, state, version, items, delivery, received_at, updated_at) \
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9) \
             on conflict (id) do update set state = excluded.state, version = excluded.version, \
             updated_at = excluded.updated_at")
            .bind(it.id.0).bind(room.0).bind(it.prescription.0).bind(it.pharmacy.id.0).bind(it.state.as_str())
            .bind(number(it.version)).bind(number(items as u64)).bind(matches!(it.hand_over, HandOver::Delivery(_)))
            .bind(at.micros())
            .execute(db).await.map(drop))?;
        Ok(())
    }

    async fn delivery(&mut self, room: RoomId, it: &DeliveryView, at: Timestamp) -> Result<(), StoreError> {
        on!(self, db => sqlx::query(
            "insert into deliveries \
             (id, room, dispensing, pharmacy, pharmacy_name, pharmacy_address, recipient, recipient_name, address, \
             courier, state, version, updated_at) \
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
             on conflict (id) do update set courier = excluded.courier, state = excluded.state, \
             version = excluded.version, updated_at = excluded.updated_at")
            .bind(it.id.0).bind(room.0).bind(it.dispensing.0).bind(it.pharmacy.id.0).bind(it.pharmacy.name.as_str())
            .bind(it.pharmacy.address.as_str()).bind(it.recipient.id.0).bind(it.recipient.name.as_str())
            .bind(it.address.as_str()).bind(it.courier.as_ref().map(|courier| courier.id.0)).bind(it.state.as_str())
            .bind(number(it.version)).bind(at.micros())
            .execute(db).await.map(drop))?;
        Ok(())
    }
}

const UPSERT_ROOM: &str = "insert into rooms \
    (id, patient, patient_name, doctor, doctor_name, state, slot, starts_at, waiting_since, started_at, ended_at, \
    wake_at, created_at, updated_at) \
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13) \
    on conflict (id) do update set state = excluded.state, slot = excluded.slot, starts_at = excluded.starts_at, \
    waiting_since = excluded.waiting_since, started_at = excluded.started_at, ended_at = excluded.ended_at, \
    wake_at = excluded.wake_at, updated_at = excluded.updated_at";

struct RoomRow {
    slot: Option<uuid::Uuid>,
    starts_at: Option<i64>,
    waiting_since: Option<i64>,
    wake_at: Option<i64>,
}

fn sqlx_room(append: &Append, consultation: &ConsultationView, _: Timestamp) -> RoomRow {
    let waits = matches!(consultation.state, ConsultationState::Waiting | ConsultationState::Called);
    RoomRow {
        slot: consultation.slot.as_ref().map(|slot| slot.id.0),
        starts_at: consultation.slot.as_ref().map(|slot| slot.starts_at.micros()),
        waiting_since: consultation.waiting_since.filter(|_| waits).map(Timestamp::micros),
        wake_at: append.wake_at.map(Timestamp::micros),
    }
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
