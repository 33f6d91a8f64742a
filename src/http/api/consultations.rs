//! Lists and shows consultations, and sends commands to them.

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
use crate::http::commands::{Done, Versioned, event_at, read_room, submit};
use crate::http::middleware::idempotency::IdempotencyKey;
use crate::http::operation::{Operation, Tag, get, post};
use crate::http::pagination::{List, page_request};
use crate::hub::room::RoomView;
use crate::web::extract::{Body, Path, Query};
use crate::web::{AppState, Problem};

pub fn operations() -> Vec<Operation> {
    vec![
        get("/v1/consultations", "listConsultations", list)
            .for_roles(&[Role::Patient, Role::Doctor])
            .about(Tag::Consultations, "Lists the caller's consultations")
            .query::<ConsultationsQuery>()
            .answers::<List<FeedItem>>(200, "Newest first."),
        get("/v1/consultations/{room}", "getConsultation", show)
            .for_guests_too()
            .about(Tag::Consultations, "Shows a case as the caller may see it")
            .answers::<Case>(
                200,
                "The case. Its ETag is the version of its consultation, absent if the caller may not see that.",
            )
            .versioned(),
        post("/v1/consultations/{room}/commands", "sendCommand", command)
            .for_guests_too()
            .about(Tag::Consultations, "Sends any command of the WebSocket protocol, except the one that opens a room")
            .body::<CommandRequest>()
            .answers::<Done>(200, "The command is committed.")
            .submits()
            .errors(&[Code::SlotTaken, Code::BookingOverlap, Code::TooEarly]),
        post("/v1/consultations/{room}/prescriptions", "draftPrescription", draft)
            .for_roles(&[Role::Doctor])
            .about(Tag::Prescriptions, "Drafts a prescription for the consultation's patient")
            .body::<Draft>()
            .answers::<DraftedPrescription>(201, "The draft.")
            .submits(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ConsultationsQuery {
    state: Option<ConsultationState>,
    /// `next` of the previous page.
    cursor: Option<String>,
    /// Items per page, 1 to 200; 50 if absent.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
}

/// The part of a case that the caller sees.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Part")]
enum CaseView {
    /// The whole case.
    Care,
    /// The dispensings of the caller's pharmacy.
    Pharmacy,
    /// The deliveries assigned to the caller.
    Courier,
    /// The conversation and the calls, from the guest's entry on.
    Guest,
}

#[derive(Serialize, JsonSchema)]
struct Case {
    /// The number of the last event visible to the caller.
    head: u64,
    view: CaseView,
    snapshot: Snapshot,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CommandRequest {
    command: Command,
    /// The version that the caller saw of the resource that the command changes.
    #[serde(default)]
    expect: Option<u64>,
}

/// A drafted prescription.
#[derive(Serialize, JsonSchema)]
pub struct DraftedPrescription {
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
    let room_view = state.hub.view(room, &caller.actor(), "consultation.read").await?;
    let view = match room_view.view {
        View::Care => CaseView::Care,
        View::Pharmacy(_) => CaseView::Pharmacy,
        View::Courier(_) => CaseView::Courier,
        View::Guest { .. } => CaseView::Guest,
    };
    let RoomView { head, snapshot, .. } = room_view;
    let version = snapshot.consultation.as_ref().map(|consultation| consultation.version);
    Ok(Versioned { version, body: Case { head, view, snapshot } })
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
) -> Result<(StatusCode, Json<DraftedPrescription>), Problem> {
    let done = submit(&state, &caller, key, room, None, Command::Draft(draft)).await?;
    Ok((StatusCode::CREATED, Json(drafted_prescription(&state, done).await?)))
}

/// Returns the prescription that a committed draft or amendment created or changed, as named in its last event.
pub async fn drafted_prescription(state: &AppState, done: Done) -> Result<DraftedPrescription, Problem> {
    for seq in (done.first..=done.last).rev() {
        match event_at(state, done.room, seq).await? {
            Event::Drafted(event) => return Ok(DraftedPrescription { prescription: event.prescription, done }),
            Event::Amended(event) => return Ok(DraftedPrescription { prescription: event.prescription, done }),
            _ => {}
        }
    }
    Err(Problem::new(Code::Internal, "the committed events name no prescription"))
}

/// Records the access, then returns the case that a resource belongs to, as visible to the caller.
pub async fn read_case(
    state: &AppState,
    caller: &Caller,
    action: &str,
    room: Option<RoomId>,
    resource: &str,
) -> Result<(RoomId, Snapshot), Problem> {
    let room = room.ok_or_else(|| Problem::not_found(resource))?;
    let snapshot = read_room(state, caller, action, room).await?;
    Ok((room, snapshot))
}
