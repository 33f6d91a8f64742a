//! The operations of the live connections; what they do is in [`crate::ws`].

use axum::Json;
use axum::extract::State;
use rooms::sdp::Sdp;
use rooms::wire::call::Servers;
use rooms::wire::code::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::Caller;
use crate::echo::{EchoError, MAX_ECHO_DURATION};
use crate::http::operation::{Operation, Tag, get, post};
use crate::web::{AppState, Body, Problem};
use crate::ws;
use crate::ws::fallback::{FramesRequest, FramesResponse, StreamRequest};

pub fn operations() -> Vec<Operation> {
    vec![
        get("/v1/ws", "openSocket", ws::upgrade)
            .for_anyone()
            .about(
                Tag::Live,
                "Upgrades to a WebSocket of the subprotocol wardroom.v1; the AsyncAPI document describes it",
            )
            .answers_nothing(101, "The socket is open; the client says hello.")
            .errors(&[Code::Malformed, Code::Unauthenticated, Code::Forbidden, Code::Unavailable]),
        get("/v1/ice-servers", "getIceServers", ice_servers)
            .for_guests_too()
            .about(Tag::Live, "STUN and TURN servers with credentials for a few minutes, for a check before a call")
            .answers::<Servers>(200, "The servers, as a call of this sign-in would get them."),
        post("/v1/echo", "startEcho", start_echo)
            .without_key()
            .for_guests_too()
            .about(
                Tag::Live,
                "Calls the hub itself, which sends back what it gets a moment later; for up to a minute, and one at a \
                 time for each sign-in",
            )
            .body::<EchoOffer>()
            .answers::<EchoAnswer>(200, "The answer, with all its candidates.")
            .errors(&[Code::Invalid, Code::RateLimited, Code::Unavailable]),
        post("/v1/stream", "openStream", ws::fallback::stream)
            .without_key()
            .for_guests_too()
            .about(Tag::Live, "Server frames as server-sent events, for networks that break WebSockets")
            .body::<StreamRequest>()
            .answers_as(
                200,
                "Frames, until either side ends the stream; a `close` event says why.",
                "text/event-stream",
            ),
        post("/v1/frames", "sendFrames", ws::fallback::frames)
            .without_key()
            .for_guests_too()
            .about(Tag::Live, "Commands, signals and marks beside a stream; each command has its own id")
            .body::<FramesRequest>()
            .answers::<FramesResponse>(200, "The answers to the commands, in their order."),
    ]
}

/// A call to the echo.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EchoOffer {
    /// An offer (RFC 8829) that has its candidates already: none can be told later. Sound by Opus, pictures by VP8.
    pub sdp: Sdp,
}

/// What the echo answers.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EchoAnswer {
    pub sdp: Sdp,
}

async fn start_echo(
    State(state): State<AppState>,
    caller: Caller,
    Body(offer): Body<EchoOffer>,
) -> Result<Json<EchoAnswer>, Problem> {
    match state.echo.answer(caller.claims.session, &offer.sdp).await {
        Ok(sdp) => Ok(Json(EchoAnswer { sdp })),
        Err(error @ EchoError::UnsupportedOffer) => Err(Problem::new(Code::Invalid, error.to_string())),
        Err(error @ EchoError::Busy) => Err(Problem::limited(MAX_ECHO_DURATION).saying(error.to_string())),
        Err(error @ EchoError::Unavailable) => Err(Problem::new(Code::Unavailable, error.to_string())),
    }
}

async fn ice_servers(State(state): State<AppState>, caller: Caller) -> Json<Servers> {
    Json(state.hub.ice_servers(caller.claims.session))
}
