//! Which room a part of a case belongs to.

use rooms::id::{DeliveryId, DispensingId, PrescriptionId, RoomId, UserId};
use uuid::Uuid;

use super::page::{Page, PageRequest};
use super::{Store, StoreError, read};

impl Store {
    pub async fn room_of_prescription(&self, id: PrescriptionId) -> Result<Option<RoomId>, StoreError> {
        self.room_of("select room from prescriptions where id = $1", id.0).await
    }

    pub async fn room_of_dispensing(&self, id: DispensingId) -> Result<Option<RoomId>, StoreError> {
        self.room_of("select room from dispensings where id = $1", id.0).await
    }

    pub async fn room_of_delivery(&self, id: DeliveryId) -> Result<Option<RoomId>, StoreError> {
        self.room_of("select room from deliveries where id = $1", id.0).await
    }

    async fn room_of(&self, sql: &'static str, id: Uuid) -> Result<Option<RoomId>, StoreError> {
        let row: Option<(Uuid,)> = read!(self, db => sqlx::query_as(sql).bind(id).fetch_optional(db).await)?;
        Ok(row.map(|(room,)| RoomId(room)))
    }

    /// The prescriptions in a person's rooms as patient or doctor, newest first, each with its room.
    pub async fn prescriptions_of(
        &self,
        user: UserId,
        request: PageRequest,
    ) -> Result<Page<(PrescriptionId, RoomId)>, StoreError> {
        let sql = "select p.id, p.room from prescriptions p join rooms r on r.id = p.room \
            where (r.patient = $1 or r.doctor = $1) and p.id < $2 order by p.id desc limit $3";
        let rows: Vec<(Uuid, Uuid)> = read!(self, db => sqlx::query_as(sql)
            .bind(user.0).bind(request.below()).bind(request.rows()).fetch_all(db).await)?;
        let rows = rows.into_iter().map(|(id, room)| (id, (PrescriptionId(id), RoomId(room)))).collect();
        Ok(request.page(rows, |row| row))
    }
}
