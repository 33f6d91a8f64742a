//! Lists and shows a pharmacy's dispensings, and records their steps.

use axum::Json;
use axum::extract::State;
use rooms::command::{Command, MoveDispensing, NewProof, Nothing};
use rooms::id::DispensingId;
use rooms::reason::HoldReason;
use rooms::role::Role;
use rooms::room::snapshot::DispensingView;
use rooms::state::DispensingState;
use rooms::text::Prose;
use rooms::wire::code::Code;
use rooms::wire::feed::FeedItem;
use schemars::JsonSchema;
use serde::Deserialize;

use super::consultations::read_case;
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
            .about(Tag::Dispensing, "Lists the dispensings of the caller's pharmacy")
            .query::<DispensingsQuery>()
            .answers::<List<FeedItem>>(200, "Newest first."),
        get("/v1/dispensings/{dispensing}", "getDispensing", show)
            .about(Tag::Dispensing, "Shows a dispensing")
            .answers::<InRoom<DispensingView>>(200, "The dispensing.")
            .versioned(),
        post("/v1/dispensings/{dispensing}/claim", "claimDispensing", claim)
            .for_roles(PHARMACIST)
            .about(Tag::Dispensing, "Accepts a received dispensing")
            .body::<Nothing>()
            .matching(Matching::Optional)
            .answers::<Done>(200, "The dispensing is accepted.")
            .submits(),
        post("/v1/dispensings/{dispensing}/moves", "moveDispensing", move_dispensing)
            .for_roles(PHARMACIST)
            .about(Tag::Dispensing, "Moves a dispensing to its next state")
            .body::<DispensingMove>()
            .matching(Matching::Optional)
            .answers::<Done>(200, "The dispensing has moved.")
            .submits(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DispensingsQuery {
    state: Option<DispensingState>,
    /// `next` of the previous page.
    cursor: Option<String>,
    /// Items per page, 1 to 200; 50 if absent.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
}

/// A step of a dispensing: see the command `dispensing.move`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DispensingMove {
    to: DispensingState,
    /// Why it is on hold; only with `on_hold`.
    #[serde(default)]
    hold: Option<HoldReason>,
    /// Required with `declined` and `returned_to_stock`, optional with `on_hold`.
    #[serde(default)]
    reason: Option<Prose>,
    /// How the patient proved their identity; required with `completed` at the counter.
    #[serde(default)]
    proof: Option<NewProof>,
}

async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<DispensingsQuery>,
) -> Result<Json<List<FeedItem>>, Problem> {
    let request = page_request(query.cursor.as_deref(), query.limit)?;
    let pharmacy = caller.claims.pharmacy;
    let pharmacy = pharmacy.ok_or_else(|| {
        Problem::new(Code::Forbidden, "you belong to no pharmacy yet; ask an administrator to assign you")
    })?;
    let page = state.store.dispensings(pharmacy, query.state.as_slice(), request).await?;
    Ok(Json(List::of(page, |item| item)))
}

async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<DispensingId>,
) -> Result<Versioned<InRoom<DispensingView>>, Problem> {
    let room = state.store.room_of_dispensing(id).await?;
    let (room, snapshot) = read_case(&state, &caller, "dispensing.read", room, "dispensing").await?;
    let part = find(snapshot.dispensings, id.0, |it| it.id.0, "dispensing")?;
    Ok(Versioned { version: Some(part.version), body: InRoom { room, part } })
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
    submit_move(&state, &caller, key, expect, step).await.map(Json)
}

async fn move_dispensing(
    State(state): State<AppState>,
    caller: Caller,
    key: IdempotencyKey,
    Path(dispensing): Path<DispensingId>,
    IfMatch(expect): IfMatch,
    Body(DispensingMove { to, hold, reason, proof }): Body<DispensingMove>,
) -> Result<Json<Done>, Problem> {
    submit_move(&state, &caller, key, expect, MoveDispensing { dispensing, to, hold, reason, proof }).await.map(Json)
}

async fn submit_move(
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
