//! Extractors for bodies, queries, paths and versions. Each rejects a request with a problem.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use rooms::wire::code::Code;
use rooms::wire::parse_error::parse_error;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// A JSON body. The router limits its length.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = request.headers().get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).is_some_and(|it| {
            it.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
        });
        if !is_json {
            return Err(Problem::new(Code::Malformed, "send a JSON body with Content-Type: application/json"));
        }
        let bytes = bytes::Bytes::from_request(request, state).await.map_err(|rejection| {
            match rejection.into_response().status() {
                StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Code::TooLarge, "the body is too large; send less"),
                _ => Problem::new(Code::Malformed, "the body ended early; send it again"),
            }
        })?;
        parse(&bytes).map(Self)
    }
}

/// Parses JSON. Errors name fields and never contain values.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        let (code, sentence) = parse_error(&error);
        Problem::new(code, sentence)
    })
}

/// The query parameters.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(_) => Err(Problem::new(
                Code::Malformed,
                "the query has an unknown or invalid parameter; /docs lists the valid ones",
            )),
        }
    }
}

/// The path parameters. A path segment that is no valid id answers `not_found`.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(path)) => Ok(Self(path)),
            Err(_) => Err(Problem::not_found("resource")),
        }
    }
}

/// The version in `If-Match`, if the request has one.
pub struct IfMatch(pub Option<u64>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else { return Ok(Self(None)) };
        let version = value.to_str().ok().and_then(|text| {
            let digits = text.trim().strip_prefix('"')?.strip_suffix('"')?;
            digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
        });
        match version {
            Some(version) => Ok(Self(Some(version))),
            None => {
                Err(Problem::new(Code::PreconditionFailed, "If-Match must be one version in quotes, as in ETag: \"7\""))
            }
        }
    }
}

impl IfMatch {
    /// Returns the version, or an error for calls that require one.
    pub fn required(self) -> Result<u64, Problem> {
        self.0.ok_or_else(|| Problem::new(Code::PreconditionRequired, "send If-Match with the version that you change"))
    }
}
