//! `Idempotency-Key`: an unsafe call that is sent again takes effect once and gets the first answer.
//!
//! The key belongs to the caller and the operation. The first call claims it; while it runs, others with the same key
//! are told so; when it is done, they get its answer; with another content, they are refused. Answers that only say
//! that the hub could not (5xx, 429) are not kept, so that the call can be tried again. A claim whose hub died is taken
//! over after a while, and what it makes then gets the id that it would have got.

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

/// A claim older than this is of a hub that died: no call runs that long.
const STALE: Duration = Duration::from_secs(60);
/// Headers that belong to an answer.
const KEPT: [HeaderName; 3] = [header::CONTENT_TYPE, header::ETAG, header::LOCATION];

/// The key of the call at hand, for its handler.
#[derive(Clone, Copy, Debug)]
pub struct IdempotencyKey {
    /// The id of the command that the call sends: the key itself, if it is a UUID.
    pub command: CommandId,
    /// The id of what the call makes: the same for every repetition.
    pub fresh: Uuid,
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        // Missing only if the table's entry asks for no key: a mistake of the program.
        parts.extensions.get::<IdempotencyKey>().copied().ok_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// Runs the rest of the call at most once for its key.
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
    let command = CommandId(Uuid::try_parse(&text).unwrap_or_else(|_| Uuid::new_v5(&user.0, text.as_bytes())));
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, state.config.limits.body_bytes)
        .await
        .map_err(|_| Problem::new(Code::TooLarge, "the body is larger than allowed, or broke off"))?;
    let fresh = state.clock.fresh_id();
    if cache == ResponseCache::NotStored {
        parts.extensions.insert(IdempotencyKey { command, fresh });
        return Ok(next.run(Request::from_parts(parts, Body::from(body))).await);
    }
    let (store, now) = (&state.store, state.clock.now());
    let hash = content_hash(&parts, &body);
    let stale = Timestamp::from_micros(now.micros() - i64::try_from(STALE.as_micros()).unwrap_or(i64::MAX));
    let fresh = match store.claim_key(user, operation, &text, &hash, fresh, now, stale).await? {
        KeyState::Claimed(fresh) => fresh,
        KeyState::InProgress => {
            let detail = Detail { retry_after_ms: Some(500), ..Detail::default() };
            let sentence = "the first call with this Idempotency-Key still runs; repeat later";
            return Err(Problem::new(Code::InFlight, sentence).with(detail));
        }
        KeyState::BodyMismatch => {
            let sentence = "this Idempotency-Key was used before with another content; use a fresh one";
            return Err(Problem::new(Code::IdConflict, sentence));
        }
        KeyState::Completed(answer) => return Ok(repeat(answer)),
    };
    parts.extensions.insert(IdempotencyKey { command, fresh });
    // A client that hangs up must not stop half-way what it started: the call goes on by itself.
    let (owned, request) = (state.clone(), Request::from_parts(parts, Body::from(body)));
    let key = text.clone();
    let run = tokio::spawn(async move {
        let response = next.run(request).await;
        settle(&owned, user, operation, &key, response).await
    });
    match run.await {
        Ok(result) => result,
        Err(_) => {
            tracing::error!(operation, "a handler panicked");
            store.release_key(user, operation, &text).await?;
            Err(Problem::new(Code::Internal, "the hub failed; repeat with the same key"))
        }
    }
}

/// Keeps the answer, or forgets the key.
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
        return Err(Problem::new(Code::Internal, "the answer broke off; repeat with the same key"));
    };
    let headers: Vec<(&str, &str)> =
        KEPT.iter().filter_map(|name| Some((name.as_str(), parts.headers.get(name)?.to_str().ok()?))).collect();
    let answer = StoredResponse {
        status: status.as_u16(),
        headers: serde_json::to_string(&headers).expect("pairs of strings are JSON"),
        body: body.to_vec(),
    };
    state.store.store_response(user, operation, key, &answer).await?;
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn repeat(answer: StoredResponse) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, answer.body).into_response();
    // Only what the answer had: axum has put a type of its own there.
    response.headers_mut().remove(header::CONTENT_TYPE);
    let headers: Vec<(String, String)> = serde_json::from_str(&answer.headers).unwrap_or_default();
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The key, bare or quoted as the draft has it.
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

/// What makes two calls the same: address, version and body.
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
    fn a_key_may_be_quoted_and_must_be_of_some_length() {
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
