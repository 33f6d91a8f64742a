//! Shows and repeats deliveries to external receivers: sent, pending, and dead ones.

use std::collections::BTreeMap;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use rooms::id::RoomId;
use rooms::role::Role;
use rooms::text::Line;
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

/// Dead outbox entries that the overview lists.
const MAX_LISTED_NOTES: u32 = 100;
/// Stuck rooms that the overview lists.
const MAX_LISTED_ROOMS: usize = 100;

const OPERATORS: &[Role] = &[Role::Admin, Role::Support];

pub fn operations() -> Vec<Operation> {
    vec![
        get("/v1/sinks", "listSinks", sinks)
            .for_roles(OPERATORS)
            .about(Tag::Administration, "Shows the state of outgoing deliveries, grouped by receiver")
            .answers::<OutboundStatus>(200, "Every receiver with deliveries in the last days."),
        get("/v1/dispatches", "listDispatches", list)
            .for_roles(OPERATORS)
            .about(Tag::Administration, "Lists outgoing deliveries")
            .query::<DispatchQuery>()
            .answers::<List<DispatchView>>(200, "Newest first."),
        post("/v1/dispatches/{dispatch}/retry", "retryDispatch", retry)
            .for_roles(&[Role::Admin])
            .about(Tag::Administration, "Repeats a dead or dropped delivery")
            .answers_nothing(204, "The delivery is due at once, with all the attempts of a new one."),
    ]
}

/// The state of all outgoing deliveries.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Outside")]
struct OutboundStatus {
    sinks: Vec<Lane>,
    /// Outbox entries that are not processed yet.
    notes: u64,
    /// Those of them that were given up, because what follows from them could not be stored: at most 100, the oldest first.
    /// `POST /v1/dispatches/{id}/retry` tries one again.
    dead_notes: Vec<Uuid>,
    /// Rooms whose timers stay due although this node has woken them several times.
    stuck_rooms: Vec<StuckTimer>,
}

/// A room whose timer does not run.
#[derive(Serialize, JsonSchema)]
struct StuckTimer {
    room: RoomId,
    /// When its timer was due.
    due_at: Timestamp,
    /// How often this node has woken it since.
    wakes: u32,
    /// Whether this node has given it up. A restart of the hub tries again.
    dead: bool,
}

/// Deliveries that share a circuit breaker within a sink: those to one push service, webhook endpoint or partner.
#[derive(Serialize, JsonSchema)]
#[allow(clippy::struct_field_names, reason = "the name is published")]
struct Lane {
    sink: Sink,
    lane: String,
    /// The state on this node; each node has its own breakers.
    breaker: BreakerState,
    waiting: u64,
    sending: u64,
    done: u64,
    dropped: u64,
    /// Failed for good; an operator must inspect them.
    dead: u64,
    /// For how many seconds the most overdue delivery has been due.
    lag_s: u64,
    /// The highest number of attempts among unfinished deliveries.
    attempts: u32,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DispatchQuery {
    /// Returns only deliveries of this sink.
    sink: Option<Sink>,
    /// Returns only deliveries to this receiver, e.g. a webhook's id.
    lane: Option<Line>,
    /// Returns only deliveries in this state.
    state: Option<DispatchState>,
    /// `next` of the previous page.
    cursor: Option<String>,
    /// Items per page, 1 to 200; 50 if absent.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
}

/// One delivery, without its content.
#[derive(Serialize, JsonSchema)]
struct DispatchView {
    id: Uuid,
    sink: Sink,
    lane: String,
    room: RoomId,
    /// The event that caused it; 0 if none did.
    seq: u64,
    kind: String,
    state: DispatchState,
    attempts: u32,
    created_at: Timestamp,
    /// When the next attempt is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    done_at: Option<Timestamp>,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
}

async fn sinks(State(state): State<AppState>) -> Result<Json<OutboundStatus>, Problem> {
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
    let dead_notes = state.store.dead_outbox_entries(now, MAX_LISTED_NOTES).await?;
    let stuck_rooms = state.hub.stuck_rooms().into_iter().map(|stuck| StuckTimer {
        room: stuck.room,
        due_at: stuck.due_at,
        wakes: stuck.wakes,
        dead: stuck.is_given_up,
    });
    let (sinks, stuck_rooms) = (lanes.into_values().collect(), stuck_rooms.take(MAX_LISTED_ROOMS).collect());
    Ok(Json(OutboundStatus { sinks, notes, dead_notes, stuck_rooms }))
}

async fn list(
    State(state): State<AppState>,
    Query(query): Query<DispatchQuery>,
) -> Result<Json<List<DispatchView>>, Problem> {
    let request = page_request(query.cursor.as_deref(), query.limit)?;
    let page =
        state.store.dispatches(query.sink, query.lane.as_ref().map(|lane| lane.as_str()), query.state, request).await?;
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
    let store = &state.store;
    let again = store.retry_dispatch(id, state.clock.now()).await? || store.retry_outbox_entry(id).await?;
    if again { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("delivery that was given up")) }
}
