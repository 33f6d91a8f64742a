//! The outermost middleware: request timeout, problem+json for every error, and security headers.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use rooms::wire::code::Code;
use tracing::Instrument;
use uuid::Uuid;

use crate::auth::AuthError;
use crate::config::Config;
use crate::http::static_files;
use crate::web::Problem;
use crate::web::origin::{Verdict, judge};
use crate::web::problem;

/// The time from a request's arrival to the start of its response, including the upload of its body.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The headers of every response, and the configuration that they depend on.
#[derive(Clone)]
pub struct ResponseHeaders {
    config: Arc<Config>,
    fixed: Arc<[(HeaderName, HeaderValue)]>,
}

impl ResponseHeaders {
    pub fn new(config: &Arc<Config>) -> Self {
        let socket = match &config.public_url {
            Some(url) if url.is_https() => format!(" wss://{}", url.authority()),
            Some(url) => format!(" ws://{}", url.authority()),
            // 'self' covers the hub's WebSocket in current browsers; older ones require its URL.
            None => " ws://127.0.0.1:* ws://localhost:*".to_owned(),
        };
        let inline_script = static_files::inline_script_source();
        let policy = format!(
            "default-src 'none'; script-src 'self' {inline_script}; style-src 'self'; img-src 'self' data: blob:; media-src blob:; \
             font-src 'self'; manifest-src 'self'; worker-src 'self'; connect-src 'self'{socket}; base-uri 'none'; \
             object-src 'none'; frame-ancestors 'none'; form-action 'self'"
        );
        let mut fixed = vec![
            (header::CONTENT_SECURITY_POLICY, policy),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
            (header::REFERRER_POLICY, "no-referrer".to_owned()),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin".to_owned()),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin".to_owned()),
            (
                HeaderName::from_static("permissions-policy"),
                "camera=(self), microphone=(self), geolocation=(), payment=(), usb=()".to_owned(),
            ),
        ];
        if config.public_url.as_ref().is_some_and(|url| url.is_https()) {
            fixed.push((header::STRICT_TRANSPORT_SECURITY, "max-age=63072000; includeSubDomains".to_owned()));
        }
        let fixed = fixed
            .into_iter()
            .map(|(name, text)| (name, HeaderValue::try_from(text).expect("checked settings make a header's text")))
            .collect();
        Self { config: config.clone(), fixed }
    }
}

/// Adds the response headers, and answers preflight requests.
pub async fn add_headers(State(headers): State<ResponseHeaders>, request: Request, next: Next) -> Response {
    #[allow(clippy::disallowed_methods, reason = "the id of a log span, which no state depends on")]
    let id = Uuid::now_v7();
    let verdict = judge(&headers.config, request.headers());
    let preflight = is_preflight(&request).then(|| request.headers().clone());
    let span = tracing::info_span!("request", id = %id, method = %request.method(), path = request.uri().path());
    let mut response = match preflight {
        Some(asked) => preflight_answer(&verdict, &asked),
        None => next.run(request).instrument(span).await,
    };
    let set = response.headers_mut();
    for (name, value) in &*headers.fixed {
        set.entry(name).or_insert_with(|| value.clone());
    }
    // Responses are personal and current, unless the handler declares otherwise.
    set.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    set.insert(REQUEST_ID, HeaderValue::try_from(id.to_string()).expect("a UUID is ASCII"));
    if let Verdict::Allowed(origin) = verdict {
        allow(set, origin.as_str());
    }
    response
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Answers a CORS preflight request.
fn preflight_answer(verdict: &Verdict, asked: &HeaderMap) -> Response {
    if !matches!(verdict, Verdict::Allowed(_)) {
        return Problem::new(Code::Forbidden, "this origin is not allowed; ask the operator to configure it")
            .into_response();
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    if let Some(method) = asked.get(header::ACCESS_CONTROL_REQUEST_METHOD) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, method.clone());
    }
    let allowed = "authorization, content-type, idempotency-key, if-match, if-none-match";
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(allowed));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

fn allow(headers: &mut HeaderMap, origin: &str) {
    let Ok(origin) = HeaderValue::from_str(origin) else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("etag, retry-after, x-request-id"));
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin"));
}

/// Turns every failure of the inner layers into a problem: panics, timeouts, and axum's own rejections.
pub async fn convert_errors(request: Request, next: Next) -> Response {
    let run = AssertUnwindSafe(next.run(request)).catch_unwind();
    let response = match tokio::time::timeout(REQUEST_TIMEOUT, run).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            tracing::error!("request handler panicked");
            return Problem::new(Code::Internal, "the hub failed; repeat the call later").into_response();
        }
        Err(_) => {
            return Problem::new(Code::Unavailable, "the request took too long; repeat the call later").into_response();
        }
    };
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || is_problem(&response) {
        return response;
    }
    let problem = match (status, response.extensions().get::<AuthError>()) {
        (_, Some(error)) => Problem::from(*error),
        (StatusCode::UNAUTHORIZED, None) => Problem::new(Code::Unauthenticated, "sign in"),
        (StatusCode::NOT_FOUND, _) => Problem::new(Code::NotFound, "this path does not exist"),
        (StatusCode::METHOD_NOT_ALLOWED, _) => Problem::new(
            Code::MethodNotAllowed,
            "this path does not support this method; the Allow header lists those it supports",
        ),
        (StatusCode::PAYLOAD_TOO_LARGE, _) => Problem::new(Code::TooLarge, "the body exceeds the size limit"),
        (status, _) if status.is_client_error() => {
            Problem::new(Code::Malformed, "the request does not match what this path expects")
        }
        _ => Problem::new(Code::Internal, "the hub failed"),
    };
    let allow = response.headers().get(header::ALLOW).cloned();
    let mut response = problem.into_response();
    if let Some(methods) = allow {
        response.headers_mut().insert(header::ALLOW, methods);
    }
    response
}

fn is_problem(response: &Response) -> bool {
    response.headers().get(header::CONTENT_TYPE).is_some_and(|it| it.as_bytes() == problem::CONTENT_TYPE.as_bytes())
}
