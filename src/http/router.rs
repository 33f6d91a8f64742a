//! Builds the router from the table of operations.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

use super::middleware::drain::drain_body;
use super::middleware::guard::{Guarded, Rule, guard};
use super::middleware::outer_layer::{self, ResponseHeaders};
use super::{api, static_files};
use crate::web::AppState;

/// The size from which responses are compressed. Smaller ones fit into one packet anyway.
const MIN_COMPRESSED_BYTES: u16 = 1024;

/// Builds the router of all operations and the embedded pages.
pub fn router(state: AppState) -> Router {
    let mut router = Router::new();
    for operation in api::operations() {
        let guarded = Guarded { state: state.clone(), rule: Rule::of(&operation) };
        let path = operation.path;
        router = router.route(path, operation.into_route().route_layer(from_fn_with_state(guarded, guard)));
    }
    router
        .fallback(static_files::serve)
        .layer(DefaultBodyLimit::max(state.config.limits.body_bytes))
        .layer(from_fn(outer_layer::convert_errors))
        .layer(from_fn_with_state(state.config.limits.body_bytes, drain_body))
        .layer(compression())
        .layer(from_fn_with_state(ResponseHeaders::new(&state.config), outer_layer::add_headers))
        .with_state(state)
}

/// Compresses texts of at least [`MIN_COMPRESSED_BYTES`]. An event stream stays as it is, because a compressor would hold
/// its frames back.
fn compression() -> CompressionLayer<impl Predicate> {
    let texts = SizeAbove::new(MIN_COMPRESSED_BYTES)
        .and(NotForContentType::SSE)
        .and(NotForContentType::IMAGES)
        .and(NotForContentType::const_new("video/"))
        .and(NotForContentType::const_new("audio/"));
    CompressionLayer::new().gzip(true).quality(CompressionLevel::Fastest).compress_when(texts)
}
