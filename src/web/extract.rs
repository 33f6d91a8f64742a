//! Extractors for bodies, queries, paths and versions. Each rejects a request with a problem.

use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use rooms::refusal::Detail;
use rooms::wire::code::Code;
use rooms::wire::parse_error::{ParseError, body_error};
use serde::de::DeserializeOwned;
use uuid::Uuid;

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
        let ParseError { code, message, field } = body_error::<T>(bytes, &error);
        Problem::new(code, message).with(Detail { field, ..Detail::default() })
    })
}

/// The query parameters.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let deserializer = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        serde_path_to_error::deserialize(deserializer).map(Self).map_err(|error| query_problem(query, &error))
    }
}

/// Describes a wrong query by the name of its parameter. Names come from the operation's type, so they repeat no input.
fn query_problem(query: &str, error: &serde_path_to_error::Error<serde::de::value::Error>) -> Problem {
    let (name, inner) = (error.path().to_string(), error.inner().to_string());
    if inner.starts_with("unknown field ") || inner.starts_with("duplicate field ") || name == "." {
        return Problem::new(
            Code::Malformed,
            "the query has an unknown or a repeated parameter; /docs lists the valid ones",
        );
    }
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let has_plus = pairs.any(|(key, value)| key == name && value.contains('+'));
    let why = if has_plus {
        "has a wrong value: a + in a query means a space, so write it as %2B"
    } else {
        "has a wrong value; /docs lists its type and bounds"
    };
    Problem::invalid(&name, why).with_code(Code::Malformed)
}

/// The path parameters, which are ids. Ids have one spelling; a text that is not an id in any spelling names no resource.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let raw = RawPathParams::from_request_parts(parts, state).await.map_err(|_| Problem::not_found("resource"))?;
        for (_, text) in &raw {
            if rooms::id::parse(text).is_err() {
                let is_respelled = Uuid::try_parse(text).is_ok();
                let why = "ids in a path must be UUIDs in lower case with hyphens";
                return Err(if is_respelled {
                    Problem::new(Code::Malformed, why)
                } else {
                    Problem::not_found("resource")
                });
            }
        }
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
