//! Submits commands to rooms for REST operations, and reads rooms with the access recorded.

use axum::Json;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use rooms::command::Command;
use rooms::event::Event;
use rooms::id::RoomId;
use rooms::record::Record;
use rooms::room::snapshot::Snapshot;
use rooms::wire::code::Code;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::middleware::idempotency::IdempotencyKey;
use crate::auth::Caller;
use crate::hub::Submission;
use crate::web::{AppState, Problem};

/// A committed command.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Done {
    pub room: RoomId,
    /// `seq` of its first event.
    pub first: u64,
    /// `seq` of its last event.
    pub last: u64,
}

/// Submits a command to its room. `expect` is the version that the caller saw.
pub async fn submit(
    state: &AppState,
    caller: &Caller,
    key: IdempotencyKey,
    room: RoomId,
    expect: Option<u64>,
    command: Command,
) -> Result<Done, Problem> {
    let submission = Submission { room, actor: caller.actor(), id: key.command, command, expect };
    let done = state.hub.submit(submission).await?;
    Ok(Done { room, first: done.first, last: done.last })
}

/// Turns a stale version into HTTP's `precondition_failed`, for versions sent as `If-Match`.
pub fn by_precondition(problem: Problem) -> Problem {
    if problem.code() == Code::StaleVersion { problem.with_code(Code::PreconditionFailed) } else { problem }
}

/// Returns a room's snapshot as visible to the caller. Fails with `not_found` if the caller may see nothing of it.
/// Records the access under the name `action` before.
pub async fn read_room(state: &AppState, caller: &Caller, action: &str, room: RoomId) -> Result<Snapshot, Problem> {
    Ok(state.hub.view(room, &caller.actor(), action).await?.snapshot)
}

/// Returns the committed event at `seq`.
pub async fn event_at(state: &AppState, room: RoomId, seq: u64) -> Result<Event, Problem> {
    let stored = state.store.events_after(room, seq.saturating_sub(1), 1).await?;
    let record = stored.first().and_then(|stored| serde_json::from_str::<Record>(&stored.canonical).ok());
    record.map(|record| record.event).ok_or_else(|| Problem::new(Code::Internal, "the committed event cannot be read"))
}

/// A response with its version as `ETag`: the version that the resource's own actions take as `If-Match`.
pub struct Versioned<T> {
    /// Absent if the caller sees nothing that `If-Match` could name.
    pub version: Option<u64>,
    pub body: T,
}

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.body).into_response();
        if let Some(version) = self.version {
            response.headers_mut().insert(header::ETAG, etag(version));
        }
        response
    }
}

pub fn etag(version: u64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).expect("digits in quotes are a header's text")
}

/// Returns the item with this id, or `not_found` with the resource's name.
pub fn find<T>(items: Vec<T>, id: Uuid, id_of: impl Fn(&T) -> Uuid, resource: &str) -> Result<T, Problem> {
    items.into_iter().find(|item| id_of(item) == id).ok_or_else(|| Problem::not_found(resource))
}
