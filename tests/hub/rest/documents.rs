//! The served documents, and compression of responses.

use std::io::Read;

use flate2::read::GzDecoder;
use reqwest::Response;
use rooms::role::Role;
use wardroom::config::DatabaseSettings;

use crate::support::both;
use crate::support::rest::RestClient;
use crate::support::test_server::TestServer;

async fn get(server: &TestServer, path: &str, headers: &[(&str, &str)]) -> Response {
    let request = crate::support::http().get(format!("http://{}{path}", server.address));
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn unpacked(bytes: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

async fn documents_are_compressed_and_revalidated(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    for path in ["/openapi.json", "/asyncapi.json"] {
        let plain = get(&server, path, &[]).await;
        let etag = header(&plain, "etag").to_owned();
        assert!(etag.len() > 20 && header(&plain, "content-encoding").is_empty(), "{path}: {etag}");
        let plain = plain.text().await.unwrap();
        let packed = get(&server, path, &[("accept-encoding", "br, gzip;q=0.5")]).await;
        assert_eq!((header(&packed, "content-encoding"), header(&packed, "etag")), ("gzip", etag.as_str()));
        let packed = packed.bytes().await.unwrap();
        assert!(packed.len() * 5 < plain.len(), "{path}: {} of {} bytes", packed.len(), plain.len());
        assert_eq!(unpacked(&packed), plain);
        let refused = get(&server, path, &[("accept-encoding", "gzip;q=0")]).await;
        assert_eq!(header(&refused, "content-encoding"), "");
        let known = get(&server, path, &[("if-none-match", &etag)]).await;
        assert_eq!((known.status().as_u16(), known.bytes().await.unwrap().len()), (304, 0));
    }
}

async fn long_texts_are_compressed_and_short_ones_are_not(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let admin = rest.token(Role::Admin).await;
    let bearer = format!("Bearer {admin}");
    let headers = [("accept-encoding", "gzip"), ("authorization", bearer.as_str())];
    let short = get(&rest.server, "/v1/users?limit=1", &headers).await;
    assert_eq!((short.status().as_u16(), header(&short, "content-encoding")), (200, ""));
    for _ in 0..20 {
        rest.person_with_token(Role::Patient, None).await;
    }
    let long = get(&rest.server, "/v1/users", &headers).await;
    assert_eq!((header(&long, "content-encoding"), header(&long, "vary")), ("gzip", "accept-encoding"));
    let text = unpacked(&long.bytes().await.unwrap());
    let plain = rest.get("/v1/users").bearer(&admin).send().await;
    assert_eq!(text, plain.text);
    let page = get(&rest.server, "/app.js", &[("accept-encoding", "gzip")]).await;
    assert_eq!(header(&page, "content-encoding"), "gzip");
}

both! {
    documents_are_compressed_and_revalidated
    long_texts_are_compressed_and_short_ones_are_not
}
