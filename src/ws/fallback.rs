//! The fallback for networks that break WebSockets: the hub sends frames as server-sent events, clients send theirs by POST.
//!
//! The two are independent: a post has its own response and a stream its own cursors. They may therefore reach different
//! nodes, and a proxy may cut either at any time.

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use futures_util::StreamExt;
use rooms::id::RoomId;
use rooms::refusal::{Detail, Refusal};
use rooms::signal::Mark;
use rooms::wire::client::{ClientFrame, FeedName};
use rooms::wire::code::Code;
use rooms::wire::server::{ErrorFrame, ServerFrame};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::session::{MAX_FEEDS, MAX_ROOMS};
use super::transport::EventStream;
use super::upgrade::{RequestClient, serve};
use crate::auth::{Caller, ClientInfo};
use crate::hub::{Submission, SubmitError};
use crate::web::{AppState, Body as Parsed, Problem};

/// Frames buffered between the session and the response body.
const BODY_BUFFER_FRAMES: usize = 16;
/// Maximum number of frames in one post.
const MAX_FRAMES_PER_POST: usize = 64;

/// The rooms and feeds of a stream.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamRequest {
    /// The rooms to join, each with the client's cursor; at most 64.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub rooms: Vec<JoinRequest>,
    /// The feeds to follow; at most 16.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub feeds: Vec<FeedName>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    pub room: RoomId,
    /// The last `seq` the client has; 0 for none.
    #[serde(default)]
    pub after: u64,
}

/// Frames from the client: `command`, `signal` and `mark`; 1 to 64.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FramesRequest {
    #[schemars(length(min = 1, max = 64))]
    pub frames: Vec<ClientFrame>,
}

/// The answers to the commands, in the order of the commands.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FramesResponse {
    pub frames: Vec<ServerFrame>,
}

/// `POST /v1/stream`: sends server frames as server-sent events until either side ends the stream. A last `close` event
/// carries the reason.
pub async fn stream(
    State(state): State<AppState>,
    Extension(client): Extension<ClientInfo>,
    caller: Caller,
    Parsed(request): Parsed<StreamRequest>,
) -> Result<Response, Problem> {
    if request.rooms.len() > MAX_ROOMS {
        return Err(Problem::invalid("rooms", "must contain at most 64 rooms"));
    }
    if request.feeds.len() > MAX_FEEDS {
        return Err(Problem::invalid("feeds", "must contain at most 16 feeds"));
    }
    let hello = ClientFrame::Hello { token: None, replaces: None };
    let joins = request.rooms.into_iter().map(|join| ClientFrame::Join { room: join.room, after: join.after });
    let feeds = request.feeds.into_iter().map(|feed| ClientFrame::Subscribe { feed });
    let requested = std::iter::once(hello)
        .chain(joins)
        .chain(feeds)
        .map(|frame| serde_json::to_string(&frame).expect("a frame has string keys").into())
        .collect();
    let (sender, mut receiver) = mpsc::channel::<Bytes>(BODY_BUFFER_FRAMES);
    let client = RequestClient { claims: Some(caller.claims), address: client.address };
    tokio::spawn(serve(state, EventStream::new(requested, sender), client));
    let body = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context))
        .map(Ok::<_, std::convert::Infallible>);
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // A proxy that buffers whole responses would never forward a stream.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

/// `POST /v1/frames`: submits commands, signals and marks. Responds once each command is committed or refused.
pub async fn frames(
    State(state): State<AppState>,
    caller: Caller,
    Parsed(request): Parsed<FramesRequest>,
) -> Result<Json<FramesResponse>, Problem> {
    if request.frames.is_empty() {
        return Err(Problem::invalid("frames", "must contain at least one frame"));
    }
    if request.frames.len() > MAX_FRAMES_PER_POST {
        return Err(Problem::new(Code::TooLarge, format!("send at most {MAX_FRAMES_PER_POST} frames in one post")));
    }
    let actor = caller.claims.actor();
    let mut answers = Vec::new();
    for frame in request.frames {
        match frame {
            ClientFrame::Command { id, room, expect, command } => {
                let opens_room = matches!(command, rooms::command::Command::Request(_));
                let submission = Submission { room, actor: actor.clone(), id, command, expect };
                let result =
                    if opens_room { Err(Refusal::Forbidden.into()) } else { state.hub.submit(submission).await };
                answers.push(match result {
                    Ok(done) => ServerFrame::Ack { id, room, first: done.first, last: done.last },
                    Err(error) => ServerFrame::Error(ErrorFrame { id: Some(id), room: Some(room), ..error.frame() }),
                });
            }
            ClientFrame::Signal { room, signal } => state.hub.signal(room, &actor, None, signal),
            ClientFrame::Mark { room, delivered, seen } => state.hub.mark(room, &actor, None, Mark { delivered, seen }),
            other => answers.push(unsupported_frame(&other)),
        }
    }
    Ok(Json(FramesResponse { frames: answers }))
}

/// Returns the error for a frame that belongs in the stream request rather than in a post.
fn unsupported_frame(frame: &ClientFrame) -> ServerFrame {
    let room = match frame {
        ClientFrame::Join { room, .. } | ClientFrame::Leave { room } => Some(*room),
        _ => None,
    };
    let error = SubmitError::from(Refusal::Invalid {
        field: "frames",
        why: "may contain only command, signal and mark frames",
    });
    ServerFrame::Error(ErrorFrame {
        room,
        detail: Detail { field: Some("frames".to_owned()), ..Detail::default() },
        ..error.frame()
    })
}
