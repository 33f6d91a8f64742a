//! How a partner's HTTP API is called: within eight seconds, without redirects, and never reading more than is sensible.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Method, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::Outcome;
use crate::config::BaseUrl;
use crate::store::StoreError;

/// How long a partner may take for a whole answer: less than an attempt may take, so that what went wrong is known.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Bytes of an answer; a partner's answers are a few hundred.
const MAX_ANSWER: usize = 64 * 1024;
/// The longest that a partner may put off the next attempt.
const MAX_WAIT: Duration = Duration::from_secs(3600);

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
    base: BaseUrl,
    key: SecretString,
}

impl Partner {
    /// `base`: where its API is; `key`: sent as a bearer token.
    pub fn new(base: BaseUrl, key: SecretString) -> Self {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("wardroom/", env!("CARGO_PKG_VERSION")))
            .build()
            .expect("a client can be made once a TLS provider is installed");
        Self { http, base, key }
    }

    /// Calls `path`, which begins with a slash; `key` tells the partner a repetition.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        key: Option<Uuid>,
        content: Content,
    ) -> Result<T, Failure> {
        let mut request =
            self.http.request(method, format!("{}{path}", self.base)).bearer_auth(self.key.expose_secret());
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
            return Err(refusal(status.as_u16(), response.headers()));
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

/// The kind of a transport error, without the address that its text has in it.
fn broken(error: &reqwest::Error) -> Failure {
    let why = match () {
        () if error.is_timeout() => "the partner gave no answer in time",
        () if error.is_connect() => "the partner cannot be reached",
        () => "the connection to the partner broke off",
    };
    Failure::later(why)
}

fn refusal(status: u16, headers: &HeaderMap) -> Failure {
    let why = format!("the partner answered {status}");
    match status {
        // Busy with the first call of this key, too early, too many; and whatever is the partner's own fault.
        408 | 409 | 425 | 429 | 500.. => Failure::Later { why, after: retry_after(headers) },
        _ => Failure::Refused(why),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_WAIT))
}

/// A partner's name for something, which must be safe in a path.
pub fn reference(id: &str) -> Result<String, Failure> {
    let good = (1..=100).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if good { Ok(id.to_owned()) } else { Err(Failure::later("the partner's id is none")) }
}
