//! Parcels: listed, given to a courier, taken step by step.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use rooms::command::{AssignDelivery, Command, MoveDelivery};
use rooms::id::{DeliveryId, UserId};
use rooms::party::Proof;
use rooms::role::Role;
use rooms::room::snapshot::DeliveryView;
use rooms::state::DeliveryState;
use rooms::text::Prose;
use rooms::time::Timestamp;
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
use crate::http::pagination::{List, PageQuery};
use crate::web::extract::{Body, IfMatch, Path, Query};
use crate::web::{AppState, Problem};

pub fn operations() -> Vec<Operation> {
    vec![
        get("/v1/deliveries", "listDeliveries", list)
            .for_roles(&[Role::Courier, Role::Pharmacist, Role::Patient])
            .about(Tag::Deliveries, "Lists the parcels that one carries, sent, or receives")
            .query::<PageQuery>()
            .answers::<List<FeedItem>>(200, "Newest first."),
        get("/v1/deliveries/{delivery}", "getDelivery", show)
            .about(Tag::Deliveries, "Shows a parcel")
            .answers::<InRoom<DeliveryView>>(200, "The parcel.")
            .versioned(),
        post("/v1/deliveries/{delivery}/assign", "assignDelivery", assign)
            .for_roles(&[Role::Pharmacist])
            .about(Tag::Deliveries, "Gives a parcel to a courier")
            .body::<AssignRequest>()
            .matching(Matching::Optional)
            .answers::<Done>(200, "Assigned.")
            .submits(),
        post("/v1/deliveries/{delivery}/moves", "moveDelivery", step)
            .for_roles(&[Role::Courier, Role::Pharmacist, Role::Patient, Role::Admin])
            .about(Tag::Deliveries, "Takes a parcel a step further")
            .body::<DeliveryMove>()
            .matching(Matching::Optional)
            .answers::<Done>(200, "Done.")
            .submits(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AssignRequest {
    courier: UserId,
}

/// A step of a parcel: see the command `delivery.move`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DeliveryMove {
    to: DeliveryState,
    /// Needed with `attempt_failed`, `cancelled`, `lost` and `damaged`.
    #[serde(default)]
    reason: Option<Prose>,
    /// Needed with `delivered`.
    #[serde(default)]
    proof: Option<Proof>,
    /// The new window's begin; needed with `rescheduled`.
    #[serde(default)]
    window: Option<Timestamp>,
    /// When it happened, if that was earlier than now.
    #[serde(default)]
    occurred_at: Option<Timestamp>,
}

async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<List<FeedItem>>, Problem> {
    let (of, id) = match (caller.role(), caller.claims.pharmacy) {
        (Role::Courier, _) => ("courier", caller.user().0),
        (Role::Pharmacist, Some(pharmacy)) => ("pharmacy", pharmacy.0),
        (Role::Patient, _) => ("recipient", caller.user().0),
        _ => return Err(Problem::new(Code::Forbidden, "you belong to no pharmacy yet")),
    };
    let page = state.store.deliveries(of, id, query.request()?).await?;
    Ok(Json(List::of(page, |item| item)))
}

async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<DeliveryId>,
) -> Result<Versioned<InRoom<DeliveryView>>, Problem> {
    let room = state.store.room_of_delivery(id).await?;
    let (room, snapshot) = case_of(&state, &caller, "delivery.read", room, "delivery").await?;
    let part = find(snapshot.deliveries, id.0, |it| it.id.0, "delivery")?;
    Ok(Versioned(StatusCode::OK, part.version, InRoom { room, part }))
}

async fn assign(
    State(state): State<AppState>,
    caller: Caller,
    key: IdempotencyKey,
    Path(delivery): Path<DeliveryId>,
    IfMatch(expect): IfMatch,
    Body(AssignRequest { courier }): Body<AssignRequest>,
) -> Result<Json<Done>, Problem> {
    let command = Command::AssignDelivery(AssignDelivery { delivery, courier });
    change(&state, &caller, key, delivery, expect, command).await.map(Json)
}

async fn step(
    State(state): State<AppState>,
    caller: Caller,
    key: IdempotencyKey,
    Path(delivery): Path<DeliveryId>,
    IfMatch(expect): IfMatch,
    Body(DeliveryMove { to, reason, proof, window, occurred_at }): Body<DeliveryMove>,
) -> Result<Json<Done>, Problem> {
    let command = Command::MoveDelivery(MoveDelivery { delivery, to, reason, proof, window, occurred_at });
    change(&state, &caller, key, delivery, expect, command).await.map(Json)
}

async fn change(
    state: &AppState,
    caller: &Caller,
    key: IdempotencyKey,
    id: DeliveryId,
    expect: Option<u64>,
    command: Command,
) -> Result<Done, Problem> {
    let room = state.store.room_of_delivery(id).await?.ok_or_else(|| Problem::not_found("delivery"))?;
    submit(state, caller, key, room, expect, command).await.map_err(by_precondition)
}
