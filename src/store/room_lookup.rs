//! Lookup of the room to which a prescription, dispensing or delivery belongs, and a person's prescriptions.

use rooms::id::{DeliveryId, DispensingId, PrescriptionId, RoomId, UserId};
use rooms::party::Person;
use rooms::state::PrescriptionState;
use rooms::time::Timestamp;
use uuid::Uuid;

use super::columns::{named, text, timestamp};
use super::page::{Page, PageRequest};
use super::{Store, StoreError, read};

/// A prescription in a listing.
#[derive(Clone, Debug)]
pub struct PrescriptionLine {
    pub id: PrescriptionId,
    pub room: RoomId,
    pub state: PrescriptionState,
    pub version: u64,
    pub patient: Person,
    pub doctor: Person,
    pub updated_at: Timestamp,
}

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

    /// Lists the prescriptions of which a person is the patient or the doctor, newest first.
    pub async fn prescriptions_of(
        &self,
        user: UserId,
        request: PageRequest,
    ) -> Result<Page<PrescriptionLine>, StoreError> {
        // Two lists, each read from an index: an `or` over both columns would scan every prescription.
        let sql = "select p.id, p.room, p.state, p.version, p.updated_at, r.patient, r.patient_name, r.doctor, \
            r.doctor_name from ( \
            select * from (select * from prescriptions where patient = $1 and id < $2 order by id desc limit $3) as own \
            union all \
            select * from (select * from prescriptions where doctor = $1 and id < $2 order by id desc limit $3) as made \
            ) as p join rooms r on r.id = p.room order by p.id desc limit $3";
        type Row = (Uuid, Uuid, String, i64, i64, Uuid, String, Uuid, String);
        let rows: Vec<Row> = read!(self, db => sqlx::query_as(sql)
            .bind(user.0).bind(request.below()).bind(request.rows()).fetch_all(db).await)?;
        let rows = rows
            .into_iter()
            .map(|(id, room, state, version, updated_at, patient, patient_name, doctor, doctor_name)| {
                let row = PrescriptionLine {
                    id: PrescriptionId(id),
                    room: RoomId(room),
                    state: named(&state)?,
                    version: u64::try_from(version).unwrap_or(0),
                    patient: Person { id: UserId(patient), name: text(&patient_name)? },
                    doctor: Person { id: UserId(doctor), name: text(&doctor_name)? },
                    updated_at: timestamp(updated_at),
                };
                Ok((id, row))
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        Ok(request.page(rows, |row| row))
    }
}
