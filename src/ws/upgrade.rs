//! `GET /v1/ws`: from a request to a session.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use rooms::wire::close::Close;
use rooms::wire::code::Code;
use rooms::wire::{MAX_FRAME, SUBPROTOCOL};

use super::greeting::{Greeted, greet};
use super::session::Session;
use super::transport::Transport;
use crate::auth::Claims;
use crate::http::{AppState, Problem};
use crate::hub::connection::Connection;

/// The library's buffers per socket. The defaults are made for bulk and cost over 128 KiB for a connection that idles.
const READ_BUFFER: usize = 4 * 1024;
const WRITE_BUFFER: usize = 4 * 1024;
const MAX_WRITE_BUFFER: usize = 256 * 1024;

/// Upgrades to a WebSocket. The token may come in the `Authorization` header; browsers send it in the first frame.
pub async fn upgrade(State(state): State<AppState>, headers: HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    if let Err(problem) = state.origin_allowed(&headers) {
        return problem.into_response();
    }
    let known = match state.auth.bearer(&headers, state.clock.now()) {
        Ok(known) => known,
        Err(error) => return Problem::from(error).into_response(),
    };
    let upgrade = upgrade.protocols([SUBPROTOCOL]);
    if upgrade.selected_protocol().is_none() {
        return Problem::new(Code::Malformed, format!("offer the subprotocol {SUBPROTOCOL}")).into_response();
    }
    upgrade
        .max_message_size(MAX_FRAME)
        .max_frame_size(MAX_FRAME)
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .on_upgrade(move |socket: WebSocket| serve(state, socket, known))
}

/// Greets and serves one client, over whichever transport it came.
pub async fn serve<T: Transport>(state: AppState, mut transport: T, known: Option<Claims>) {
    let Greeted { claims, replaces } = match greet(&mut transport, &state.auth, &state.clock, known).await {
        Ok(greeted) => greeted,
        Err(why) => return transport.close(why).await,
    };
    let connections = state.hub.connections();
    if connections.len() >= state.config.limits.connections {
        return transport.close(Close::Overloaded).await;
    }
    if let Some(former) = replaces {
        connections.replace(former, claims.session);
    }
    let id = state.clock.fresh_id();
    let outbox = state.config.limits.outbox_bytes;
    let connection = Arc::new(Connection::new(id, claims.session, claims.user, claims.actor(), outbox));
    connections.insert(connection.clone());
    // Between the check of the token and the insertion a revocation may have passed by.
    if state.auth.revoked(&claims) {
        connection.outbox.close(Close::Revoked);
    }
    let (hub, auth, clock) = (state.hub.clone(), state.auth.clone(), state.clock.clone());
    let session = Session::new(hub, auth, clock, transport, connection, claims.expires_at);
    session.run(&claims).await;
}
