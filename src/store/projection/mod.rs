//! Projections: tables for queries, written from the room's state in the transaction of its events.
//!
//! Their content is a pure function of that state, [`Projection::of`]. [`mod@write`] stores it, and the verification of a
//! database compares the tables with it.

mod booking_limits;
mod write;

use rooms::event::Event;
use rooms::id::{RoomId, SlotId};
use rooms::party::HandOver;
use rooms::room::snapshot::{ConsultationView, DeliveryView, DispensingView, PrescriptionView, Snapshot};
use rooms::state::{ConsultationState, DeliveryState, DispensingState};
use rooms::time::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::columns::signed;
use super::record::Append;
use super::{Store, StoreError, Tx, on_tx, read};

/// The effect of an append on slots. Their order is the order in which slots are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SlotChange {
    /// The room keeps its slot, if any.
    Keep,
    /// The room releases its slot.
    Release,
    /// The room takes this slot instead of its present one.
    Take(Uuid),
}

impl SlotChange {
    /// Derives the change from the events, not from the state after them: a consultation that was cancelled long ago and
    /// is now marked as an error still names its former slot, which may belong to somebody else by now.
    pub(super) fn of(append: &Append) -> Self {
        let change = |event: &Event| match event {
            Event::Requested(requested) => Some(requested.slot.as_ref().map_or(Self::Keep, |it| Self::Take(it.id.0))),
            Event::Rescheduled(rescheduled) => Some(Self::Take(rescheduled.slot.id.0)),
            Event::ConsultationMoved(moved) if releases_slot(moved.to) => Some(Self::Release),
            _ => None,
        };
        append.records.iter().rev().find_map(|stored| change(&stored.record.event)).unwrap_or(Self::Keep)
    }
}

/// Whether a consultation in this state has released its slot. A missed appointment has used it up.
pub fn releases_slot(state: ConsultationState) -> bool {
    matches!(state, ConsultationState::Cancelled | ConsultationState::Expired)
}

/// The content of the tables for one room, without the times of writing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projection {
    pub(super) room: Option<RoomRow>,
    pub(super) prescriptions: Vec<PrescriptionRow>,
    pub(super) dispensings: Vec<DispensingRow>,
    pub(super) deliveries: Vec<DeliveryRow>,
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub(super) struct RoomRow {
    pub(super) patient: Uuid,
    pub(super) patient_name: String,
    pub(super) doctor: Uuid,
    pub(super) doctor_name: String,
    pub(super) state: String,
    pub(super) open: bool,
    pub(super) slot: Option<Uuid>,
    pub(super) starts_at: Option<i64>,
    pub(super) waiting_since: Option<i64>,
    pub(super) started_at: Option<i64>,
    pub(super) ended_at: Option<i64>,
    pub(super) wake_at: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub(super) struct PrescriptionRow {
    pub(super) id: Uuid,
    pub(super) patient: Uuid,
    pub(super) doctor: Uuid,
    pub(super) state: String,
    pub(super) version: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub(super) struct DispensingRow {
    pub(super) id: Uuid,
    pub(super) prescription: Uuid,
    pub(super) pharmacy: Uuid,
    pub(super) state: String,
    pub(super) open: bool,
    pub(super) version: i64,
    pub(super) items: i64,
    pub(super) delivery: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub(super) struct DeliveryRow {
    pub(super) id: Uuid,
    pub(super) dispensing: Uuid,
    pub(super) pharmacy: Uuid,
    pub(super) pharmacy_name: String,
    pub(super) pharmacy_address: String,
    pub(super) recipient: Uuid,
    pub(super) recipient_name: String,
    pub(super) address: String,
    pub(super) courier: Option<Uuid>,
    pub(super) state: String,
    pub(super) open: bool,
    pub(super) version: i64,
}

impl Projection {
    /// Derives the content for a room whose state, as its care team sees it, is `after`.
    pub fn of(after: &Snapshot, wake_at: Option<Timestamp>) -> Self {
        let room = after.consultation.as_ref().zip(after.doctor.as_ref()).map(|(consultation, doctor)| RoomRow {
            patient: after.patient.id.0,
            patient_name: after.patient.name.as_str().to_owned(),
            doctor: doctor.id.0,
            doctor_name: doctor.name.as_str().to_owned(),
            wake_at: wake_at.map(Timestamp::micros),
            ..RoomRow::of(consultation)
        });
        let items = |of: &DispensingView| {
            let prescription = after.prescriptions.iter().find(|it| it.id == of.prescription);
            signed(prescription.map_or(0, |it| it.items.len()) as u64)
        };
        let mut projection = Self {
            room,
            prescriptions: after.prescriptions.iter().map(|it| PrescriptionRow::of(it, after)).collect(),
            dispensings: after.dispensings.iter().map(|it| DispensingRow::of(it, items(it))).collect(),
            deliveries: after.deliveries.iter().map(DeliveryRow::of).collect(),
        };
        // In the order in which they are read.
        projection.prescriptions.sort_by_key(|row| row.id);
        projection.dispensings.sort_by_key(|row| row.id);
        projection.deliveries.sort_by_key(|row| row.id);
        projection
    }

    /// Returns the first table in which the two differ.
    pub fn differs(&self, other: &Self) -> Option<&'static str> {
        let tables = [
            (self.room == other.room, "rooms"),
            (self.prescriptions == other.prescriptions, "prescriptions"),
            (self.dispensings == other.dispensings, "dispensings"),
            (self.deliveries == other.deliveries, "deliveries"),
        ];
        tables.into_iter().find_map(|(same, table)| (!same).then_some(table))
    }
}

impl RoomRow {
    fn of(it: &ConsultationView) -> Self {
        let waits = matches!(it.state, ConsultationState::Waiting | ConsultationState::Called);
        Self {
            patient: Uuid::nil(),
            patient_name: String::new(),
            doctor: Uuid::nil(),
            doctor_name: String::new(),
            state: it.state.as_str().to_owned(),
            open: is_open(it.state),
            slot: it.slot.as_ref().map(|slot| slot.id.0),
            starts_at: it.slot.as_ref().map(|slot| slot.starts_at.micros()),
            waiting_since: it.waiting_since.filter(|_| waits).map(Timestamp::micros),
            started_at: it.started_at.map(Timestamp::micros),
            ended_at: it.ended_at.map(Timestamp::micros),
            wake_at: None,
        }
    }
}

impl PrescriptionRow {
    fn of(it: &PrescriptionView, case: &Snapshot) -> Self {
        Self {
            id: it.id.0,
            patient: case.patient.id.0,
            doctor: case.doctor.as_ref().map_or(Uuid::nil(), |doctor| doctor.id.0),
            state: it.state.as_str().to_owned(),
            version: signed(it.version),
        }
    }
}

impl DispensingRow {
    fn of(it: &DispensingView, items: i64) -> Self {
        Self {
            id: it.id.0,
            prescription: it.prescription.0,
            pharmacy: it.pharmacy.id.0,
            state: it.state.as_str().to_owned(),
            open: is_pending(it.state),
            version: signed(it.version),
            items,
            delivery: matches!(it.hand_over, HandOver::Delivery(_)),
        }
    }
}

impl DeliveryRow {
    fn of(it: &DeliveryView) -> Self {
        Self {
            id: it.id.0,
            dispensing: it.dispensing.0,
            pharmacy: it.pharmacy.id.0,
            pharmacy_name: it.pharmacy.name.as_str().to_owned(),
            pharmacy_address: it.pharmacy.address.as_str().to_owned(),
            recipient: it.recipient.id.0,
            recipient_name: it.recipient.name.as_str().to_owned(),
            address: it.address.as_str().to_owned(),
            courier: it.courier.as_ref().map(|courier| courier.id.0),
            state: it.state.as_str().to_owned(),
            open: is_undelivered(it.state),
            version: signed(it.version),
        }
    }
}

fn is_open(state: ConsultationState) -> bool {
    use ConsultationState::*;
    match state {
        Requested | Booked | Waiting | Called | InProgress | Interrupted | WrapUp => true,
        Completed | Cancelled | Expired | NoShow | Referred | EnteredInError => false,
    }
}

fn is_pending(state: DispensingState) -> bool {
    use DispensingState::*;
    match state {
        Received | Accepted | Preparing | OnHold | Checked | Ready | Released => true,
        Completed | ReturnedToStock | Declined | Cancelled => false,
    }
}

fn is_undelivered(state: DeliveryState) -> bool {
    use DeliveryState::*;
    match state {
        Requested | Assigned | PickedUp | InTransit | OutForDelivery | AttemptFailed | Rescheduled | Returning => true,
        Delivered | Returned | Restocked | Disposed | Cancelled | Lost | Damaged => false,
    }
}

impl Tx {
    /// Applies a change of slot; returns `false` if the slot is not available.
    pub(super) async fn apply_slot_change(&mut self, room: RoomId, change: SlotChange) -> Result<bool, StoreError> {
        let slot = match change {
            SlotChange::Keep => return Ok(true),
            // No slot has this id, so the statement releases every slot of the room.
            SlotChange::Release => Uuid::nil(),
            SlotChange::Take(slot) => slot,
        };
        on_tx!(self, db => sqlx::query("update slots set room = null where room = $1 and id <> $2")
            .bind(room.0).bind(slot).execute(db).await.map(drop))?;
        if change == SlotChange::Release {
            return Ok(true);
        }
        let taken = on_tx!(self, db => {
            sqlx::query("update slots set room = $1 where id = $2 and (room is null or room = $1)")
                .bind(room.0).bind(slot).execute(db).await.map(|done| done.rows_affected())
        })?;
        Ok(taken == 1)
    }
}

impl Store {
    /// Reads the tables' content for a room.
    pub async fn projection(&self, room: RoomId) -> Result<Projection, StoreError> {
        let sql = "select * from rooms where id = $1";
        let row = read!(self, db => sqlx::query_as(sql).bind(room.0).fetch_optional(db).await)?;
        let sql = "select * from prescriptions where room = $1 order by id";
        let prescriptions = read!(self, db => sqlx::query_as(sql).bind(room.0).fetch_all(db).await)?;
        let sql = "select * from dispensings where room = $1 order by id";
        let dispensings = read!(self, db => sqlx::query_as(sql).bind(room.0).fetch_all(db).await)?;
        let sql = "select * from deliveries where room = $1 order by id";
        let deliveries = read!(self, db => sqlx::query_as(sql).bind(room.0).fetch_all(db).await)?;
        Ok(Projection { room: row, prescriptions, dispensings, deliveries })
    }

    /// Returns the first room after `after`, by id, that the tables contain.
    pub async fn listed_room_after(&self, after: Option<RoomId>) -> Result<Option<RoomId>, StoreError> {
        let sql = "select id from rooms where id > $1 order by id limit 1";
        let after = after.map_or(Uuid::nil(), |room| room.0);
        let row: Option<(Uuid,)> = read!(self, db => sqlx::query_as(sql).bind(after).fetch_optional(db).await)?;
        Ok(row.map(|(id,)| RoomId(id)))
    }

    /// Reads the slot that a room holds.
    pub async fn slot_of(&self, room: RoomId) -> Result<Option<SlotId>, StoreError> {
        let sql = "select id from slots where room = $1";
        let row: Option<(Uuid,)> = read!(self, db => sqlx::query_as(sql).bind(room.0).fetch_optional(db).await)?;
        Ok(row.map(|(id,)| SlotId(id)))
    }
}
