//! `Idempotency-Key`: a repeated unsafe call takes effect once and gets the first response.
//!
//! Keys are scoped to the caller and the operation. The first call claims its key. While it runs, the hub rejects calls
//! with the same key; afterwards it repeats the stored response. It rejects a different content under the same key.
//! Responses with 5xx or 429 are not stored, so that the client can retry. If a node crashes, another call takes over its
//! claim once it is stale, and creates resources with the ids that the first call would have used.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rooms::id::{CommandId, UserId};
use rooms::record::Hash;
use rooms::refusal::Detail;
use rooms::time::Timestamp;
use rooms::wire::code::Code;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::http::operation::ResponseCache;
use crate::store::idempotency::{KeyState, StoredResponse};
use crate::web::{AppState, Problem};

/// The age at which a claim is stale: its node has crashed, because no call runs that long.
const STALE_CLAIM_AGE: Duration = Duration::from_secs(60);
/// The response headers that are stored.
const STORED_HEADERS: [HeaderName; 3] = [header::CONTENT_TYPE, header::ETAG, header::LOCATION];

/// The current request's key, for its handler.
#[derive(Clone, Copy, Debug)]
pub struct IdempotencyKey {
    /// The id of the command that the call submits: the key itself if it is a UUID.
    pub command: CommandId,
    /// The id of the resource that the call creates: the same for every repetition.
    pub fresh: Uuid,
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        // Missing only if the table's entry requires no key, which is a bug.
        parts.extensions.get::<IdempotencyKey>().copied().ok_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// Runs the request at most once for its key.
pub async fn run_idempotent(
    state: &AppState,
    operation: &'static str,
    user: UserId,
    cache: ResponseCache,
    request: Request,
    next: Next,
) -> Response {
    match try_run(state, operation, user, cache, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn try_run(
    state: &AppState,
    operation: &'static str,
    user: UserId,
    cache: ResponseCache,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let text = key_of(request.headers())?;
    let command = CommandId(rooms::id::parse(&text).unwrap_or_else(|_| Uuid::new_v5(&user.0, text.as_bytes())));
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, state.config.limits.body_bytes)
        .await
        .map_err(|_| Problem::new(Code::TooLarge, "the body must be complete and within the size limit"))?;
    let fresh = state.clock.fresh_id();
    if cache == ResponseCache::NotStored {
        parts.extensions.insert(IdempotencyKey { command, fresh });
        return Ok(next.run(Request::from_parts(parts, Body::from(body))).await);
    }
    let (store, now) = (&state.store, state.clock.now());
    let hash = content_hash(&parts, &body);
    let stale = Timestamp::from_micros(now.micros() - i64::try_from(STALE_CLAIM_AGE.as_micros()).unwrap_or(i64::MAX));
    let fresh = match store.claim_key(user, operation, &text, &hash, fresh, now, stale).await? {
        KeyState::Claimed(fresh) => fresh,
        KeyState::InProgress => {
            let detail = Detail { retry_after_ms: Some(500), ..Detail::default() };
            let sentence = "the first call with this Idempotency-Key is still running; repeat later";
            return Err(Problem::new(Code::InFlight, sentence).with(detail));
        }
        KeyState::BodyMismatch => {
            let sentence = "this Idempotency-Key was used with different content; send a new key";
            return Err(Problem::new(Code::IdConflict, sentence));
        }
        KeyState::Completed(answer) => return Ok(repeat(answer)),
    };
    parts.extensions.insert(IdempotencyKey { command, fresh });
    // The call runs in its own task, so that a client's disconnect does not stop it midway.
    let (owned, request) = (state.clone(), Request::from_parts(parts, Body::from(body)));
    let key = text.clone();
    let run = tokio::spawn(async move {
        let response = next.run(request).await;
        settle(&owned, user, operation, &key, response).await
    });
    match run.await {
        Ok(result) => result,
        Err(_) => {
            tracing::error!(operation, "request handler panicked");
            store.release_key(user, operation, &text).await?;
            Err(Problem::new(Code::Internal, "the hub failed; repeat with the same key"))
        }
    }
}

/// Stores the response, or releases the key if the response is an error of the hub.
async fn settle(
    state: &AppState,
    user: UserId,
    operation: &str,
    key: &str,
    response: Response,
) -> Result<Response, Problem> {
    let status = response.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        state.store.release_key(user, operation, key).await?;
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return Err(Problem::new(Code::Internal, "the response ended early; repeat with the same key"));
    };
    let headers: Vec<(&str, &str)> = STORED_HEADERS
        .iter()
        .filter_map(|name| Some((name.as_str(), parts.headers.get(name)?.to_str().ok()?)))
        .collect();
    let answer = StoredResponse {
        status: status.as_u16(),
        headers: serde_json::to_string(&headers).expect("pairs of strings are JSON"),
        body: body.to_vec(),
    };
    state.store.store_response(user, operation, key, &answer).await?;
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// Rebuilds a stored response.
fn repeat(answer: StoredResponse) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, answer.body).into_response();
    // axum sets a content type of its own; keep only the stored one.
    response.headers_mut().remove(header::CONTENT_TYPE);
    let headers: Vec<(String, String)> = serde_json::from_str(&answer.headers).unwrap_or_default();
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Returns the key from the header, bare or in quotes as the IETF draft has it.
fn key_of(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Err(Problem::new(Code::KeyRequired, "send an Idempotency-Key header, e.g. a fresh UUID"));
    };
    let text = value.to_str().unwrap_or_default().trim();
    let bare = text.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or(text);
    let good = (8..=64).contains(&bare.len()) && bare.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
    match good {
        true => Ok(bare.to_owned()),
        false => {
            Err(Problem::new(Code::Malformed, "an Idempotency-Key has 8 to 64 visible ASCII characters, best a UUID"))
        }
    }
}

/// Hashes the URI, version and body: calls with equal hashes are repetitions.
fn content_hash(parts: &Parts, body: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    let version = parts.headers.get(header::IF_MATCH).map_or(&b""[..], HeaderValue::as_bytes);
    for part in [parts.uri.path().as_bytes(), parts.uri.query().unwrap_or_default().as_bytes(), version, body] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_has_8_to_64_characters_with_or_without_quotes() {
        let key = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("idempotency-key", HeaderValue::from_static(text));
            key_of(&headers)
        };
        assert_eq!(key("\"12345678\"").unwrap(), "12345678");
        assert_eq!(key("12345678").unwrap(), "12345678");
        assert_eq!(key_of(&HeaderMap::new()).unwrap_err().code(), Code::KeyRequired);
        for bad in ["", "1234567", "\"1234567\"", "1234 5678", "1234\"5678"] {
            assert_eq!(key(bad).unwrap_err().code(), Code::Malformed, "{bad}");
        }
        assert!(key("0123456789012345678901234567890123456789012345678901234567890123").is_ok());
        assert!(key("01234567890123456789012345678901234567890123456789012345678901234").is_err());
    }
}
