//! The server side of the WebSocket opening handshake (RFC 6455, section 4.2).
//!
//! Axum's own upgrade wraps the stream in buffers that make an idle connection cost much more. This one returns the bare
//! TCP stream.

use std::future::Future;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use rooms::wire::SUBPROTOCOL;
use rooms::wire::code::Code;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::socket::Socket;
use crate::web::Problem;
use crate::web::client_stream::ClientStream;

/// The only version of the WebSocket protocol that the RFC defines.
pub const WEBSOCKET_VERSION: HeaderValue = HeaderValue::from_static("13");

/// A validated upgrade request.
pub struct Handshake {
    accept_key: HeaderValue,
    upgrade: OnUpgrade,
}

impl Handshake {
    /// Validates the upgrade headers.
    pub fn of(request: &mut Request) -> Result<Self, Problem> {
        let headers = request.headers();
        let has_token = |name, token| lists_token(headers, name, token);
        if !has_token(header::CONNECTION, "upgrade") || !has_token(header::UPGRADE, "websocket") {
            return Err(malformed(
                "this address serves WebSockets only; send Connection: upgrade and Upgrade: websocket",
            ));
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION) != Some(&WEBSOCKET_VERSION) {
            return Err(malformed("Sec-WebSocket-Version must be 13"));
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
        let Some(key) = key.filter(|key| !key.is_empty()) else {
            return Err(malformed("send a Sec-WebSocket-Key header"));
        };
        if !has_token(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
            return Err(malformed(&format!("Sec-WebSocket-Protocol must offer the subprotocol {SUBPROTOCOL}")));
        }
        let accept_key = HeaderValue::from_str(&derive_accept_key(key)).expect("base64 is a valid header value");
        match request.extensions_mut().remove::<OnUpgrade>() {
            Some(upgrade) => Ok(Self { accept_key, upgrade }),
            None => Err(malformed("WebSockets require HTTP/1.1")),
        }
    }

    /// Returns the response to the request, and a future of the socket, which completes once the response is sent. The
    /// future yields `None` if the client disconnected before.
    pub fn accept(self) -> (Response, impl Future<Output = Option<Socket>> + Send) {
        let headers = [
            (header::CONNECTION, HeaderValue::from_static("upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_ACCEPT, self.accept_key),
            (header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL)),
        ];
        let response = (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response();
        let upgrade = self.upgrade;
        (response, async move {
            let parts = upgrade.await.ok()?.downcast::<TokioIo<ClientStream>>().ok()?;
            Some(Socket::new(parts.io.into_inner().into_inner(), parts.read_buf.to_vec()))
        })
    }
}

fn malformed(why: &str) -> Problem {
    Problem::new(Code::Malformed, why)
}

/// Returns whether a header that may occur several times lists this token, ignoring case.
fn lists_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name);
    let mut tokens = values.iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tokens.any(|listed| listed.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}
