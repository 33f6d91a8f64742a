//! From a request to a socket (RFC 6455, section 4.2).
//!
//! Done here because the stream itself is needed afterwards: behind the usual wrappers an idle connection costs much more.

use std::future::Future;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use rooms::wire::SUBPROTOCOL;
use rooms::wire::code::Code;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::socket::Socket;
use crate::web::Problem;

/// The version that the RFC defines, and the only one there is.
pub const VERSION: HeaderValue = HeaderValue::from_static("13");

/// A request that may become a socket.
pub struct Handshake {
    accept: HeaderValue,
    upgrade: OnUpgrade,
}

impl Handshake {
    /// Checks what the client asks for.
    pub fn of(request: &mut Request) -> Result<Self, Problem> {
        let headers = request.headers();
        let says = |name, word| lists(headers, name, word);
        if !says(header::CONNECTION, "upgrade") || !says(header::UPGRADE, "websocket") {
            return Err(malformed("this address is for WebSockets: ask for an upgrade to websocket"));
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
            return Err(malformed("the WebSocket's version must be 13"));
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
        let Some(key) = key.filter(|key| !key.is_empty()) else {
            return Err(malformed("Sec-WebSocket-Key is missing"));
        };
        if !says(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
            return Err(malformed(&format!("offer the subprotocol {SUBPROTOCOL}")));
        }
        let accept = HeaderValue::from_str(&derive_accept_key(key)).expect("base64 is a header's value");
        match request.extensions_mut().remove::<OnUpgrade>() {
            Some(upgrade) => Ok(Self { accept, upgrade }),
            None => Err(malformed("a WebSocket needs HTTP/1.1")),
        }
    }

    /// The answer to the request, and the socket that is there when it is sent; none if the client went away.
    pub fn agree(self) -> (Response, impl Future<Output = Option<Socket>> + Send) {
        let headers = [
            (header::CONNECTION, HeaderValue::from_static("upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_ACCEPT, self.accept),
            (header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL)),
        ];
        let response = (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response();
        let upgrade = self.upgrade;
        (response, async move {
            let parts = upgrade.await.ok()?.downcast::<TokioIo<TcpStream>>().ok()?;
            Some(Socket::new(parts.io.into_inner(), parts.read_buf.to_vec()))
        })
    }
}

fn malformed(why: &str) -> Problem {
    Problem::new(Code::Malformed, why)
}

/// Whether a header, which may be there several times, has this word in its list. Case does not matter.
fn lists(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let values = headers.get_all(name);
    let mut words = values.iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    words.any(|listed| listed.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}
