//! Lists, shows, amends, signs, cancels and sends prescriptions.

use axum::Json;
use axum::extract::State;
use rooms::command::{
    Amend, CancelPrescription, Command, Draft, NewHandOver, Nothing, PrescriptionRef, Reason, SendPrescription,
};
use rooms::id::{PharmacyId, PrescriptionId, RoomId};
use rooms::party::Person;
use rooms::role::Role;
use rooms::room::snapshot::PrescriptionView;
use rooms::state::PrescriptionState;
use rooms::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::consultations::{DraftedPrescription, drafted_prescription, read_case};
use crate::auth::Caller;
use crate::http::commands::{Done, Versioned, by_precondition, find, submit};
use crate::http::middleware::idempotency::IdempotencyKey;
use crate::http::operation::{Matching, Operation, Tag, get, post, put};
use crate::http::pagination::{List, PageQuery};
use crate::store::room_lookup::PrescriptionLine;
use crate::web::extract::{Body, IfMatch, Path, Query};
use crate::web::{AppState, Problem};

const DOCTOR: &[Role] = &[Role::Doctor];

pub fn operations() -> Vec<Operation> {
    vec![
        get("/v1/prescriptions", "listPrescriptions", list)
            .for_roles(&[Role::Patient, Role::Doctor])
            .about(Tag::Prescriptions, "Lists the prescriptions of the caller's consultations")
            .query::<PageQuery>()
            .answers::<List<PrescriptionListItem>>(200, "Newest first."),
        get("/v1/prescriptions/{prescription}", "getPrescription", show)
            .about(Tag::Prescriptions, "Shows a prescription")
            .answers::<InRoom<PrescriptionView>>(200, "The prescription.")
            .versioned(),
        put("/v1/prescriptions/{prescription}", "amendPrescription", amend)
            .for_roles(DOCTOR)
            .about(Tag::Prescriptions, "Replaces the items of a draft in place; otherwise creates a new, linked draft")
            .body::<Draft>()
            .matching(Matching::Required)
            .answers::<DraftedPrescription>(200, "The changed or new draft.")
            .submits(),
        post("/v1/prescriptions/{prescription}/sign", "signPrescription", sign)
            .for_roles(DOCTOR)
            .about(Tag::Prescriptions, "Signs a draft")
            .body::<Nothing>()
            .matching(Matching::Optional)
            .answers::<Done>(200, "The prescription is signed.")
            .submits(),
        post("/v1/prescriptions/{prescription}/cancel", "cancelPrescription", cancel)
            .for_roles(DOCTOR)
            .about(Tag::Prescriptions, "Cancels a prescription before it is handed over")
            .body::<Reason>()
            .matching(Matching::Optional)
            .answers::<Done>(200, "The prescription is cancelled, and the pharmacy notified.")
            .submits(),
        post("/v1/prescriptions/{prescription}/send", "sendPrescription", send)
            .for_roles(&[Role::Patient])
            .about(Tag::Prescriptions, "Sends a signed prescription to the pharmacy of the patient's choice")
            .body::<SendRequest>()
            .matching(Matching::Optional)
            .answers::<Done>(200, "The prescription is sent.")
            .submits(),
    ]
}

/// A prescription in a list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PrescriptionRow")]
struct PrescriptionListItem {
    id: PrescriptionId,
    room: RoomId,
    state: PrescriptionState,
    version: u64,
    patient: Person,
    doctor: Person,
    updated_at: Timestamp,
}

/// A resource of a case, with the case's room.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}InRoom")]
pub struct InRoom<T> {
    pub room: RoomId,
    #[serde(flatten)]
    pub part: T,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SendRequest {
    pharmacy: PharmacyId,
    hand_over: NewHandOver,
}

async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<List<PrescriptionListItem>>, Problem> {
    let page = state.store.prescriptions_of(caller.user(), query.request()?).await?;
    Ok(Json(List::of(page, |line| {
        let PrescriptionLine { id, room, state, version, patient, doctor, updated_at } = line;
        PrescriptionListItem { id, room, state, version, patient, doctor, updated_at }
    })))
}

async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<PrescriptionId>,
) -> Result<Versioned<InRoom<PrescriptionView>>, Problem> {
    let room = state.store.room_of_prescription(id).await?;
    let (room, snapshot) = read_case(&state, &caller, "prescription.read", room, "prescription").await?;
    let part = find(snapshot.prescriptions, id.0, |it| it.id.0, "prescription")?;
    Ok(Versioned { version: Some(part.version), body: InRoom { room, part } })
}

async fn amend(
    State(state): State<AppState>,
    caller: Caller,
    key: IdempotencyKey,
    Path(prescription): Path<PrescriptionId>,
    version: IfMatch,
    Body(Draft { items }): Body<Draft>,
) -> Result<Json<DraftedPrescription>, Problem> {
    let expect = Some(version.required()?);
    let done = submit_change(&state, &caller, key, prescription, expect, Command::Amend(Amend { prescription, items }))
        .await?;
    Ok(Json(drafted_prescription(&state, done).await?))
}

async fn sign(
    State(state): State<AppState>,
    caller: Caller,
    key: IdempotencyKey,
    Path(prescription): Path<PrescriptionId>,
    IfMatch(expect): IfMatch,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<Done>, Problem> {
    let command = Command::Sign(PrescriptionRef { prescription });
    submit_change(&state, &caller, key, prescription, expect, command).await.map(Json)
}

async fn cancel(
    State(state): State<AppState>,
    caller: Caller,
    key: IdempotencyKey,
    Path(prescription): Path<PrescriptionId>,
    IfMatch(expect): IfMatch,
    Body(Reason { reason }): Body<Reason>,
) -> Result<Json<Done>, Problem> {
    let command = Command::CancelPrescription(CancelPrescription { prescription, reason });
    submit_change(&state, &caller, key, prescription, expect, command).await.map(Json)
}

async fn send(
    State(state): State<AppState>,
    caller: Caller,
    key: IdempotencyKey,
    Path(prescription): Path<PrescriptionId>,
    IfMatch(expect): IfMatch,
    Body(SendRequest { pharmacy, hand_over }): Body<SendRequest>,
) -> Result<Json<Done>, Problem> {
    let command = Command::Send(SendPrescription { prescription, pharmacy, hand_over });
    submit_change(&state, &caller, key, prescription, expect, command).await.map(Json)
}

async fn submit_change(
    state: &AppState,
    caller: &Caller,
    key: IdempotencyKey,
    id: PrescriptionId,
    expect: Option<u64>,
    command: Command,
) -> Result<Done, Problem> {
    let room = state.store.room_of_prescription(id).await?.ok_or_else(|| Problem::not_found("prescription"))?;
    submit(state, caller, key, room, expect, command).await.map_err(by_precondition)
}
