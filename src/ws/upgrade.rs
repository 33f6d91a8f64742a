//! `GET /v1/ws`: from a request to a session.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use rooms::wire::close::Close;
use rooms::wire::code::Code;

use super::greeting::{Greeted, greet};
use super::handshake::{Handshake, VERSION};
use super::session::Session;
use super::transport::Transport;
use crate::auth::Claims;
use crate::hub::connection::{Connection, ConnectionPermit};
use crate::web::{AppState, Problem};

/// Upgrades to a WebSocket. The token may come in the `Authorization` header; browsers send it in the first frame.
pub async fn upgrade(State(state): State<AppState>, mut request: Request) -> Response {
    state.hub.connect_queue().wait_turn().await;
    if let Err(problem) = state.origin_allowed(request.headers()) {
        return problem.into_response();
    }
    let known = match state.auth.bearer(request.headers(), state.clock.now()) {
        Ok(known) => known,
        Err(error) => return Problem::from(error).into_response(),
    };
    let handshake = match Handshake::of(&mut request) {
        Ok(handshake) => handshake,
        // With what is spoken here, as the RFC asks.
        Err(problem) => return ([(header::SEC_WEBSOCKET_VERSION, VERSION)], problem).into_response(),
    };
    if state.hub.is_stopping() {
        return Problem::new(Code::Unavailable, "the hub is stopping; connect again").into_response();
    }
    let Some(seat) = request.extensions_mut().remove::<ConnectionPermit>() else {
        return Problem::new(Code::Unavailable, "no place is left for a socket").into_response();
    };
    let (response, socket) = handshake.agree();
    seat.sockets().spawn(async move {
        let _seat = seat;
        // Boxed, so that a connection keeps no space for how it began.
        let session = Box::pin(async move {
            match socket.await {
                Some(socket) => begin(state, socket, known).await,
                None => None,
            }
        });
        if let Some(session) = session.await {
            session.run().await;
        }
    });
    response
}

/// Greets and serves one client, over whichever transport it came.
pub async fn serve<T: Transport>(state: AppState, transport: T, known: Option<Claims>) {
    if let Some(session) = Box::pin(begin(state, transport, known)).await {
        session.run().await;
    }
}

/// Greets a client; none if it was turned away.
async fn begin<T: Transport>(state: AppState, mut transport: T, known: Option<Claims>) -> Option<Box<Session<T>>> {
    let greeted = greet(&mut transport, &state, known).await;
    let Greeted { claims, replaces } = match greeted {
        Ok(greeted) => greeted,
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
    let outbox = state.config.limits.outbox_bytes;
    let connection = Arc::new(Connection::new(id, claims.session, claims.user, claims.actor(), outbox));
    connections.insert(connection.clone());
    // Between the check of the token and the insertion a revocation may have passed by.
    if state.auth.is_revoked(&claims) {
        connection.send_queue.close(Close::Revoked);
    }
    // The same with the hub's end.
    if state.hub.is_stopping() {
        connection.send_queue.close(Close::Restart);
    }
    Some(Box::new(Session::new(state.hub, state.auth, state.clock, transport, connection, &claims)))
}
