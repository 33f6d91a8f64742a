//! What left the hub, what is on its way, and what was given up.

use std::collections::BTreeMap;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use rooms::id::RoomId;
use rooms::role::Role;
use rooms::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::http::operation::{Operation, Tag, get, post};
use crate::http::pagination::{List, page_request};
use crate::outbound::breaker::BreakerState;
use crate::store::dispatches::{Dispatch, DispatchState, LaneCount, Sink};
use crate::web::extract::{Path, Query};
use crate::web::{AppState, Problem};

const WATCHERS: &[Role] = &[Role::Admin, Role::Support];

pub fn operations() -> Vec<Operation> {
    vec![
        get("/v1/sinks", "listSinks", sinks)
            .for_roles(WATCHERS)
            .about(Tag::Administration, "Shows how deliveries to the outside stand, receiver by receiver")
            .answers::<Outside>(200, "Every receiver that has had something within the last days."),
        get("/v1/dispatches", "listDispatches", list)
            .for_roles(WATCHERS)
            .about(Tag::Administration, "Lists deliveries to the outside")
            .query::<DispatchQuery>()
            .answers::<List<DispatchView>>(200, "Newest first."),
        post("/v1/dispatches/{dispatch}/retry", "retryDispatch", retry)
            .for_roles(&[Role::Admin])
            .about(Tag::Administration, "Sends a delivery again that was given up or dropped")
            .answers_nothing(204, "It is sent at once, and if need be as often as a new one."),
    ]
}

/// How what leaves the hub stands.
#[derive(Serialize, JsonSchema)]
struct Outside {
    sinks: Vec<Lane>,
    /// Commits that are still to be looked at for what follows from them.
    notes: u64,
}

/// What shares a breaker within a sink: a push service, an integrator's endpoint, a partner.
#[derive(Serialize, JsonSchema)]
struct Lane {
    sink: Sink,
    lane: String,
    /// As this node sees it; each has its own picture.
    breaker: BreakerState,
    waiting: u64,
    sending: u64,
    done: u64,
    dropped: u64,
    /// Given up: a person has to look at them.
    dead: u64,
    /// How long the longest overdue one has been due, in seconds.
    lag_s: u64,
    /// The most attempts of one that is not over.
    attempts: u32,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DispatchQuery {
    /// Only those of this sink.
    sink: Option<Sink>,
    /// Only those in this state.
    state: Option<DispatchState>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Items of a page, 1 to 200; 50 if absent.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
}

/// One delivery, without what was in it.
#[derive(Serialize, JsonSchema)]
struct DispatchView {
    id: Uuid,
    sink: Sink,
    lane: String,
    room: RoomId,
    /// The event it follows from; 0 for none.
    seq: u64,
    kind: String,
    state: DispatchState,
    attempts: u32,
    created_at: Timestamp,
    /// When it is tried next.
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    done_at: Option<Timestamp>,
    /// What went wrong with the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
}

async fn sinks(State(state): State<AppState>) -> Result<Json<Outside>, Problem> {
    let (now, instant) = (state.clock.now(), Instant::now());
    let mut lanes: BTreeMap<(Sink, String), Lane> = BTreeMap::new();
    for count in state.store.lanes().await? {
        let LaneCount { sink, lane, state: of, count, attempts, due_at } = count;
        let breaker = state.destinations.breaker_state(sink, &lane, instant);
        let entry = lanes.entry((sink, lane.clone())).or_insert_with(|| Lane {
            sink,
            lane,
            breaker,
            waiting: 0,
            sending: 0,
            done: 0,
            dropped: 0,
            dead: 0,
            lag_s: 0,
            attempts: 0,
        });
        match of {
            DispatchState::Waiting => entry.waiting = count,
            DispatchState::Sending => entry.sending = count,
            DispatchState::Done => entry.done = count,
            DispatchState::Dropped => entry.dropped = count,
            DispatchState::Dead => entry.dead = count,
        }
        if let Some(due_at) = due_at {
            entry.lag_s = entry.lag_s.max(now.since(due_at).as_secs());
            entry.attempts = entry.attempts.max(attempts);
        }
    }
    let notes = state.store.outbox_len().await?;
    Ok(Json(Outside { sinks: lanes.into_values().collect(), notes }))
}

async fn list(
    State(state): State<AppState>,
    Query(query): Query<DispatchQuery>,
) -> Result<Json<List<DispatchView>>, Problem> {
    let request = page_request(query.cursor.as_deref(), query.limit)?;
    let page = state.store.dispatches(query.sink, query.state, request).await?;
    Ok(Json(List::of(page, |it: Dispatch| DispatchView {
        id: it.id,
        sink: it.sink,
        lane: it.lane,
        room: it.room,
        seq: it.seq,
        kind: it.kind,
        state: it.state,
        attempts: it.attempts,
        created_at: it.created_at,
        due_at: it.due_at,
        done_at: it.done_at,
        last_error: it.last_error,
    })))
}

async fn retry(State(state): State<AppState>, Path(id): Path<Uuid>) -> Result<StatusCode, Problem> {
    let again = state.store.retry_dispatch(id, state.clock.now()).await?;
    if again { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("delivery that was given up")) }
}
