//! Doctors' published slots. The room of a slot is written together with the room's events, in the log.

use rooms::id::{RoomId, SlotId, UserId};
use rooms::party::{Person, Slot};
use rooms::time::Timestamp;
use uuid::Uuid;

use super::columns::{text, timestamp};
use super::{Store, StoreError, on_tx, read, write_one};

/// The longest slot that the table accepts, in microseconds. Slots that overlap begin at most this far apart.
const MAX_SLOT_MICROS: i64 = 86_400_000_000;

/// The most slots of one page.
const MAX_PAGE_SLOTS: usize = 500;

/// A published slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedSlot {
    pub id: SlotId,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    /// The room that holds or has booked it.
    pub room: Option<RoomId>,
}

impl PublishedSlot {
    /// Whether a patient can book it at `now`.
    pub fn is_free(&self, now: Timestamp) -> bool {
        self.room.is_none() && self.starts_at > now
    }
}

/// A page of a doctor's slots, in the order of their start.
#[derive(Debug)]
pub struct SlotPage {
    pub slots: Vec<PublishedSlot>,
    /// The start of the first slot of the next page; `None` on the last page. Slots of a doctor never overlap, so a start
    /// identifies one.
    pub next: Option<Timestamp>,
}

/// The result of publishing slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    All,
    /// The slot at this index overlaps another one; none was published.
    Overlap(usize),
}

impl Store {
    /// Publishes all of `slots`, or none if one of them overlaps another slot of the doctor. A slot lasts up to a day.
    pub async fn publish_slots(&self, doctor: UserId, slots: &[PublishedSlot]) -> Result<Published, StoreError> {
        let mut tx = self.begin().await?;
        // The update locks the doctor's row, so that concurrent calls for the same doctor run one after the other.
        on_tx!(&mut tx, db => sqlx::query("update users set changed_at = changed_at where id = $1")
            .bind(doctor.0).execute(db).await.map(drop))?;
        let sql = "insert into slots (id, doctor, starts_at, ends_at) \
            select $1, $2, cast($3 as bigint), cast($4 as bigint) where not exists \
            (select 1 from slots where doctor = $2 and starts_at > $5 and starts_at < $4 and ends_at > $3)";
        for (at, slot) in slots.iter().enumerate() {
            let inserted = on_tx!(&mut tx, db => sqlx::query(sql)
                .bind(slot.id.0).bind(doctor.0).bind(slot.starts_at.micros()).bind(slot.ends_at.micros())
                .bind(slot.starts_at.micros() - MAX_SLOT_MICROS)
                .execute(db).await.map(|done| done.rows_affected()))?;
            if inserted == 0 {
                tx.rollback().await?;
                return Ok(Published::Overlap(at));
            }
        }
        tx.commit().await?;
        Ok(Published::All)
    }

    /// Returns the first page of a doctor's slots that begin in `from..to`.
    pub async fn slots(&self, doctor: UserId, from: Timestamp, to: Timestamp) -> Result<SlotPage, StoreError> {
        let sql = "select id, starts_at, ends_at, room from slots \
            where doctor = $1 and starts_at >= $2 and starts_at < $3 order by starts_at limit $4";
        let limit = i64::try_from(MAX_PAGE_SLOTS + 1).unwrap_or(i64::MAX);
        let rows: Vec<(Uuid, i64, i64, Option<Uuid>)> = read!(self, db => sqlx::query_as(sql)
            .bind(doctor.0).bind(from.micros()).bind(to.micros()).bind(limit).fetch_all(db).await)?;
        let mut slots: Vec<PublishedSlot> = rows
            .into_iter()
            .map(|(id, starts_at, ends_at, room)| PublishedSlot {
                id: SlotId(id),
                starts_at: timestamp(starts_at),
                ends_at: timestamp(ends_at),
                room: room.map(RoomId),
            })
            .collect();
        let next = slots.get(MAX_PAGE_SLOTS).map(|slot| slot.starts_at);
        slots.truncate(MAX_PAGE_SLOTS);
        Ok(SlotPage { slots, next })
    }

    /// Returns whether a doctor has a slot with each of these ids.
    pub async fn has_slots(&self, doctor: UserId, slots: &[PublishedSlot]) -> Result<bool, StoreError> {
        let sql = "select count(*) from slots where doctor = $1 and id = $2";
        for slot in slots {
            let (count,): (i64,) =
                read!(self, db => sqlx::query_as(sql).bind(doctor.0).bind(slot.id.0).fetch_one(db).await)?;
            if count == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Withdraws a free slot of a doctor; returns `false` if there is none with this id.
    pub async fn withdraw_slot(&self, doctor: UserId, id: SlotId) -> Result<bool, StoreError> {
        let sql = "delete from slots where id = $1 and doctor = $2 and room is null";
        let deleted = write_one!(self, db => sqlx::query(sql).bind(id.0).bind(doctor.0)
            .execute(db).await.map(|done| done.rows_affected()))?;
        Ok(deleted == 1)
    }

    /// Returns the start of a doctor's first free slot after `from`.
    pub async fn next_free_slot(&self, doctor: UserId, from: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let sql = "select min(starts_at) from slots where doctor = $1 and room is null and starts_at > $2";
        let (first,): (Option<i64>,) =
            read!(self, db => sqlx::query_as(sql).bind(doctor.0).bind(from.micros()).fetch_one(db).await)?;
        Ok(first.map(timestamp))
    }

    /// Finds a slot of an active doctor, in the form in which the log stores it.
    pub async fn slot_fact(&self, id: SlotId) -> Result<Option<Slot>, StoreError> {
        let sql = "select s.doctor, u.name, s.starts_at, s.ends_at from slots s join users u on u.id = s.doctor \
            where s.id = $1 and u.status = 'active'";
        let row: Option<(Uuid, String, i64, i64)> =
            read!(self, db => sqlx::query_as(sql).bind(id.0).fetch_optional(db).await)?;
        row.map(|(doctor, name, starts_at, ends_at)| {
            let doctor = Person { id: UserId(doctor), name: text(&name)? };
            Ok(Slot { id, doctor, starts_at: timestamp(starts_at), ends_at: timestamp(ends_at) })
        })
        .transpose()
    }
}
