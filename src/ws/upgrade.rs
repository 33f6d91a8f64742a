//! `GET /v1/ws`: upgrades the request, authenticates the client and starts its session.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use rooms::wire::close::Close;
use rooms::wire::code::Code;

use super::handshake::{Handshake, WEBSOCKET_VERSION};
use super::hello::{AuthenticatedClient, receive_hello};
use super::session::RealtimeSession;
use super::transport::FrameTransport;
use crate::auth::Claims;
use crate::hub::connection::{Connection, ConnectionPermit};
use crate::web::{AppState, Problem};

/// Upgrades to a WebSocket. Clients may send their token in the `Authorization` header; browsers send it in `hello`.
pub async fn upgrade(State(state): State<AppState>, mut request: Request) -> Response {
    state.hub.connect_queue().wait_turn().await;
    if let Err(problem) = state.origin_allowed(request.headers()) {
        return problem.into_response();
    }
    let header_claims = match state.auth.bearer(request.headers(), state.clock.now()) {
        Ok(claims) => claims,
        Err(error) => return Problem::from(error).into_response(),
    };
    let handshake = match Handshake::of(&mut request) {
        Ok(handshake) => handshake,
        // The RFC requires the response to name the supported version.
        Err(problem) => return ([(header::SEC_WEBSOCKET_VERSION, WEBSOCKET_VERSION)], problem).into_response(),
    };
    if state.hub.is_stopping() {
        return Problem::new(Code::Unavailable, "the hub is stopping; connect again").into_response();
    }
    let Some(permit) = request.extensions_mut().remove::<ConnectionPermit>() else {
        return Problem::new(
            Code::Unavailable,
            "the hub has reached its maximum number of connections; connect again later",
        )
        .into_response();
    };
    let (response, socket) = handshake.accept();
    permit.sockets().spawn(async move {
        let _permit = permit;
        // Boxed, so that an established connection keeps no space for its opening.
        let session = Box::pin(async move {
            match socket.await {
                Some(socket) => open_session(state, socket, header_claims).await,
                None => None,
            }
        });
        if let Some(session) = session.await {
            session.run().await;
        }
    });
    response
}

/// Authenticates and serves one client over any transport.
pub async fn serve<T: FrameTransport>(state: AppState, transport: T, header_claims: Option<Claims>) {
    if let Some(session) = Box::pin(open_session(state, transport, header_claims)).await {
        session.run().await;
    }
}

/// Authenticates a client and registers its connection. Closes the transport and returns `None` if the hub rejects it.
async fn open_session<T: FrameTransport>(
    state: AppState,
    mut transport: T,
    header_claims: Option<Claims>,
) -> Option<Box<RealtimeSession<T>>> {
    let AuthenticatedClient { claims, replaces } = match receive_hello(&mut transport, &state, header_claims).await {
        Ok(client) => client,
        Err(why) => {
            transport.close(why).await;
            return None;
        }
    };
    let connections = state.hub.connections();
    if connections.len() >= state.config.limits.connections {
        transport.close(Close::Overloaded).await;
        return None;
    }
    if let Some(former) = replaces {
        state.hub.replace(former, claims.session);
    }
    let id = state.clock.fresh_id();
    let max_queue_bytes = state.config.limits.outbox_bytes;
    let connection = Arc::new(Connection::new(id, claims.session, claims.user, claims.actor(), max_queue_bytes));
    connections.insert(connection.clone());
    // Check again now that the connection is registered: since the token was verified, it may have been revoked, or
    // the hub may have begun to stop.
    if state.auth.is_revoked(&claims) {
        connection.send_queue.close(Close::Revoked);
    }
    if state.hub.is_stopping() {
        connection.send_queue.close(Close::Restart);
    }
    Some(Box::new(RealtimeSession::new(state.hub, state.auth, state.clock, transport, connection, &claims)))
}
