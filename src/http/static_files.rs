//! Serves the pages, which are embedded in the binary.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rooms::wire::code::Code;
use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};

use crate::web::Problem;

#[derive(RustEmbed)]
#[folder = "static/"]
struct Pages;

/// Returns the source expression for the one inline script of the app's page, which watches the loading of all others.
pub fn inline_script_source() -> String {
    let page = Pages::get("index.html").map(|file| file.data).unwrap_or_default();
    let page = String::from_utf8_lossy(&page);
    let script = page.split_once("<script>").and_then(|(_, rest)| rest.split_once("</script>"));
    let (script, _) = script.unwrap_or_default();
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(script.as_bytes())))
}

/// Serves the page at a path that no operation has; `/` is the app.
pub async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = match uri.path().trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    let Some(file) = Pages::get(path) else {
        return Problem::new(Code::NotFound, "this path does not exist").into_response();
    };
    if method != Method::GET && method != Method::HEAD {
        let mut response = Problem::new(
            Code::MethodNotAllowed,
            "this path does not support this method; the Allow header lists those it supports",
        )
        .into_response();
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(file.metadata.sha256_hash()));
    let Ok(etag) = HeaderValue::try_from(etag) else {
        return Problem::new(Code::Internal, "the hub failed; repeat the call later").into_response();
    };
    let mut response = if is_known(&headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let kind = file.metadata.mimetype();
        let kind = if kind.starts_with("text/") { format!("{kind}; charset=utf-8") } else { kind.to_owned() };
        ([(header::CONTENT_TYPE, kind)], file.data).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, etag);
    // Browsers revalidate each time, and get a 304: pages never outlive the hub version that they belong to.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Whether the client has this version, by `If-None-Match`.
pub fn is_known(request: &HeaderMap, etag: &HeaderValue) -> bool {
    let known = request.get(header::IF_NONE_MATCH).and_then(|it| it.to_str().ok());
    known.is_some_and(|known| known.split(',').any(|it| it.trim().as_bytes() == etag.as_bytes()))
}
