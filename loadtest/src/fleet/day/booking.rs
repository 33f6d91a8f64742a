//! Opens a room as the patient's app does: `POST /v1/bookings`, a walk-in to a doctor.

use std::io;
use std::time::Duration;

use rooms::id::{RoomId, UserId};
use rooms::wire::client::Token;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::target::Target;

/// Time limit of one attempt.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Attempts before the booking counts as failed.
const MAX_ATTEMPTS: usize = 6;
const RETRY_DELAY: Duration = Duration::from_millis(250);
/// Larger than any reply to a booking.
const MAX_RESPONSE_BYTES: u64 = 64 * 1024;

/// Books, and tries the next node on an error or no answer. Each attempt sends the same key, so only one room is
/// opened. Returns the last error if all attempts fail.
pub async fn book(nodes: &[Target], first: usize, token: &Token, doctor: UserId) -> Result<RoomId, String> {
    let body = format!(r#"{{"doctor":"{doctor}"}}"#);
    let request = format!(
        "POST /v1/bookings HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\nidempotency-key: {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        token.0,
        Uuid::now_v7(),
        body.len()
    );
    let mut last_error = String::new();
    for attempt in 0..MAX_ATTEMPTS {
        if attempt > 0 {
            sleep(RETRY_DELAY).await;
        }
        let node = nodes[(first + attempt) % nodes.len()];
        let answer = timeout(REQUEST_TIMEOUT, send(node, &request)).await;
        let answer = answer.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "booking timed out")));
        last_error = match answer.map(|text| read(&text)) {
            Ok(Ok(room)) => return Ok(room),
            Ok(Err((status, text))) if (400..500).contains(&status) && status != 429 && status != 409 => {
                return Err(text);
            }
            Ok(Err((_, text))) => text,
            Err(error) => error.to_string(),
        };
    }
    Err(last_error)
}

async fn send(node: Target, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(node.addr()).await?;
    stream.set_nodelay(true)?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(MAX_RESPONSE_BYTES).read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Returns the room of a 201. Otherwise returns the status, 0 if there is none, and a readable error.
fn read(answer: &str) -> Result<RoomId, (u16, String)> {
    #[derive(Deserialize)]
    struct BookingReply {
        room: RoomId,
    }
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let room = serde_json::from_str(body).map(|booking: BookingReply| booking.room);
    match (status, room) {
        (201, Ok(room)) => Ok(room),
        _ => Err((status, format!("booking returned {status}: {body}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booking_reply_is_parsed() {
        let room = Uuid::now_v7();
        let booked = format!("HTTP/1.1 201 Created\r\na: b\r\n\r\n{{\"room\":\"{room}\",\"first\":1,\"last\":1}}");
        assert_eq!(read(&booked), Ok(RoomId(room)));
        assert!(matches!(read("HTTP/1.1 503 Busy\r\n\r\n{}"), Err((503, _))));
        assert!(matches!(read("nonsense"), Err((0, _))));
    }
}
