//! A pharmacy's work: its queue, and the steps of one dispensing.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use rooms::command::{Command, MoveDispensing, Nothing};
use rooms::id::DispensingId;
use rooms::party::Proof;
use rooms::reason::HoldReason;
use rooms::role::Role;
use rooms::room::snapshot::DispensingView;
use rooms::state::DispensingState;
use rooms::text::Prose;
use rooms::wire::code::Code;
use rooms::wire::feed::FeedItem;
use schemars::JsonSchema;
use serde::Deserialize;

use super::consultations::case_of;
use super::prescriptions::InRoom;
use crate::auth::Caller;
use crate::http::commands::{Done, Versioned, by_precondition, find, submit};
use crate::http::middleware::idempotency::IdempotencyKey;
use crate::http::operation::{Matching, Operation, Tag, get, post};
use crate::http::pagination::{List, page_request};
use crate::web::extract::{Body, IfMatch, Path, Query};
use crate::web::{AppState, Problem};

const PHARMACIST: &[Role] = &[Role::Pharmacist];

pub fn operations() -> Vec<Operation> {
    vec![
        get("/v1/dispensings", "listDispensings", list)
            .for_roles(PHARMACIST)
            .about(Tag::Dispensing, "Lists the own pharmacy's work")
            .query::<DispensingsQuery>()
            .answers::<List<FeedItem>>(200, "Newest first."),
        get("/v1/dispensings/{dispensing}", "getDispensing", show)
            .about(Tag::Dispensing, "Shows a dispensing")
            .answers::<InRoom<DispensingView>>(200, "The dispensing.")
            .versioned(),
        post("/v1/dispensings/{dispensing}/claim", "claimDispensing", claim)
            .for_roles(PHARMACIST)
            .about(Tag::Dispensing, "Accepts what was received")
            .body::<Nothing>()
            .matching(Matching::Optional)
            .answers::<Done>(200, "Accepted.")
            .submits(),
        post("/v1/dispensings/{dispensing}/moves", "moveDispensing", step)
            .for_roles(PHARMACIST)
            .about(Tag::Dispensing, "Takes the work a step further")
            .body::<DispensingMove>()
            .matching(Matching::Optional)
            .answers::<Done>(200, "Done.")
            .submits(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DispensingsQuery {
    state: Option<DispensingState>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Items of a page, 1 to 200; 50 if absent.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
}

/// A step of the work: see the command `dispensing.move`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DispensingMove {
    to: DispensingState,
    /// Why it is on hold; only with `on_hold`.
    #[serde(default)]
    hold: Option<HoldReason>,
    /// Needed with `declined` and `returned_to_stock`, free with `on_hold`.
    #[serde(default)]
    reason: Option<Prose>,
    /// How the patient proved who they are; needed with `completed` at the counter.
    #[serde(default)]
    proof: Option<Proof>,
}

async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<DispensingsQuery>,
) -> Result<Json<List<FeedItem>>, Problem> {
    let request = page_request(query.cursor.as_deref(), query.limit)?;
    let pharmacy = caller.claims.pharmacy;
    let pharmacy = pharmacy.ok_or_else(|| Problem::new(Code::Forbidden, "you belong to no pharmacy yet"))?;
    let page = state.store.dispensings(pharmacy, query.state.as_slice(), request).await?;
    Ok(Json(List::of(page, |item| item)))
}

async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<DispensingId>,
) -> Result<Versioned<InRoom<DispensingView>>, Problem> {
    let room = state.store.room_of_dispensing(id).await?;
    let (room, snapshot) = case_of(&state, &caller, "dispensing.read", room, "dispensing").await?;
    let part = find(snapshot.dispensings, id.0, |it| it.id.0, "dispensing")?;
    Ok(Versioned(StatusCode::OK, part.version, InRoom { room, part }))
}

async fn claim(
    State(state): State<AppState>,
    caller: Caller,
    key: IdempotencyKey,
    Path(dispensing): Path<DispensingId>,
    IfMatch(expect): IfMatch,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<Done>, Problem> {
    let to = DispensingState::Accepted;
    let step = MoveDispensing { dispensing, to, hold: None, reason: None, proof: None };
    change(&state, &caller, key, expect, step).await.map(Json)
}

async fn step(
    State(state): State<AppState>,
    caller: Caller,
    key: IdempotencyKey,
    Path(dispensing): Path<DispensingId>,
    IfMatch(expect): IfMatch,
    Body(DispensingMove { to, hold, reason, proof }): Body<DispensingMove>,
) -> Result<Json<Done>, Problem> {
    change(&state, &caller, key, expect, MoveDispensing { dispensing, to, hold, reason, proof }).await.map(Json)
}

async fn change(
    state: &AppState,
    caller: &Caller,
    key: IdempotencyKey,
    expect: Option<u64>,
    step: MoveDispensing,
) -> Result<Done, Problem> {
    let room = state.store.room_of_dispensing(step.dispensing).await?;
    let room = room.ok_or_else(|| Problem::not_found("dispensing"))?;
    submit(state, caller, key, room, expect, Command::MoveDispensing(step)).await.map_err(by_precondition)
}
