//! `GET /v1/ws`: upgrades the request, authenticates the client and starts its session.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use rooms::wire::close::Close;
use rooms::wire::code::Code;

use super::handshake::{Handshake, WEBSOCKET_VERSION};
use super::hello::{AuthenticatedClient, receive_hello};
use super::session::RealtimeSession;
use super::transport::FrameTransport;
use crate::auth::{Claims, ClientInfo, network};
use crate::hub::connection::{ConnectedClient, Connection};
use crate::hub::connection_pool::ConnectionPermit;
use crate::telemetry::security::{self, SecurityEvent};
use crate::web::{AppState, Problem};

/// What the request that opens a connection tells about its client.
pub struct RequestClient {
    /// Those of the request's token, already verified; `None` without a token.
    pub claims: Option<Claims>,
    pub address: IpAddr,
}

/// Upgrades to a WebSocket. Clients may send their token in the `Authorization` header; browsers send it in `hello`.
pub async fn upgrade(
    State(state): State<AppState>,
    Extension(client): Extension<ClientInfo>,
    mut request: Request,
) -> Response {
    state.hub.connect_queue().wait_turn().await;
    if let Err(problem) = state.origin_allowed(request.headers()) {
        security::record(SecurityEvent::OriginRejected, None, Some(client.address), "socket");
        return problem.into_response();
    }
    let header_claims = match state.auth.bearer(request.headers(), state.clock.now()) {
        Ok(claims) => claims,
        Err(error) => {
            security::record(SecurityEvent::TokenRejected, None, Some(client.address), "socket");
            return Problem::from(error).into_response();
        }
    };
    let client = RequestClient { claims: header_claims, address: client.address };
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
        // Boxed, so that an established connection keeps no space for its opening.
        let opening = Box::pin(async {
            match socket.await {
                Some(socket) => open_session(state, socket, client).await,
                None => None,
            }
        });
        let session = tokio::select! {
            session = opening => session,
            () = permit.shed() => None,
        };
        if let Some(session) = session {
            permit.mark_signed_in();
            session.run().await;
        }
    });
    response
}

/// Authenticates and serves one client over any transport.
pub async fn serve<T: FrameTransport>(state: AppState, transport: T, client: RequestClient) {
    if let Some(session) = Box::pin(open_session(state, transport, client)).await {
        session.run().await;
    }
}

/// Authenticates a client and registers its connection. Closes the transport and returns `None` if the hub rejects it.
async fn open_session<T: FrameTransport>(
    state: AppState,
    mut transport: T,
    client: RequestClient,
) -> Option<Box<RealtimeSession<T>>> {
    let address = client.address;
    let AuthenticatedClient { claims, replaces } = match receive_hello(&mut transport, &state, client.claims).await {
        Ok(client) => client,
        Err(why) => {
            if matches!(why, Close::Unauthenticated | Close::Revoked | Close::TokenExpired) {
                security::record(SecurityEvent::TokenRejected, None, Some(address), "hello");
            }
            transport.close(why).await;
            return None;
        }
    };
    let connections = state.hub.connections();
    if let Some(former) = replaces {
        state.hub.replace(former, claims.session);
    }
    let id = state.clock.fresh_id();
    let max_queue_bytes = state.config.limits.outbox_bytes;
    let (session, user, actor) = (claims.session, claims.user, claims.actor());
    let connected = ConnectedClient { session, user, actor, address: network(address) };
    let connection = Arc::new(Connection::new(id, connected, max_queue_bytes));
    if let Err(limit) = connections.insert(connection.clone()) {
        tracing::debug!(?limit, "connection limit reached");
        security::record(SecurityEvent::ConnectionsLimited, Some(user), Some(address), "socket");
        transport.close(Close::Overloaded).await;
        return None;
    }
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
