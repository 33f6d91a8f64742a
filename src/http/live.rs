//! The operations of the live connections; what they do is in [`crate::ws`].

use axum::Json;
use axum::extract::State;
use rooms::wire::call::Servers;
use rooms::wire::code::Code;

use super::AppState;
use super::operation::{Operation, Tag, get, post};
use crate::auth::Caller;
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
            .about(Tag::Live, "STUN and TURN servers with credentials for a few minutes, for a check before a call")
            .answers::<Servers>(200, "The servers, as a call of this sign-in would get them."),
        post("/v1/stream", "openStream", ws::fallback::stream)
            .unkeyed()
            .about(Tag::Live, "Server frames as server-sent events, for networks that break WebSockets")
            .body::<StreamRequest>()
            .answers_as(
                200,
                "Frames, until either side ends the stream; a `close` event says why.",
                "text/event-stream",
            ),
        post("/v1/frames", "sendFrames", ws::fallback::frames)
            .unkeyed()
            .about(Tag::Live, "Commands, signals and marks beside a stream; each command has its own id")
            .body::<FramesRequest>()
            .answers::<FramesResponse>(200, "The answers to the commands, in their order."),
    ]
}

async fn ice_servers(State(state): State<AppState>, caller: Caller) -> Json<Servers> {
    Json(state.hub.ice_servers(caller.claims.session))
}
