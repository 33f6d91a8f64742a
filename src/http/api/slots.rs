//! A doctor's own time.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use rooms::id::{RoomId, SlotId};
use rooms::role::Role;
use rooms::time::Timestamp;
use rooms::wire::code::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::auth::Caller;
use crate::http::middleware::idempotency::IdempotencyKey;
use crate::http::operation::{Operation, Tag, delete, get, post};
use crate::http::pagination::List;
use crate::store::slots::{Published, PublishedSlot};
use crate::web::extract::{Body, Path, Query};
use crate::web::{AppState, Problem};

/// Slots of one call.
const MAX_SLOTS: usize = 200;
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(8 * 3600);
/// How far ahead slots may begin.
const AHEAD: Duration = Duration::from_secs(366 * 86_400);
/// How much of a calendar is shown at once, at most and if nothing is said.
const WIDEST: Duration = Duration::from_secs(62 * 86_400);
const USUAL: Duration = Duration::from_secs(14 * 86_400);

const DOCTOR: &[Role] = &[Role::Doctor];

pub fn operations() -> Vec<Operation> {
    vec![
        post("/v1/slots", "publishSlots", publish)
            .for_roles(DOCTOR)
            .about(Tag::Doctors, "Publishes own time that can be booked: all of the slots or none")
            .body::<PublishRequest>()
            .answers::<List<OwnSlot>>(201, "The slots.")
            .errors(&[Code::SlotOverlap]),
        get("/v1/slots", "listOwnSlots", list)
            .for_roles(DOCTOR)
            .about(Tag::Doctors, "Shows the own slots, with the room of those that are taken")
            .query::<WindowQuery>()
            .answers::<List<OwnSlot>>(200, "The slots that begin in the window, at most 500."),
        delete("/v1/slots/{slot}", "withdrawSlot", withdraw)
            .for_roles(DOCTOR)
            .about(Tag::Doctors, "Withdraws an own slot that nobody has")
            .answers_nothing(204, "It is gone.")
            .errors(&[Code::SlotTaken]),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PublishRequest {
    /// 1 to 200 slots that do not overlap.
    #[schemars(length(min = 1, max = 200))]
    slots: Vec<Interval>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Interval {
    /// Not past, and within a year.
    starts_at: Timestamp,
    /// One minute to eight hours later.
    ends_at: Timestamp,
}

/// An own slot.
#[derive(Serialize, JsonSchema)]
struct OwnSlot {
    id: SlotId,
    starts_at: Timestamp,
    ends_at: Timestamp,
    free: bool,
    /// The consultation that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<RoomId>,
}

/// Which part of a calendar.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowQuery {
    /// Now, if absent.
    from: Option<Timestamp>,
    /// 14 days after `from`, if absent; at most 62.
    to: Option<Timestamp>,
}

pub struct Window {
    pub from: Timestamp,
    pub to: Timestamp,
}

impl WindowQuery {
    pub fn window(&self, now: Timestamp) -> Result<Window, Problem> {
        let from = self.from.unwrap_or(now);
        let to = self.to.unwrap_or_else(|| from.plus(USUAL));
        if to <= from || to.since(from) > WIDEST {
            return Err(Problem::invalid("to", "must be after from, by at most 62 days"));
        }
        Ok(Window { from, to })
    }
}

async fn publish(
    State(state): State<AppState>,
    caller: Caller,
    key: IdempotencyKey,
    Body(request): Body<PublishRequest>,
) -> Result<(StatusCode, Json<List<OwnSlot>>), Problem> {
    let now = state.clock.now();
    if request.slots.is_empty() || request.slots.len() > MAX_SLOTS {
        return Err(Problem::invalid("slots", "must be 1 to 200"));
    }
    let mut slots = Vec::with_capacity(request.slots.len());
    for (at, Interval { starts_at, ends_at }) in request.slots.into_iter().enumerate() {
        let length = ends_at.since(starts_at);
        if starts_at < now || starts_at.since(now) > AHEAD {
            return Err(Problem::invalid("starts_at", "must be from now on and within a year"));
        }
        if length < SHORTEST || length > LONGEST {
            return Err(Problem::invalid("ends_at", "must be one minute to eight hours after starts_at"));
        }
        // The same ids at each repetition, so that one after a crash finds what the first call did.
        let id = SlotId(Uuid::new_v5(&key.fresh, &at.to_be_bytes()));
        slots.push(PublishedSlot { id, starts_at, ends_at, room: None });
    }
    if let Published::Overlap(_) = state.store.publish_slots(caller.user(), &slots).await?
        && !are_there(&state, &caller, &slots).await?
    {
        return Err(Problem::new(Code::SlotOverlap, "one of the slots overlaps another slot; none was published"));
    }
    Ok((StatusCode::CREATED, Json(List::whole(slots.into_iter().map(own).collect()))))
}

/// Whether these very slots were published before, by a call whose hub died before it could answer.
async fn are_there(state: &AppState, caller: &Caller, slots: &[PublishedSlot]) -> Result<bool, Problem> {
    let (Some(first), Some(last)) =
        (slots.iter().map(|slot| slot.starts_at).min(), slots.iter().map(|slot| slot.ends_at).max())
    else {
        return Ok(false);
    };
    let there = state.store.slots(caller.user(), first, last).await?;
    Ok(slots.iter().all(|slot| there.iter().any(|other| other.id == slot.id)))
}

async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<WindowQuery>,
) -> Result<Json<List<OwnSlot>>, Problem> {
    let Window { from, to } = query.window(state.clock.now())?;
    let slots = state.store.slots(caller.user(), from, to).await?;
    Ok(Json(List::whole(slots.into_iter().map(own).collect())))
}

async fn withdraw(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<SlotId>,
) -> Result<StatusCode, Problem> {
    if state.store.withdraw_slot(caller.user(), id).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    match state.store.slot_fact(id).await? {
        Some(slot) if slot.doctor.id == caller.user() => {
            Err(Problem::new(Code::SlotTaken, "somebody has this slot; cancel or reschedule their consultation first"))
        }
        _ => Err(Problem::not_found("slot")),
    }
}

fn own(slot: PublishedSlot) -> OwnSlot {
    let PublishedSlot { id, starts_at, ends_at, room } = slot;
    OwnSlot { id, starts_at, ends_at, free: room.is_none(), room }
}
