//! A client for partners' HTTP APIs, with a time limit and a size limit for answers.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::outcome::Outcome;
use crate::clock::Clock;
use crate::config::BaseUrl;
use crate::egress::{self, Egress};
use crate::store::StoreError;

/// How long a whole call may take. Shorter than the attempt timeout, so that the recorded error names the cause.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);
/// Bytes of an answer. Real ones have a few hundred.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Why a partner did not fulfil a request. Contains nothing of the request or the answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartnerError {
    /// The same call may succeed later, not before `after` if the partner named a delay. It may have taken effect.
    #[error("{why}")]
    Retryable { why: String, after: Option<Duration> },
    /// The partner works, and will never fulfil this request.
    #[error("{0}")]
    Refused(String),
    /// The same call may succeed later, and the obstacle is not the partner.
    #[error("{0}")]
    Postponed(String),
    /// The request itself is at fault; the partner was not asked.
    #[error("{0}")]
    Unsendable(String),
}

impl PartnerError {
    /// Returns a retryable error without a delay.
    pub fn retryable(why: impl Into<String>) -> Self {
        PartnerError::Retryable { why: why.into(), after: None }
    }
}

impl From<PartnerError> for Outcome {
    fn from(error: PartnerError) -> Self {
        match error {
            PartnerError::Retryable { why, after } => Outcome::retry(why).not_before(after),
            PartnerError::Refused(why) => Outcome::refused(why).answered(),
            PartnerError::Postponed(why) => Outcome::postponed(why),
            PartnerError::Unsendable(why) => Outcome::refused(why),
        }
    }
}

impl From<StoreError> for PartnerError {
    fn from(error: StoreError) -> Self {
        PartnerError::Postponed(error.to_string())
    }
}

/// The body of a request.
pub enum RequestBody {
    Empty,
    /// `application/x-www-form-urlencoded`, already encoded.
    Form(String),
    Json(Vec<u8>),
}

/// A client of one partner's API.
#[derive(Clone, Debug)]
pub struct PartnerClient {
    http: reqwest::Client,
    clock: Clock,
    base: BaseUrl,
    key: SecretString,
}

impl PartnerClient {
    /// `base`: the URL of the API; `key`: its bearer token.
    pub fn new(egress: &Egress, clock: Clock, base: BaseUrl, key: SecretString) -> Self {
        Self { http: egress.configured().clone(), clock, base, key }
    }

    /// Calls `path`, which begins with a slash. `key` is the idempotency key.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        key: Option<Uuid>,
        body: RequestBody,
    ) -> Result<T, PartnerError> {
        let url = format!("{}{path}", self.base);
        let mut request = self.http.request(method, url).timeout(CALL_TIMEOUT).bearer_auth(self.key.expose_secret());
        if let Some(key) = key {
            request = request.header("idempotency-key", key.to_string());
        }
        request = match body {
            RequestBody::Empty => request,
            RequestBody::Form(text) => request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(text),
            RequestBody::Json(bytes) => request.header(CONTENT_TYPE, "application/json").body(bytes),
        };
        let mut response = request.send().await.map_err(|error| network_error(&error))?;
        let status = response.status();
        if !status.is_success() {
            let after = egress::retry_after(response.headers(), self.clock.now());
            return Err(status_error(status.as_u16(), after));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| network_error(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(PartnerError::retryable("the partner's answer is too large"));
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body)
            .map_err(|_| PartnerError::retryable("the partner's answer does not match its API"))
    }
}

fn network_error(error: &reqwest::Error) -> PartnerError {
    PartnerError::retryable(egress::why(error))
}

fn status_error(status: u16, after: Option<Duration>) -> PartnerError {
    let why = format!("the partner answered {status}");
    match status {
        // Still busy with the first call of this key, or too early for this one: other calls may pass.
        409 | 425 => PartnerError::Postponed(why),
        // Too many calls, or a fault of the partner.
        408 | 429 | 500.. => PartnerError::Retryable { why, after },
        _ => PartnerError::Refused(why),
    }
}

/// Checks a partner's identifier, which must be safe in a path.
pub fn reference(id: &str) -> Result<String, PartnerError> {
    let is_valid =
        (1..=100).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if is_valid { Ok(id.to_owned()) } else { Err(PartnerError::retryable("the partner's id is not usable in a path")) }
}
