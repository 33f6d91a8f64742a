//! Errors that the hub sends before it has read the request's body: the connection stays usable, or says that it closes.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wardroom::config::DatabaseSettings;

use crate::support::both;
use crate::support::test_server::TestServer;

/// Longer than a response takes.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);

/// Reads a response and returns its head. Responses of the hub name their length.
async fn response_head(stream: &mut TcpStream) -> String {
    let read = async {
        let mut text = Vec::new();
        loop {
            let end = text.windows(4).position(|it| it == b"\r\n\r\n");
            if let Some(end) = end {
                let head = String::from_utf8(text[..end].to_vec()).unwrap().to_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
                let length: usize = length.parse().unwrap();
                while text.len() < end + 4 + length {
                    assert!(stream.read_buf(&mut text).await.expect("no reset") > 0, "the response is complete");
                }
                assert_eq!(text.len(), end + 4 + length);
                return head;
            }
            assert!(stream.read_buf(&mut text).await.expect("no reset") > 0, "the response begins");
        }
    };
    timeout(RESPONSE_TIMEOUT, read).await.expect("the hub responds")
}

async fn rejected_request_leaves_the_connection_usable(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let body = vec![b' '; 200 << 10];
    for path in ["/v1/bookings", "/v1/nothing", "/v1/auth/sign-in"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // The hub knows its answer long before the body has arrived.
        for part in body.chunks(40 << 10) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            stream.write_all(part).await.expect("the hub reads the body");
        }
        let head = response_head(&mut stream).await;
        assert!(head.starts_with("http/1.1 4"), "{head}");
        assert!(!head.contains("connection: close"), "{head}");
    }
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n").await.unwrap();
    assert!(response_head(&mut stream).await.starts_with("http/1.1 200"));
}

async fn rejected_request_that_is_too_long_closes_the_connection_openly(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /v1/bookings HTTP/1.1\r\nHost: hub\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let head = response_head(&mut stream).await;
    assert!(head.starts_with("http/1.1 401") && head.contains("connection: close"), "{head}");
}

both! {
    rejected_request_leaves_the_connection_usable
    rejected_request_that_is_too_long_closes_the_connection_openly
}
