//! Reads a room's log in both directions, and exports the whole record.

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
use crate::http::commands::submit;
use crate::http::middleware::idempotency::IdempotencyKey;
use crate::http::operation::{Operation, Tag, get, post};
use crate::hub::room::RoomView;
use crate::store::StoreError;
use crate::web::extract::{Body, Path, Query};
use crate::web::{AppState, Problem};

/// Events per response if the caller sets no limit.
const DEFAULT_EVENTS: usize = 100;
/// The most events per response.
const MAX_EVENTS: usize = 500;
/// Events per query, once the first query did not return enough visible events.
const EVENTS_PER_QUERY: u32 = 500;

pub fn operations() -> Vec<Operation> {
    vec![
        get("/v1/rooms/{room}/events", "listEvents", events)
            .for_guests_too()
            .about(Tag::Records, "Reads the events of a room's log that the caller may see, forwards or backwards")
            .query::<EventsQuery>()
            .answers::<Events>(200, "Events in ascending order of `seq`."),
        post("/v1/rooms/{room}/export", "exportRecord", export)
            .without_cached_response()
            .for_roles(&[Role::Patient, Role::Doctor, Role::Admin])
            .about(Tag::Records, "Exports the whole record; the export itself becomes an event of the record")
            .body::<Purpose>()
            .answers_as(200, "A manifest and the events, one JSON object per line.", "application/jsonl")
            .submits(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    /// Returns the first events after this `seq`; 0 starts at the beginning.
    after: Option<u64>,
    /// Returns the last events before this `seq`. Without `after` and `before`: the last events of the log.
    before: Option<u64>,
    /// Events per response, 1 to 500; 100 if absent.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<usize>,
}

#[derive(Serialize, JsonSchema)]
struct Events {
    #[schemars(with = "Vec<rooms::record::Record>")]
    items: Vec<Box<RawValue>>,
    /// The number of the room's last event that is visible to the caller.
    head: u64,
    /// The caller can see no event between this number and the first item, both excluded; 0 is the beginning.
    prev: u64,
}

async fn events(
    State(state): State<AppState>,
    caller: Caller,
    Path(room): Path<RoomId>,
    Query(query): Query<EventsQuery>,
) -> Result<Json<Events>, Problem> {
    let limit = query.limit.unwrap_or(DEFAULT_EVENTS);
    if !(1..=MAX_EVENTS).contains(&limit) {
        return Err(Problem::invalid("limit", "must be between 1 and 500"));
    }
    let room_view = state.hub.view(room, &caller.actor(), "events.read").await?;
    let (items, prev) = match (query.after, query.before) {
        (Some(_), Some(_)) => {
            return Err(Problem::invalid("before", "cannot be combined with after; send one of them"));
        }
        (Some(after), None) => (forwards(&state, room, &room_view, after, limit).await?, after),
        (None, before) => backwards(&state, room, &room_view, before.unwrap_or(u64::MAX), limit).await?,
    };
    let items = items
        .into_iter()
        .map(RawValue::from_string)
        .collect::<Result<_, _>>()
        .map_err(|_| Problem::new(rooms::wire::code::Code::Internal, "a stored event is not JSON"))?;
    Ok(Json(Events { items, head: room_view.head, prev }))
}

async fn forwards(
    state: &AppState,
    room: RoomId,
    RoomView { view, head, .. }: &RoomView,
    mut after: u64,
    limit: usize,
) -> Result<Vec<String>, Problem> {
    let (mut items, mut size) = (Vec::new(), first_query_size(limit));
    loop {
        let page = state.history.events_after(room, after, size, *head).await?;
        let may_have_more = page.len() == size as usize;
        size = EVENTS_PER_QUERY;
        for stored in page {
            after = stored.seq;
            if sees_canonical(view, stored.seq, &stored.canonical) {
                items.push(stored.canonical);
                if items.len() == limit {
                    return Ok(items);
                }
            }
        }
        if !may_have_more {
            return Ok(items);
        }
    }
}

/// Returns the size of the first query: one more than the limit, to learn whether events remain.
fn first_query_size(limit: usize) -> u32 {
    u32::try_from(limit + 1).unwrap_or(EVENTS_PER_QUERY)
}

/// Returns the events, and the number of the last visible event before them.
async fn backwards(
    state: &AppState,
    room: RoomId,
    RoomView { view, head, .. }: &RoomView,
    mut before: u64,
    limit: usize,
) -> Result<(Vec<String>, u64), Problem> {
    let (mut items, mut size) = (Vec::new(), first_query_size(limit));
    loop {
        let page = state.history.events_before(room, before, size, *head).await?;
        let may_have_more = page.len() == size as usize;
        size = EVENTS_PER_QUERY;
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
        if !may_have_more {
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
    state.hub.view(room, &caller.actor(), "record.exported").await?;
    let export = Export::begin(&state.history, room, state.clock.now()).await?;
    // If the store fails midway, the file ends early; the number of events in its first line reveals that.
    let chunks = futures_util::stream::try_unfold(export, |mut export| async move {
        Ok::<_, StoreError>(export.next().await?.map(|chunk| (chunk, export)))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/jsonl".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"record-{room}.jsonl\"")),
    ];
    Ok((headers, Stream::from_stream(chunks)).into_response())
}
