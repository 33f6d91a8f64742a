//! What handlers are given: bodies, queries, paths and versions, each with its errors as problems.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use rooms::wire::code::Code;
use rooms::wire::parse_error::parse_error;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// A JSON body. The router limits how long it may be.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = request.headers().get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).is_some_and(|it| {
            it.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
        });
        if !is_json {
            return Err(Problem::new(Code::Malformed, "send a body with the content type application/json"));
        }
        let bytes = bytes::Bytes::from_request(request, state).await.map_err(|rejection| {
            match rejection.into_response().status() {
                StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Code::TooLarge, "the body is larger than allowed"),
                _ => Problem::new(Code::Malformed, "the body broke off"),
            }
        })?;
        parse(&bytes).map(Self)
    }
}

/// JSON, with an error that names fields and never values.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        let (code, sentence) = parse_error(&error);
        Problem::new(code, sentence)
    })
}

/// What stands behind `?`.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(_) => Err(Problem::new(Code::Malformed, "the query has an unknown or a wrong parameter; see /docs")),
        }
    }
}

/// What the path names. What is not even an id names nothing.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(path)) => Ok(Self(path)),
            Err(_) => Err(Problem::not_found("thing")),
        }
    }
}

/// The version of `If-Match`, if there is one.
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
            None => Err(Problem::new(Code::PreconditionFailed, "If-Match must be one version as ETag gave it: \"7\"")),
        }
    }
}

impl IfMatch {
    /// The version, for calls that change nothing without one.
    pub fn required(self) -> Result<u64, Problem> {
        self.0.ok_or_else(|| {
            Problem::new(Code::PreconditionRequired, "send If-Match with the version that the change is about")
        })
    }
}
