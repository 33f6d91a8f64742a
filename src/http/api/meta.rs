//! Operations for machines: health, readiness, metrics, signing keys, and the API documents.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use rooms::wire::code::Code;
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::bus::BusState;
use crate::http::operation::{Operation, Tag, get};
use crate::http::{documents, static_files};
use crate::store::dispatches::{DispatchState, Sink};
use crate::telemetry::metrics::{ScrapedValues, SinkValues, render};
use crate::web::{AppState, Problem};

/// How long a probe or a scrape waits for the store. After this time the hub reports that it is not ready.
const STORE_PROBE_TIMEOUT: Duration = Duration::from_secs(2);

pub fn operations() -> Vec<Operation> {
    vec![
        get("/healthz", "isAlive", health)
            .for_anyone()
            .about(Tag::Service, "Reports that the process is running; checks nothing else")
            .answers::<Health>(200, "The process is running."),
        get("/readyz", "isReady", readiness)
            .for_anyone()
            .about(Tag::Service, "Reports whether the hub can serve requests: its store responds, and it is not draining")
            .answers::<Readiness>(
                200,
                "The hub can serve requests. While `bus` is `degraded` it can, too, but events of other nodes arrive later.",
            ),
        get("/metrics", "getMetrics", metrics)
            .for_anyone()
            .about(
                Tag::Service,
                "Returns metrics for Prometheus; needs the token set as `metrics.token`, or without one a loopback address",
            )
            .answers_as(200, "Prometheus text format, version 0.0.4.", "text/plain")
            .errors(&[Code::Unauthenticated, Code::NotFound]),
        get("/.well-known/jwks.json", "getKeys", keys)
            .for_anyone()
            .about(Tag::Service, "Returns the public keys (ES256) for services that verify access tokens")
            .answers_as(200, "A JSON Web Key Set (RFC 7517).", "application/json"),
        get("/openapi.json", "getOpenApi", openapi_document)
            .for_anyone()
            .about(Tag::Service, "Returns this document")
            .answers_as(200, "An OpenAPI 3.1 document.", "application/json"),
        get("/asyncapi.json", "getAsyncApi", asyncapi_document)
            .for_anyone()
            .about(Tag::Service, "Returns the description of the WebSocket frames")
            .answers_as(200, "An AsyncAPI 3.0 document.", "application/json"),
        get("/docs", "getDocs", docs)
            .for_anyone()
            .about(Tag::Service, "Shows this document as a web page")
            .answers_as(200, "An HTML page.", "text/html"),
    ]
}

#[derive(Serialize, JsonSchema)]
struct Health {
    status: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct Readiness {
    status: &'static str,
    /// The connection to the other nodes: `local` (single node), `connected`, or `degraded`.
    bus: &'static str,
    /// Whether the hub understands the client addresses that the proxy sends: `ok`, or `unreadable` since the start.
    forwarded_for: &'static str,
}

async fn health() -> Json<Health> {
    Json(Health { status: "ok" })
}

async fn readiness(State(state): State<AppState>) -> Result<Json<Readiness>, Problem> {
    if state.hub.is_stopping() {
        return Err(Problem::new(Code::Unavailable, "this node is stopping; repeat the call later or on another node"));
    }
    let forwarded_for = if state.client_addresses.has_unreadable() { "unreadable" } else { "ok" };
    match tokio::time::timeout(STORE_PROBE_TIMEOUT, state.store.ping()).await {
        Ok(Ok(())) => Ok(Json(Readiness { status: "ok", bus: state.hub.bus().state().as_str(), forwarded_for })),
        Ok(Err(_)) | Err(_) => {
            Err(Problem::new(Code::Unavailable, "the store does not respond; repeat the call later"))
        }
    }
}

async fn metrics(
    State(state): State<AppState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let sent = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok()?.strip_prefix("Bearer "));
    let is_allowed = match (&state.config.metrics_token, sent) {
        (Some(token), Some(sent)) => secrets_match(token.expose_secret(), sent),
        (Some(_), None) => false,
        // Behind a proxy every caller may appear with a loopback address.
        (None, _) => peer.ip().is_loopback() && !state.config.behind_proxy,
    };
    if !is_allowed {
        return Err(Problem::new(
            Code::Unauthenticated,
            "send the token configured as metrics.token in the Authorization header",
        ));
    }
    let values = ScrapedValues {
        connections: state.hub.connections().len(),
        rooms: state.hub.rooms(),
        appends_waiting: state.hub.appends_waiting(),
        arrivals_waiting: state.admission.waiting(),
        bus: state.hub.bus().is_shared().then(|| state.hub.bus().state() == BusState::Connected),
        replica: state.history.replica_reads().map(Vec::from).unwrap_or_default(),
        relay: state.relay.metrics().all(),
        rooms_stuck: state.hub.stuck_rooms().len(),
        sinks: sinks(&state).await,
    };
    let text = render(&values).ok_or_else(|| Problem::not_found("metric"))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}

/// Collects the outbound values of each sink. Returns none if the store does not respond, so that the other metrics stay
/// readable.
async fn sinks(state: &AppState) -> Vec<SinkValues> {
    let Ok(Ok(lanes)) = tokio::time::timeout(STORE_PROBE_TIMEOUT, state.store.lanes()).await else { return Vec::new() };
    let (now, instant) = (state.clock.now(), Instant::now());
    let values = |sink: Sink| {
        let of_sink = || lanes.iter().filter(move |lane| lane.sink == sink);
        let count = |state| of_sink().filter(|lane| lane.state == state).map(|lane| lane.count).sum();
        SinkValues {
            sink: sink.as_str(),
            states: DispatchState::ALL.map(|state| (state.as_str(), count(state))).to_vec(),
            lag: of_sink().filter_map(|lane| lane.due_at).map(|due| now.since(due)).max().unwrap_or_default(),
            breakers_open: state.destinations.open_breakers(sink, instant),
        }
    };
    Sink::ALL.map(values).into()
}

/// Compares two secrets by their hashes, so that the time it takes reveals nothing about the token.
fn secrets_match(one: &str, other: &str) -> bool {
    Sha256::digest(one) == Sha256::digest(other)
}

async fn keys(State(state): State<AppState>) -> Response {
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(state.auth.jwks())).into_response()
}

async fn openapi_document(State(state): State<AppState>, headers: HeaderMap) -> Response {
    documents::serve(&state.documents.openapi, &headers)
}

async fn asyncapi_document(State(state): State<AppState>, headers: HeaderMap) -> Response {
    documents::serve(&state.documents.asyncapi, &headers)
}

async fn docs(method: Method, headers: HeaderMap) -> Response {
    static_files::serve(method, Uri::from_static("/docs.html"), headers).await
}
