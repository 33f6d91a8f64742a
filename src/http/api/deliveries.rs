//! Lists and shows deliveries, assigns couriers, and records their steps.

use axum::Json;
use axum::extract::State;
use rooms::command::{AssignDelivery, Command, MoveDelivery, NewProof};
use rooms::id::{DeliveryId, UserId};
use rooms::role::Role;
use rooms::room::snapshot::DeliveryView;
use rooms::state::DeliveryState;
use rooms::text::Prose;
use rooms::time::Timestamp;
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
use crate::http::pagination::{List, PageQuery};
use crate::web::extract::{Body, IfMatch, Path, Query};
use crate::web::{AppState, Problem};

pub fn operations() -> Vec<Operation> {
    vec![
        get("/v1/deliveries", "listDeliveries", list)
            .for_roles(&[Role::Courier, Role::Pharmacist, Role::Patient])
            .about(Tag::Deliveries, "Lists the deliveries that the caller carries, dispatched, or receives")
            .query::<PageQuery>()
            .answers::<List<FeedItem>>(200, "Newest first."),
        get("/v1/deliveries/{delivery}", "getDelivery", show)
            .about(Tag::Deliveries, "Shows a delivery")
            .answers::<InRoom<DeliveryView>>(200, "The delivery.")
            .versioned(),
        post("/v1/deliveries/{delivery}/assign", "assignDelivery", assign)
            .for_roles(&[Role::Pharmacist])
            .about(Tag::Deliveries, "Assigns a delivery to a courier")
            .body::<AssignRequest>()
            .matching(Matching::Optional)
            .answers::<Done>(200, "The courier is assigned.")
            .submits(),
        post("/v1/deliveries/{delivery}/moves", "moveDelivery", move_delivery)
            .for_roles(&[Role::Courier, Role::Pharmacist, Role::Patient, Role::Admin])
            .about(Tag::Deliveries, "Moves a delivery to its next state")
            .body::<DeliveryMove>()
            .matching(Matching::Optional)
            .answers::<Done>(200, "The delivery has moved.")
            .submits(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AssignRequest {
    courier: UserId,
}

/// A step of a delivery: see the command `delivery.move`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DeliveryMove {
    to: DeliveryState,
    /// Required with `attempt_failed`, `cancelled`, `lost` and `damaged`.
    #[serde(default)]
    reason: Option<Prose>,
    /// Required with `delivered`.
    #[serde(default)]
    proof: Option<NewProof>,
    /// The start of the new window; required with `rescheduled`.
    #[serde(default)]
    window: Option<Timestamp>,
    /// When the step happened, if earlier than now.
    #[serde(default)]
    occurred_at: Option<Timestamp>,
}

async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<List<FeedItem>>, Problem> {
    let (column, id) = match (caller.role(), caller.claims.pharmacy) {
        (Role::Courier, _) => ("courier", caller.user().0),
        (Role::Pharmacist, Some(pharmacy)) => ("pharmacy", pharmacy.0),
        (Role::Patient, _) => ("recipient", caller.user().0),
        _ => {
            return Err(Problem::new(
                Code::Forbidden,
                "you belong to no pharmacy yet; ask an administrator to assign you",
            ));
        }
    };
    let page = state.store.deliveries(column, id, query.request()?).await?;
    Ok(Json(List::of(page, |item| item)))
}

async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<DeliveryId>,
) -> Result<Versioned<InRoom<DeliveryView>>, Problem> {
    let room = state.store.room_of_delivery(id).await?;
    let (room, snapshot) = read_case(&state, &caller, "delivery.read", room, "delivery").await?;
    let part = find(snapshot.deliveries, id.0, |it| it.id.0, "delivery")?;
    Ok(Versioned { version: Some(part.version), body: InRoom { room, part } })
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
    submit_change(&state, &caller, key, delivery, expect, command).await.map(Json)
}

async fn move_delivery(
    State(state): State<AppState>,
    caller: Caller,
    key: IdempotencyKey,
    Path(delivery): Path<DeliveryId>,
    IfMatch(expect): IfMatch,
    Body(DeliveryMove { to, reason, proof, window, occurred_at }): Body<DeliveryMove>,
) -> Result<Json<Done>, Problem> {
    let command = Command::MoveDelivery(MoveDelivery { delivery, to, reason, proof, window, occurred_at });
    submit_change(&state, &caller, key, delivery, expect, command).await.map(Json)
}

async fn submit_change(
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
