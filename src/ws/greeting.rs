//! A connection before anybody knows whose it is: it may say `hello`, and nothing else.

use std::time::Duration;

use rooms::wire::client::{ClientFrame, Token};
use rooms::wire::close::Close;
use tokio::time::timeout;
use uuid::Uuid;

use super::transport::{Incoming, Transport};
use crate::auth::Claims;
use crate::hub::admission::AdmissionTimeout;
use crate::web::AppState;

/// How long a client may take to say `hello`.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client that has said who it is.
pub struct Greeted {
    pub claims: Claims,
    /// The client's former connection.
    pub replaces: Option<Uuid>,
}

/// Waits for `hello`, and for the client's turn. `known` is the token of the upgrade request's header, already checked.
pub async fn greet<T: Transport>(transport: &mut T, state: &AppState, known: Option<Claims>) -> Result<Greeted, Close> {
    let text = match timeout(PATIENCE, first(transport)).await {
        Ok(Some(text)) => text,
        Ok(None) | Err(_) => return Err(Close::NoHello),
    };
    let Ok(ClientFrame::Hello { token, replaces }) = serde_json::from_str(&text) else {
        return Err(Close::NoHello);
    };
    state.admission.admit(replaces.is_some()).await.map_err(|AdmissionTimeout| Close::Overloaded)?;
    state.hub.connect_queue().wait_turn().await;
    let claims = match (token, known) {
        (Some(Token(token)), _) => state.auth.verify(&token, state.clock.now()).map_err(|error| error.close())?,
        (None, Some(claims)) => claims,
        (None, None) => return Err(Close::Unauthenticated),
    };
    let replaces = replaces.and_then(|name| name.as_str().parse().ok());
    Ok(Greeted { claims, replaces })
}

async fn first<T: Transport>(transport: &mut T) -> Option<tokio_tungstenite::tungstenite::Utf8Bytes> {
    loop {
        match transport.next().await {
            Incoming::Text(text) => return Some(text),
            Incoming::Alive => {}
            Incoming::Foreign | Incoming::End => return None,
        }
    }
}
