//! A room's record: read by `seq` in both directions, and exported whole.

use axum::Json;
use axum::body::Body as Stream;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use rooms::command::{Command, Purpose};
use rooms::id::RoomId;
use rooms::permission::sees_canonical;
use rooms::role::Role;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::archive::Export;
use crate::auth::Caller;
use crate::http::commands::{note_read, submit};
use crate::http::middleware::idempotency::IdempotencyKey;
use crate::http::operation::{Operation, Tag, get, post};
use crate::hub::room::RoomView;
use crate::store::StoreError;
use crate::web::extract::{Body, Path, Query};
use crate::web::{AppState, Problem};

/// Events of an answer, unless the caller wants fewer or more, and most of them.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 500;
/// Events read from the store at a time, after as many as who sees all of them needs.
const PAGE: u32 = 500;

pub fn operations() -> Vec<Operation> {
    vec![
        get("/v1/rooms/{room}/events", "listEvents", events)
            .for_guests_too()
            .about(Tag::Records, "Reads a room's log, as far as the caller may see it, forwards or backwards")
            .query::<EventsQuery>()
            .answers::<Events>(200, "Events in the order of their numbers."),
        post("/v1/rooms/{room}/export", "exportRecord", export)
            .without_cached_response()
            .for_roles(&[Role::Patient, Role::Doctor, Role::Admin])
            .about(Tag::Records, "Takes a copy of the whole record, which the record itself notes")
            .body::<Purpose>()
            .answers_as(200, "A manifest and the events, one JSON object a line.", "application/jsonl")
            .submits(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    /// Only events behind this `seq`; 0 for the beginning.
    after: Option<u64>,
    /// Only events before this `seq`, the last ones of them. Without either, the last ones of all.
    before: Option<u64>,
    /// Events of the answer, 1 to 500; 100 if absent.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<usize>,
}

#[derive(Serialize, JsonSchema)]
struct Events {
    #[schemars(with = "Vec<rooms::record::Record>")]
    items: Vec<Box<RawValue>>,
    /// The last event of the room that the caller may see.
    head: u64,
    /// Nothing that the caller may see lies strictly between this and the first item; 0 is the beginning.
    prev: u64,
}

async fn events(
    State(state): State<AppState>,
    caller: Caller,
    Path(room): Path<RoomId>,
    Query(query): Query<EventsQuery>,
) -> Result<Json<Events>, Problem> {
    let limit = query.limit.unwrap_or(LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::invalid("limit", "must be between 1 and 500"));
    }
    let look = state.hub.read(room, &caller.actor()).await?;
    note_read(&state, &caller, "events.read", room).await?;
    let (items, prev) = match (query.after, query.before) {
        (Some(_), Some(_)) => return Err(Problem::invalid("before", "cannot go with after")),
        (Some(after), None) => (forwards(&state, room, &look, after, limit).await?, after),
        (None, before) => backwards(&state, room, &look, before.unwrap_or(u64::MAX), limit).await?,
    };
    let items = items
        .into_iter()
        .map(RawValue::from_string)
        .collect::<Result<_, _>>()
        .map_err(|_| Problem::new(rooms::wire::code::Code::Internal, "a stored event is not JSON"))?;
    Ok(Json(Events { items, head: look.head, prev }))
}

async fn forwards(
    state: &AppState,
    room: RoomId,
    RoomView { view, head, .. }: &RoomView,
    mut after: u64,
    limit: usize,
) -> Result<Vec<String>, Problem> {
    let (mut items, mut size) = (Vec::new(), first(limit));
    loop {
        let page = state.history.events_after(room, after, size, *head).await?;
        let more = page.len() == size as usize;
        size = PAGE;
        for stored in page {
            after = stored.seq;
            if sees_canonical(view, stored.seq, &stored.canonical) {
                items.push(stored.canonical);
                if items.len() == limit {
                    return Ok(items);
                }
            }
        }
        if !more {
            return Ok(items);
        }
    }
}

/// What is read at first: one more than is asked for, which tells what lies before the answer.
fn first(limit: usize) -> u32 {
    u32::try_from(limit + 1).unwrap_or(PAGE)
}

/// Also the number of the visible event before the first one of the answer.
async fn backwards(
    state: &AppState,
    room: RoomId,
    RoomView { view, head, .. }: &RoomView,
    mut before: u64,
    limit: usize,
) -> Result<(Vec<String>, u64), Problem> {
    let (mut items, mut size) = (Vec::new(), first(limit));
    loop {
        let page = state.history.events_before(room, before, size, *head).await?;
        let more = page.len() == size as usize;
        size = PAGE;
        for stored in page.into_iter().rev() {
            before = stored.seq;
            if sees_canonical(view, stored.seq, &stored.canonical) {
                if items.len() == limit {
                    items.reverse();
                    return Ok((items, stored.seq));
                }
                items.push(stored.canonical);
            }
        }
        if !more {
            items.reverse();
            return Ok((items, 0));
        }
    }
}

async fn export(
    State(state): State<AppState>,
    caller: Caller,
    key: IdempotencyKey,
    Path(room): Path<RoomId>,
    Body(purpose): Body<Purpose>,
) -> Result<Response, Problem> {
    submit(&state, &caller, key, room, None, Command::Export(purpose)).await?;
    note_read(&state, &caller, "record.exported", room).await?;
    let export = Export::begin(&state.history, room, state.clock.now()).await?;
    // If the store fails on the way, the file breaks off, and the number of events in its first line tells.
    let pieces = futures_util::stream::try_unfold(export, |mut export| async move {
        Ok::<_, StoreError>(export.next().await?.map(|piece| (piece, export)))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/jsonl".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"record-{room}.jsonl\"")),
    ];
    Ok((headers, Stream::from_stream(pieces)).into_response())
}
