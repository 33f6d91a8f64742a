//! The business limits that span rooms: what one patient holds, books and waits for at a time.
//!
//! They are checked in the transaction that opens or moves a booking, after it is written. The patient's row is locked
//! first, so that two transactions do not both find the last free place.

use rooms::event::Event;
use rooms::id::RoomId;
use rooms::limits::Limits;
use rooms::refusal::Refusal;
use rooms::state::ConsultationState;
use sqlx::FromRow;
use uuid::Uuid;

use crate::store::columns::named;
use crate::store::record::Append;
use crate::store::{StoreError, Tx, on_tx};

/// The most open consultations of one patient that are compared; nobody who is held to the limits has as many.
const MAX_OPEN_ROOMS: i64 = 1_000;

/// An open consultation of the patient.
#[derive(FromRow)]
struct OpenRow {
    id: Uuid,
    doctor: Uuid,
    state: String,
    starts_at: Option<i64>,
    /// Absent for a walk-in.
    ends_at: Option<i64>,
}

/// An open consultation that has not ended its conversation.
struct OpenRoom {
    id: RoomId,
    doctor: Uuid,
    state: ConsultationState,
    slot: Option<(i64, i64)>,
}

impl OpenRoom {
    fn overlaps(&self, other: &Self) -> bool {
        match (self.slot, other.slot) {
            (Some((start, end)), Some((other_start, other_end))) => start < other_end && other_start < end,
            _ => false,
        }
    }

    fn waits(&self) -> bool {
        use ConsultationState::{Called, Requested, Waiting};
        self.slot.is_none() && matches!(self.state, Requested | Waiting | Called)
    }
}

impl Tx {
    /// Returns why the limits do not admit this append; `None` if they do, or if it opens and moves no booking.
    pub(in crate::store) async fn check_booking_limits(
        &mut self,
        append: &Append,
    ) -> Result<Option<Refusal>, StoreError> {
        let has = |matches: fn(&Event) -> bool| append.records.iter().any(|it| matches(&it.record.event));
        let opens = has(|event| matches!(event, Event::Requested(_)));
        let moves = has(|event| matches!(event, Event::Rescheduled(_)));
        let (Some(limits), Some((patient, _)), true) = (append.booking_limits, append.parties, opens || moves) else {
            return Ok(None);
        };
        on_tx!(self, db => sqlx::query("update users set changed_at = changed_at where id = $1")
            .bind(patient.0).execute(db).await.map(drop))?;
        let sql = "select r.id, r.doctor, r.state, s.starts_at, s.ends_at from rooms r \
            left join slots s on s.id = r.slot where r.patient = $1 and r.open order by r.id limit $2";
        let rows: Vec<OpenRow> =
            on_tx!(self, db => sqlx::query_as(sql).bind(patient.0).bind(MAX_OPEN_ROOMS).fetch_all(db).await)?;
        let open: Vec<OpenRoom> = rows.into_iter().map(open_room).collect::<Result<_, _>>()?;
        Ok(refusal(&open, append.room, opens, &limits))
    }
}

fn open_room(row: OpenRow) -> Result<OpenRoom, StoreError> {
    let OpenRow { id, doctor, state, starts_at, ends_at } = row;
    Ok(OpenRoom { id: RoomId(id), doctor, state: named(&state)?, slot: starts_at.zip(ends_at) })
}

/// Returns why `room`, which is one of the patient's `open` rooms, exceeds the limits. Only a new room counts against the
/// numbers; a booking that moves may overlap.
fn refusal(open: &[OpenRoom], room: RoomId, is_new: bool, limits: &Limits) -> Option<Refusal> {
    use ConsultationState::{Booked, Requested, WrapUp};
    let own = open.iter().find(|it| it.id == room)?;
    let others = || open.iter().filter(move |it| it.id != room && it.state != WrapUp);
    if let Some(other) = others().find(|it| it.overlaps(own)) {
        return Some(Refusal::BookingOverlap { room: other.id });
    }
    if !is_new {
        return None;
    }
    if own.slot.is_none() {
        let waiting: Vec<&OpenRoom> = others().filter(|it| it.waits() && it.doctor == own.doctor).collect();
        let is_full = waiting.len() >= limits.waiting_walk_ins as usize;
        if let Some(other) = waiting.last().filter(|_| is_full) {
            return Some(Refusal::AlreadyWaiting { room: other.id });
        }
        let all = others().filter(|it| it.waits()).count();
        let max = limits.open_bookings;
        return (all >= max as usize).then_some(Refusal::TooManyBookings { max });
    }
    let holds = others().filter(|it| it.slot.is_some() && it.state == Requested).count();
    if holds >= limits.open_holds as usize {
        return Some(Refusal::TooManyHolds { max: limits.open_holds });
    }
    let bookings = others().filter(|it| it.slot.is_some() && matches!(it.state, Requested | Booked)).count();
    let max = limits.open_bookings;
    (bookings >= max as usize).then_some(Refusal::TooManyBookings { max })
}
