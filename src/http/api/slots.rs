//! Publishing, listing, and withdrawing a doctor's own slots.

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
use crate::http::pagination::{List, decode_cursor, encode_cursor};
use crate::store::slots::{Published, PublishedSlot, SlotPage};
use crate::web::extract::{Body, Path, Query};
use crate::web::{AppState, Problem};

/// The most slots that one call may publish.
const MAX_SLOTS: usize = 200;
const MIN_SLOT_LENGTH: Duration = Duration::from_secs(60);
const MAX_SLOT_LENGTH: Duration = Duration::from_secs(8 * 3600);
/// How far in the future a slot may begin.
const MAX_LEAD_TIME: Duration = Duration::from_secs(366 * 86_400);
/// The longest window that one query may cover.
const MAX_WINDOW: Duration = Duration::from_secs(62 * 86_400);
/// The window of a query without `to`.
const DEFAULT_WINDOW: Duration = Duration::from_secs(14 * 86_400);

const DOCTOR: &[Role] = &[Role::Doctor];

pub fn operations() -> Vec<Operation> {
    vec![
        post("/v1/slots", "publishSlots", publish)
            .for_roles(DOCTOR)
            .about(Tag::Doctors, "Publishes slots that patients can book: all of them or none")
            .body::<PublishRequest>()
            .answers::<List<OwnSlot>>(201, "The published slots.")
            .errors(&[Code::SlotOverlap]),
        get("/v1/slots", "listOwnSlots", list)
            .for_roles(DOCTOR)
            .about(Tag::Doctors, "Lists the caller's own slots, with the rooms of taken ones")
            .query::<WindowQuery>()
            .answers::<List<OwnSlot>>(
                200,
                "The slots that begin within the window, in the order of their start, up to 500 per page.",
            ),
        delete("/v1/slots/{slot}", "withdrawSlot", withdraw)
            .for_roles(DOCTOR)
            .about(Tag::Doctors, "Withdraws one of the caller's free slots")
            .answers_nothing(204, "The slot is withdrawn.")
            .errors(&[Code::SlotTaken]),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PublishRequest {
    /// 1 to 200 slots that do not overlap.
    #[schemars(length(min = 1, max = 200))]
    slots: Vec<SlotInterval>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Interval")]
struct SlotInterval {
    /// From now on, and within 366 days.
    starts_at: Timestamp,
    /// One minute to eight hours after `starts_at`.
    ends_at: Timestamp,
}

/// One of the caller's own slots.
#[derive(Serialize, JsonSchema)]
struct OwnSlot {
    id: SlotId,
    starts_at: Timestamp,
    ends_at: Timestamp,
    /// Whether a patient can book it: nobody has, and it has not begun.
    free: bool,
    /// The consultation that occupies it.
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<RoomId>,
}

/// The part of a calendar to return.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowQuery {
    /// Default: now.
    from: Option<Timestamp>,
    /// Default: 14 days after `from`. At most 62 days after `from`.
    to: Option<Timestamp>,
    /// `next` of the previous page, with the same `from` and `to`.
    cursor: Option<String>,
}

/// A query's window, with defaults applied.
pub struct Window {
    /// The beginning of the window, or of the page that the cursor names.
    pub from: Timestamp,
    pub to: Timestamp,
}

impl WindowQuery {
    /// Applies the defaults and checks the length.
    pub fn window(&self, now: Timestamp) -> Result<Window, Problem> {
        let from = self.from.unwrap_or(now);
        let to = self.to.unwrap_or_else(|| from.plus(DEFAULT_WINDOW));
        if to <= from || to.since(from) > MAX_WINDOW {
            return Err(Problem::invalid("to", "must be later than from, by at most 62 days"));
        }
        let page = self.cursor.as_deref().map(decode_cursor).transpose()?;
        let page = page.map(|key| Timestamp::from_micros(i64::from_be_bytes(key)));
        Ok(Window { from: page.map_or(from, |page| page.max(from)), to })
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
        return Err(Problem::invalid("slots", "must contain 1 to 200 slots"));
    }
    let mut slots = Vec::with_capacity(request.slots.len());
    for (at, SlotInterval { starts_at, ends_at }) in request.slots.into_iter().enumerate() {
        let length = ends_at.since(starts_at);
        if starts_at < now || starts_at.since(now) > MAX_LEAD_TIME {
            return Err(Problem::invalid("starts_at", "must lie in the future, within 366 days"));
        }
        if length < MIN_SLOT_LENGTH || length > MAX_SLOT_LENGTH {
            return Err(Problem::invalid("ends_at", "must be one minute to eight hours after starts_at"));
        }
        // Derived from the key: after a crash, a repeated call recognizes the slots that the first one published.
        let id = SlotId(Uuid::new_v5(&key.fresh, &at.to_be_bytes()));
        slots.push(PublishedSlot { id, starts_at, ends_at, room: None });
    }
    if let Published::Overlap(_) = state.store.publish_slots(caller.user(), &slots).await?
        // An earlier call may have published exactly these slots: its node may have crashed before it responded.
        && !state.store.has_slots(caller.user(), &slots).await?
    {
        return Err(Problem::new(
            Code::SlotOverlap,
            "at least one slot overlaps another, so none was published; choose other times",
        ));
    }
    Ok((StatusCode::CREATED, Json(List::whole(slots.into_iter().map(|slot| own_slot(slot, now)).collect()))))
}

async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<WindowQuery>,
) -> Result<Json<List<OwnSlot>>, Problem> {
    let now = state.clock.now();
    let Window { from, to } = query.window(now)?;
    let page = state.store.slots(caller.user(), from, to).await?;
    Ok(Json(slot_list(page, |slot| own_slot(slot, now))))
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
            Err(Problem::new(Code::SlotTaken, "this slot is booked; cancel or reschedule its consultation first"))
        }
        _ => Err(Problem::not_found("slot")),
    }
}

/// Makes a list of a page of slots.
pub fn slot_list<T>(page: SlotPage, view: impl FnMut(PublishedSlot) -> T) -> List<T> {
    let next = page.next.map(|start| encode_cursor(&start.micros().to_be_bytes()));
    List { items: page.slots.into_iter().map(view).collect(), next }
}

fn own_slot(slot: PublishedSlot, now: Timestamp) -> OwnSlot {
    let free = slot.is_free(now);
    let PublishedSlot { id, starts_at, ends_at, room } = slot;
    OwnSlot { id, starts_at, ends_at, free, room }
}
