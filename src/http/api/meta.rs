//! What machines ask: whether the hub lives, its keys, and what it can do.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use rooms::wire::code::Code;
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::bus::BusState;
use crate::http::operation::{Operation, Tag, get};
use crate::http::static_files;
use crate::store::dispatches::{DispatchState, Sink};
use crate::telemetry::metrics::{ScrapedValues, SinkValues, render};
use crate::web::{AppState, Problem};

/// How long the store may take to answer before the hub counts as not ready.
const PATIENCE: Duration = Duration::from_secs(2);

pub fn operations() -> Vec<Operation> {
    vec![
        get("/healthz", "isAlive", alive)
            .for_anyone()
            .about(Tag::Service, "Says that the process lives; asks nothing else")
            .answers::<Health>(200, "It lives."),
        get("/readyz", "isReady", ready)
            .for_anyone()
            .about(Tag::Service, "Says whether the hub can serve: its store answers, and it is not stopping")
            .answers::<Readiness>(200, "It can, also while `bus` is `degraded`: other nodes' events come later then."),
        get("/metrics", "getMetrics", metrics)
            .for_anyone()
            .about(
                Tag::Service,
                "What is measured, for Prometheus; with the token of `metrics.token`, or without one from this machine",
            )
            .answers_as(200, "The text format, version 0.0.4.", "text/plain")
            .errors(&[Code::Unauthenticated, Code::NotFound]),
        get("/.well-known/jwks.json", "getKeys", keys)
            .for_anyone()
            .about(Tag::Service, "The public keys of the access tokens (ES256), for services that verify them")
            .answers_as(200, "A JSON Web Key Set (RFC 7517).", "application/json"),
        get("/openapi.json", "getOpenApi", openapi_document)
            .for_anyone()
            .about(Tag::Service, "This document")
            .answers_as(200, "An OpenAPI 3.1 document.", "application/json"),
        get("/asyncapi.json", "getAsyncApi", asyncapi_document)
            .for_anyone()
            .about(Tag::Service, "The socket's frames")
            .answers_as(200, "An AsyncAPI 3.0 document.", "application/json"),
        get("/docs", "getDocs", docs).for_anyone().about(Tag::Service, "This document, for people").answers_as(
            200,
            "A page.",
            "text/html",
        ),
    ]
}

#[derive(Serialize, JsonSchema)]
struct Health {
    status: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct Readiness {
    status: &'static str,
    /// How it is with the other nodes: `local` (there are none), `connected`, `degraded`.
    bus: &'static str,
}

async fn alive() -> Json<Health> {
    Json(Health { status: "ok" })
}

async fn ready(State(state): State<AppState>) -> Result<Json<Readiness>, Problem> {
    if state.hub.is_stopping() {
        return Err(Problem::new(Code::Unavailable, "the hub is stopping"));
    }
    match tokio::time::timeout(PATIENCE, state.store.ping()).await {
        Ok(Ok(())) => Ok(Json(Readiness { status: "ok", bus: state.hub.bus().state().as_str() })),
        Ok(Err(_)) | Err(_) => Err(Problem::new(Code::Unavailable, "the store does not answer")),
    }
}

async fn metrics(
    State(state): State<AppState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let sent = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok()?.strip_prefix("Bearer "));
    let may = match (&state.config.metrics_token, sent) {
        (Some(token), Some(sent)) => same(token.expose_secret(), sent),
        (Some(_), None) => false,
        // Behind a proxy everybody comes from this machine.
        (None, _) => peer.ip().is_loopback() && !state.config.behind_proxy,
    };
    if !may {
        return Err(Problem::new(Code::Unauthenticated, "send the token of the setting metrics.token"));
    }
    let seen = ScrapedValues {
        connections: state.hub.connections().len(),
        rooms: state.hub.rooms(),
        appends_waiting: state.hub.appends_waiting(),
        arrivals_waiting: state.admission.waiting(),
        bus: state.hub.bus().is_shared().then(|| state.hub.bus().state() == BusState::Connected),
        replica: state.history.replica_reads().map(Vec::from).unwrap_or_default(),
        relay: state.relay.metrics().all(),
        sinks: sinks(&state).await,
    };
    let text = render(&seen).ok_or_else(|| Problem::not_found("figure"))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}

/// How what leaves the hub stands. A store that does not answer leaves the other figures readable.
async fn sinks(state: &AppState) -> Vec<SinkValues> {
    let Ok(Ok(lanes)) = tokio::time::timeout(PATIENCE, state.store.lanes()).await else { return Vec::new() };
    let (now, instant) = (state.clock.now(), Instant::now());
    let seen = |sink: Sink| {
        let of_sink = || lanes.iter().filter(move |lane| lane.sink == sink);
        let count = |state| of_sink().filter(|lane| lane.state == state).map(|lane| lane.count).sum();
        SinkValues {
            sink: sink.as_str(),
            states: DispatchState::ALL.map(|state| (state.as_str(), count(state))).to_vec(),
            lag: of_sink().filter_map(|lane| lane.due_at).map(|due| now.since(due)).max().unwrap_or_default(),
            breakers_open: state.destinations.open_breakers(sink, instant),
        }
    };
    Sink::ALL.map(seen).into()
}

/// Compared by hash, so that how long it takes tells nothing of the token.
fn same(one: &str, other: &str) -> bool {
    Sha256::digest(one) == Sha256::digest(other)
}

async fn keys(State(state): State<AppState>) -> Response {
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(state.auth.jwks())).into_response()
}

async fn openapi_document(State(state): State<AppState>) -> Response {
    document(state.documents.openapi)
}

async fn asyncapi_document(State(state): State<AppState>) -> Response {
    document(state.documents.asyncapi)
}

fn document(text: Bytes) -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

async fn docs(method: Method, headers: HeaderMap) -> Response {
    static_files::serve(method, Uri::from_static("/docs.html"), headers).await
}
