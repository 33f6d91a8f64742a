//! Serves the API documents, which are compressed and hashed once per process.

use std::io::Write;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::static_files::is_known;
use crate::web::Document;

/// Compresses and hashes a document.
pub fn prepare(text: String) -> Document {
    let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(Sha256::digest(&text)));
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes()).expect("a vector takes every byte");
    let gzip = encoder.finish().expect("a vector takes every byte").into();
    Document { text: text.into(), gzip, etag: HeaderValue::try_from(etag).expect("base64 is ASCII") }
}

/// Serves a document: compressed if the client accepts it, and without a body if the client has it.
pub fn serve(document: &Document, request: &HeaderMap) -> Response {
    let mut response = if is_known(request, &document.etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else if accepts_gzip(request) {
        ([(header::CONTENT_ENCODING, "gzip")], document.gzip.clone()).into_response()
    } else {
        document.text.clone().into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ETAG, document.etag.clone());
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    // Browsers revalidate each time, so a document never outlives the hub version that it describes.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn accepts_gzip(request: &HeaderMap) -> bool {
    let encodings = request.get_all(header::ACCEPT_ENCODING).iter().filter_map(|it| it.to_str().ok());
    encodings.flat_map(|it| it.split(',')).any(|encoding| {
        let (name, quality) = encoding.split_once(';').unwrap_or((encoding, "q=1"));
        let quality = quality.trim().strip_prefix("q=").and_then(|it| it.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && quality.is_some_and(|it| it > 0.0)
    })
}
