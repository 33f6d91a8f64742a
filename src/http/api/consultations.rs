//! Consultations: listed, looked at, and commanded.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use rooms::command::{Command, Draft};
use rooms::event::Event;
use rooms::id::{PrescriptionId, RoomId};
use rooms::refusal::Refusal;
use rooms::role::Role;
use rooms::room::snapshot::Snapshot;
use rooms::state::ConsultationState;
use rooms::wire::code::Code;
use rooms::wire::feed::FeedItem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::Caller;
use crate::http::commands::{Done, Versioned, event_at, look, note_read, submit};
use crate::http::middleware::idempotency::IdempotencyKey;
use crate::http::operation::{Operation, Tag, get, post};
use crate::http::pagination::{List, page_request};
use crate::web::extract::{Body, Path, Query};
use crate::web::{AppState, Problem};

pub fn operations() -> Vec<Operation> {
    vec![
        get("/v1/consultations", "listConsultations", list)
            .for_roles(&[Role::Patient, Role::Doctor])
            .about(Tag::Consultations, "Lists the own consultations")
            .query::<ConsultationsQuery>()
            .answers::<List<FeedItem>>(200, "Newest first."),
        get("/v1/consultations/{room}", "getConsultation", show)
            .for_guests_too()
            .about(Tag::Consultations, "Shows a case as the caller may see it")
            .answers::<Case>(200, "The case; its version is the last event that the caller may see.")
            .versioned(),
        post("/v1/consultations/{room}/commands", "sendCommand", command)
            .for_guests_too()
            .about(Tag::Consultations, "Sends any command of the socket's, except the one that opens a room")
            .body::<CommandRequest>()
            .answers::<Done>(200, "Committed.")
            .submits()
            .errors(&[Code::SlotTaken]),
        post("/v1/consultations/{room}/prescriptions", "draftPrescription", draft)
            .for_roles(&[Role::Doctor])
            .about(Tag::Prescriptions, "Drafts a prescription for the consultation's patient")
            .body::<Draft>()
            .answers::<Drafted>(201, "The draft.")
            .submits(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ConsultationsQuery {
    state: Option<ConsultationState>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Items of a page, 1 to 200; 50 if absent.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
}

/// How much of a case the caller sees.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Part {
    /// All of it.
    Care,
    /// What concerns the own pharmacy's work.
    Pharmacy,
    /// What concerns the own parcels.
    Courier,
    /// The talk and the calls, from coming in on.
    Guest,
}

#[derive(Serialize, JsonSchema)]
struct Case {
    /// The last event that the caller may see.
    head: u64,
    view: Part,
    snapshot: Snapshot,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CommandRequest {
    command: Command,
    /// The version of the part that the command is about, as the caller saw it.
    #[serde(default)]
    expect: Option<u64>,
}

/// A drafted prescription.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DraftedPrescription")]
pub struct Drafted {
    pub prescription: PrescriptionId,
    #[serde(flatten)]
    pub done: Done,
}

async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ConsultationsQuery>,
) -> Result<Json<List<FeedItem>>, Problem> {
    let request = page_request(query.cursor.as_deref(), query.limit)?;
    let page = state.store.consultations(caller.user(), caller.role(), query.state.as_slice(), request).await?;
    Ok(Json(List::of(page, |item| item)))
}

async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Path(room): Path<RoomId>,
) -> Result<Versioned<Case>, Problem> {
    use rooms::permission::View;
    let look = state.hub.read(room, &caller.actor()).await?;
    note_read(&state, &caller, "consultation.read", room).await?;
    let view = match look.view {
        View::Care => Part::Care,
        View::Pharmacy(_) => Part::Pharmacy,
        View::Courier(_) => Part::Courier,
        View::Guest { .. } => Part::Guest,
    };
    Ok(Versioned(StatusCode::OK, look.head, Case { head: look.head, view, snapshot: look.snapshot }))
}

async fn command(
    State(state): State<AppState>,
    caller: Caller,
    key: IdempotencyKey,
    Path(room): Path<RoomId>,
    Body(request): Body<CommandRequest>,
) -> Result<Json<Done>, Problem> {
    if matches!(request.command, Command::Request(_)) {
        // The hub chooses the ids of rooms: see `POST /v1/bookings`.
        return Err(Refusal::Forbidden.into());
    }
    submit(&state, &caller, key, room, request.expect, request.command).await.map(Json)
}

async fn draft(
    State(state): State<AppState>,
    caller: Caller,
    key: IdempotencyKey,
    Path(room): Path<RoomId>,
    Body(draft): Body<Draft>,
) -> Result<(StatusCode, Json<Drafted>), Problem> {
    let done = submit(&state, &caller, key, room, None, Command::Draft(draft)).await?;
    Ok((StatusCode::CREATED, Json(drafted(&state, done).await?)))
}

/// The prescription that a committed draft or amendment is about: the newest of its events says it.
pub async fn drafted(state: &AppState, done: Done) -> Result<Drafted, Problem> {
    for seq in (done.first..=done.last).rev() {
        match event_at(state, done.room, seq).await? {
            Event::Drafted(event) => return Ok(Drafted { prescription: event.prescription, done }),
            Event::Amended(event) => return Ok(Drafted { prescription: event.prescription, done }),
            _ => {}
        }
    }
    Err(Problem::new(Code::Internal, "the committed events name no prescription"))
}

/// The case that a part belongs to, as the caller may see it, once the read is noted.
pub async fn case_of(
    state: &AppState,
    caller: &Caller,
    action: &str,
    room: Option<RoomId>,
    what: &str,
) -> Result<(RoomId, Snapshot), Problem> {
    let room = room.ok_or_else(|| Problem::not_found(what))?;
    let (snapshot, _) = look(state, caller, room).await?;
    note_read(state, caller, action, room).await?;
    Ok((room, snapshot))
}
