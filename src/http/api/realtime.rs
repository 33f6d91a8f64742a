//! The operations of live connections; [`crate::ws`] implements them.

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
            .answers_nothing(101, "The socket is open; the client sends `hello`.")
            .errors(&[Code::Malformed, Code::Unauthenticated, Code::Forbidden, Code::Unavailable]),
        get("/v1/ice-servers", "getIceServers", ice_servers)
            .for_guests_too()
            .about(Tag::Live, "Returns STUN and TURN servers with short-lived credentials, for a check before a call")
            .answers::<Servers>(200, "The servers that a call of this sign-in would use."),
        post("/v1/echo", "startEcho", start_echo)
            .without_key()
            .about(
                Tag::Live,
                "Starts an echo call: the hub sends the received media back after a moment. Lasts up to a minute; one a \
                 minute per person. The hub uses up to 8 UDP candidates with allowed addresses",
            )
            .body::<EchoOffer>()
            .answers::<EchoAnswer>(200, "The answer, with all its candidates.")
            .errors(&[Code::Invalid, Code::RateLimited, Code::Unavailable]),
        post("/v1/stream", "openStream", ws::fallback::stream)
            .without_key()
            .for_guests_too()
            .about(Tag::Live, "Opens a stream of server frames as server-sent events, for networks that break WebSockets")
            .body::<StreamRequest>()
            .answers_as(
                200,
                "Frames, until either side ends the stream; a `close` event gives the reason.",
                "text/event-stream",
            ),
        post("/v1/frames", "sendFrames", ws::fallback::frames)
            .without_key()
            .for_guests_too()
            .about(Tag::Live, "Sends commands, signals and read receipts beside a stream; each command has its own id")
            .body::<FramesRequest>()
            .answers::<FramesResponse>(200, "The answers to the commands, in the order of the commands."),
    ]
}

/// The offer of an echo call.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EchoOffer {
    /// An offer (RFC 8829) with all its candidates: none can follow later. Audio by Opus, video by VP8.
    pub sdp: Sdp,
}

/// The answer of an echo call.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EchoAnswer {
    pub sdp: Sdp,
}

async fn start_echo(
    State(state): State<AppState>,
    caller: Caller,
    Body(offer): Body<EchoOffer>,
) -> Result<Json<EchoAnswer>, Problem> {
    match state.echo.answer(caller.user(), caller.claims.session, &offer.sdp).await {
        Ok(sdp) => Ok(Json(EchoAnswer { sdp })),
        Err(error @ EchoError::UnsupportedOffer) => Err(Problem::invalid("sdp", "").with_sentence(error.to_string())),
        Err(error @ EchoError::TooSoon(wait)) => Err(Problem::limited(wait).with_sentence(error.to_string())),
        Err(error @ EchoError::Busy) => Err(Problem::limited(MAX_ECHO_DURATION).with_sentence(error.to_string())),
        Err(error @ EchoError::Unavailable) => Err(Problem::new(Code::Unavailable, error.to_string())),
    }
}

async fn ice_servers(State(state): State<AppState>, caller: Caller) -> Json<Servers> {
    Json(state.hub.ice_servers(caller.claims.session, caller.user()))
}
