//! A connection before its client is authenticated: it may send `hello` and nothing else.

use std::time::Duration;

use rooms::wire::client::{ClientFrame, Token};
use rooms::wire::close::Close;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use uuid::Uuid;

use super::transport::{FrameTransport, Incoming};
use crate::auth::Claims;
use crate::config::edge::MAX_MESSAGES_BEFORE_HELLO;
use crate::hub::admission::AdmissionTimeout;
use crate::web::AppState;

/// Maximum time between the opening of a connection and its `hello`.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that has sent `hello` with a valid token.
pub struct AuthenticatedClient {
    pub claims: Claims,
    /// The client's former connection.
    pub replaces: Option<Uuid>,
}

/// Waits for `hello` and for admission, then authenticates the client. `header_claims` are those of the upgrade request's
/// token, already verified; a token in `hello` overrides them.
pub async fn receive_hello<T: FrameTransport>(
    transport: &mut T,
    state: &AppState,
    header_claims: Option<Claims>,
) -> Result<AuthenticatedClient, Close> {
    let Ok(Some(text)) = timeout(HELLO_TIMEOUT, first_text(transport)).await else {
        return Err(Close::NoHello);
    };
    let Ok(ClientFrame::Hello { token, replaces }) = serde_json::from_str(&text) else {
        return Err(Close::NoHello);
    };
    state.admission.admit(replaces.is_some()).await.map_err(|AdmissionTimeout| Close::Overloaded)?;
    state.hub.connect_queue().wait_turn().await;
    let claims = match (token, header_claims) {
        (Some(Token(token)), _) => state.auth.verify(&token, state.clock.now()).map_err(|error| error.close())?,
        (None, Some(claims)) => claims,
        (None, None) => return Err(Close::Unauthenticated),
    };
    let replaces = replaces.and_then(|name| name.as_str().parse().ok());
    Ok(AuthenticatedClient { claims, replaces })
}

async fn first_text<T: FrameTransport>(transport: &mut T) -> Option<Utf8Bytes> {
    for _ in 0..MAX_MESSAGES_BEFORE_HELLO {
        match transport.next().await {
            Incoming::Text(text) => return Some(text),
            Incoming::Keepalive => {}
            Incoming::Unsupported | Incoming::End => return None,
        }
    }
    None
}
