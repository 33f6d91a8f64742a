//! How a partner's HTTP API is called: within eight seconds, and never reading more than is sensible.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::Outcome;
use crate::clock::Clock;
use crate::config::BaseUrl;
use crate::egress::{self, Egress};
use crate::store::StoreError;

/// How long a partner may take for a whole answer: less than an attempt may take, so that what went wrong is known.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Bytes of an answer; a partner's answers are a few hundred.
const MAX_ANSWER: usize = 64 * 1024;

/// Why a partner did not do what it was asked for. Carries nothing of what was sent or answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The same call may succeed later; the partner may have said when. It may also have taken effect.
    #[error("{why}")]
    Later { why: String, after: Option<Duration> },
    /// The partner will not do it, however often it is asked.
    #[error("{0}")]
    Refused(String),
}

impl Failure {
    /// For later, the partner having named no time.
    pub fn later(why: impl Into<String>) -> Self {
        Failure::Later { why: why.into(), after: None }
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Later { why, after } => Outcome::Retry { after, why },
            Failure::Refused(why) => Outcome::Refused { why },
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::later(error.to_string())
    }
}

/// What is sent.
pub enum Content {
    Nothing,
    /// `application/x-www-form-urlencoded`, encoded already.
    Form(String),
    Json(Vec<u8>),
}

/// A partner's API.
#[derive(Clone, Debug)]
pub struct Partner {
    http: reqwest::Client,
    clock: Clock,
    base: BaseUrl,
    key: SecretString,
}

impl Partner {
    /// `base`: where its API is; `key`: sent as a bearer token.
    pub fn new(egress: &Egress, clock: Clock, base: BaseUrl, key: SecretString) -> Self {
        Self { http: egress.configured().clone(), clock, base, key }
    }

    /// Calls `path`, which begins with a slash; `key` tells the partner a repetition.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        key: Option<Uuid>,
        content: Content,
    ) -> Result<T, Failure> {
        let url = format!("{}{path}", self.base);
        let mut request = self.http.request(method, url).timeout(TIMEOUT).bearer_auth(self.key.expose_secret());
        if let Some(key) = key {
            request = request.header("idempotency-key", key.to_string());
        }
        request = match content {
            Content::Nothing => request,
            Content::Form(text) => request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(text),
            Content::Json(bytes) => request.header(CONTENT_TYPE, "application/json").body(bytes),
        };
        let mut response = request.send().await.map_err(|error| broken(&error))?;
        let status = response.status();
        if !status.is_success() {
            let after = egress::retry_after(response.headers(), self.clock.now());
            return Err(refusal(status.as_u16(), after));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(Failure::later("the partner's answer has no end"));
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map_err(|_| Failure::later("the partner's answer is not what its API says"))
    }
}

fn broken(error: &reqwest::Error) -> Failure {
    Failure::later(egress::why(error))
}

fn refusal(status: u16, after: Option<Duration>) -> Failure {
    let why = format!("the partner answered {status}");
    match status {
        // Busy with the first call of this key, too early, too many; and whatever is the partner's own fault.
        408 | 409 | 425 | 429 | 500.. => Failure::Later { why, after },
        _ => Failure::Refused(why),
    }
}

/// A partner's name for something, which must be safe in a path.
pub fn reference(id: &str) -> Result<String, Failure> {
    let good = (1..=100).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if good { Ok(id.to_owned()) } else { Err(Failure::later("the partner's id is none")) }
}
