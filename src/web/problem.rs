//! Errors as `application/problem+json` (RFC 9457), with the same codes as on WebSockets.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rooms::refusal::{Detail, Refusal};
use rooms::wire::code::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::{AccountError, AuthError, SignInError};
use crate::config::edge::HASHING_RETRY_AFTER;
use crate::hub::SubmitError;
use crate::store::StoreError;

pub const CONTENT_TYPE: &str = "application/problem+json";

/// The error of a call. Never contains values from the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    sentence: String,
    /// Boxed, so that a `Result` with a problem stays small.
    detail: Box<Detail>,
}

/// The body of a problem response.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub struct ProblemBody {
    /// Where the code is explained.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the code means, the same for every problem of this code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    pub code: Code,
    /// A sentence for people, in English.
    pub detail: String,
    /// Whether the same call may succeed later without a change.
    pub retryable: bool,
    #[serde(flatten)]
    pub more: Detail,
}

impl Problem {
    pub fn new(code: Code, sentence: impl Into<String>) -> Self {
        Self { code, sentence: sentence.into(), detail: Box::default() }
    }

    /// Creates the problem of a field that breaks a rule.
    pub fn invalid(field: &str, why: &str) -> Self {
        let detail = Detail { field: Some(field.to_owned()), ..Detail::default() };
        Self::new(Code::Invalid, format!("{field} {why}")).with(detail)
    }

    /// Creates the problem of a resource that does not exist or that the caller may not see.
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no such {what}, or you may not see it"))
    }

    /// Creates the problem of a caller who must wait before the next attempt.
    pub fn limited(wait: Duration) -> Self {
        let retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        let detail = Detail { retry_after_ms: Some(retry_after_ms), ..Detail::default() };
        Self::new(Code::RateLimited, "too many requests; repeat after the time in Retry-After").with(detail)
    }

    pub fn with(self, detail: Detail) -> Self {
        Self { detail: Box::new(detail), ..self }
    }

    /// Replaces the sentence.
    pub fn with_sentence(self, sentence: String) -> Self {
        Self { sentence, ..self }
    }

    /// Replaces the code.
    pub fn with_code(self, code: Code) -> Self {
        Self { code, ..self }
    }

    pub fn code(&self) -> Code {
        self.code
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let meaning = self.code.meaning();
        let title = meaning.split_once(['.', ';', ':']).map_or(meaning, |(first, _)| first);
        let retry_after = self.detail.retry_after_ms;
        let body = ProblemBody {
            kind: format!("/docs#code-{}", self.code.as_str()),
            title: title.to_owned(),
            status: status.as_u16(),
            code: self.code,
            detail: self.sentence,
            retryable: self.code.retryable(),
            more: *self.detail,
        };
        let text = serde_json::to_vec(&body).expect("a problem has string keys");
        let mut response = (status, text).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(milliseconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(milliseconds.div_ceil(1000)));
        }
        response
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        Self::new(error.code(), error.to_string()).with(error.detail())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::from(SubmitError::from(refusal))
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "request failed: storage error");
        let code = match error {
            StoreError::Unavailable(_) | StoreError::Serialization(_) => Code::Unavailable,
            StoreError::Full(_) => Code::StorageFull,
            StoreError::Unexpected(_) | StoreError::Config(_) => Code::Internal,
        };
        let detail = Detail { retry_after_ms: Some(1_000), ..Detail::default() };
        Self::new(code, "the hub cannot do this at the moment; repeat the call with the same Idempotency-Key")
            .with(detail)
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        Self::new(Code::Unauthenticated, error.to_string())
    }
}

impl From<SignInError> for Problem {
    fn from(error: SignInError) -> Self {
        let code = match error {
            SignInError::BadCredentials => Code::BadCredentials,
            SignInError::Pending | SignInError::Disabled => Code::AccountInactive,
            SignInError::Ended => Code::Unauthenticated,
            SignInError::RateLimited(wait) => return Self::limited(wait),
            SignInError::Busy(_) => return Self::limited(HASHING_RETRY_AFTER).with_sentence(error.to_string()),
            SignInError::Store(error) => return Self::from(error),
        };
        Self::new(code, error.to_string())
    }
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        let code = match error {
            AccountError::Invalid { field, why } => return Self::invalid(field, &why),
            AccountError::EmailTaken => Code::EmailTaken,
            AccountError::NotFound => Code::NotFound,
            AccountError::OwnRights => Code::Forbidden,
            AccountError::Outdated => Code::PreconditionFailed,
            AccountError::Busy(_) => return Self::limited(HASHING_RETRY_AFTER).with_sentence(error.to_string()),
            AccountError::Store(error) => return Self::from(error),
        };
        Self::new(code, error.to_string())
    }
}
