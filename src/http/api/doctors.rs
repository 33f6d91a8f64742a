//! Searches doctors and lists their slots, for patients.

use axum::Json;
use axum::extract::State;
use rooms::id::{SlotId, UserId};
use rooms::role::Role;
use rooms::text::Text;
use rooms::time::Timestamp;
use rooms::wire::code::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::slots::{Window, WindowQuery, slot_list};
use crate::http::operation::{Operation, Tag, get};
use crate::http::pagination::{List, SearchText, page_request};
use crate::store::users::{Status, User};
use crate::web::extract::{Path, Query};
use crate::web::{AppState, Problem};

pub fn operations() -> Vec<Operation> {
    vec![
        get("/v1/doctors", "listDoctors", list)
            .about(Tag::Doctors, "Finds doctors by name and specialty")
            .query::<DoctorsQuery>()
            .answers::<List<Doctor>>(200, "Doctors who accept bookings."),
        get("/v1/doctors/{doctor}", "getDoctor", show)
            .about(Tag::Doctors, "Shows a doctor")
            .answers::<Doctor>(200, "The doctor."),
        get("/v1/doctors/{doctor}/slots", "listDoctorSlots", slots)
            .about(Tag::Doctors, "Lists a doctor's slots, both free and taken")
            .query::<WindowQuery>()
            .answers::<List<OpenSlot>>(
                200,
                "The slots that begin within the window, in the order of their start, up to 500 per page.",
            )
            .errors(&[Code::NotFound]),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DoctorsQuery {
    /// Text to find in name or specialty.
    #[serde(default)]
    q: SearchText,
    /// Text to find in the specialty.
    #[serde(default)]
    specialty: SearchText,
    /// `next` of the previous page.
    cursor: Option<String>,
    /// Items per page, 1 to 200; 50 if absent.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
}

/// A doctor's public profile.
#[derive(Serialize, JsonSchema)]
struct Doctor {
    id: UserId,
    name: Text<200>,
    #[serde(skip_serializing_if = "Option::is_none")]
    specialty: Option<String>,
    /// As the profile lists them, e.g. `en, de`.
    #[serde(skip_serializing_if = "Option::is_none")]
    languages: Option<String>,
    /// The start of the first free slot; absent if none is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_free: Option<Timestamp>,
}

/// A slot without the booking that occupies it.
#[derive(Serialize, JsonSchema)]
struct OpenSlot {
    id: SlotId,
    starts_at: Timestamp,
    ends_at: Timestamp,
    /// Whether a patient can book it: nobody has, and it has not begun.
    free: bool,
}

async fn list(State(state): State<AppState>, Query(query): Query<DoctorsQuery>) -> Result<Json<List<Doctor>>, Problem> {
    let request = page_request(query.cursor.as_deref(), query.limit)?;
    let (text, specialty) = (query.q.as_str(), query.specialty.as_str());
    let page = state.store.search_users(Role::Doctor, text, specialty, request).await?;
    let mut list = List::of(page, doctor);
    let now = state.clock.now();
    for doctor in &mut list.items {
        doctor.next_free = state.store.next_free_slot(doctor.id, now).await?;
    }
    Ok(Json(list))
}

async fn show(State(state): State<AppState>, Path(id): Path<UserId>) -> Result<Json<Doctor>, Problem> {
    let user = bookable(&state, id).await?;
    let next_free = state.store.next_free_slot(id, state.clock.now()).await?;
    Ok(Json(Doctor { next_free, ..doctor(user) }))
}

async fn slots(
    State(state): State<AppState>,
    Path(id): Path<UserId>,
    Query(query): Query<WindowQuery>,
) -> Result<Json<List<OpenSlot>>, Problem> {
    bookable(&state, id).await?;
    let now = state.clock.now();
    let Window { from, to } = query.window(now)?;
    let page = state.store.slots(id, from, to).await?;
    Ok(Json(slot_list(page, |slot| {
        let free = slot.is_free(now);
        OpenSlot { id: slot.id, starts_at: slot.starts_at, ends_at: slot.ends_at, free }
    })))
}

/// Returns the doctor if patients may book them.
async fn bookable(state: &AppState, id: UserId) -> Result<User, Problem> {
    let user = state.store.user(id).await?;
    user.filter(|user| user.role == Role::Doctor && user.status == Status::Active)
        .ok_or_else(|| Problem::not_found("doctor"))
}

fn doctor(user: User) -> Doctor {
    let User { id, name, specialty, languages, .. } = user;
    Doctor { id, name, specialty, languages, next_free: None }
}
