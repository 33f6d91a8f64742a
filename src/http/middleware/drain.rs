//! Reads the rest of a request's body after an early response, such as 401 or 429.
//!
//! A client that is still sending while the hub closes the connection gets a reset instead of the response, and a proxy
//! with pooled connections answers 502. If the body is too long or too slow, the response says `Connection: close`.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::timeout;

use crate::config::edge::BODY_DRAIN_TIMEOUT;

/// A request's body that the handler and this middleware share. The middleware reads it once the handler has responded.
#[derive(Clone)]
struct SharedBody(Arc<Mutex<ReadBody>>);

struct ReadBody {
    body: Body,
    bytes_read: usize,
    is_started: bool,
}

impl SharedBody {
    fn lock(&self) -> MutexGuard<'_, ReadBody> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for SharedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut read = self.lock();
        read.is_started = true;
        let frame = Pin::new(&mut read.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            read.bytes_read += frame.data_ref().map_or(0, Bytes::len);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().body.size_hint()
    }
}

/// Drains bodies of at most `max_bytes`.
pub async fn drain_body(State(max_bytes): State<usize>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let waits_for_continue = request.headers().contains_key(header::EXPECT);
    let (parts, body) = request.into_parts();
    let body = SharedBody(Arc::new(Mutex::new(ReadBody { body, bytes_read: 0, is_started: false })));
    let mut rest = body.clone();
    let mut response = next.run(Request::from_parts(parts, Body::new(body))).await;
    // A client that waits for `100 Continue` sends no body after an early response, and reading would ask for it.
    let is_drained = if waits_for_continue && !rest.lock().is_started { false } else { rest.drain(max_bytes).await };
    if !is_drained {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

impl SharedBody {
    /// Reads and discards the rest. Returns whether it has ended within the limits.
    async fn drain(&mut self, max_bytes: usize) -> bool {
        let rest = async {
            while !self.is_end_stream() {
                match std::future::poll_fn(|context| Pin::new(&mut *self).poll_frame(context)).await {
                    Some(Ok(_)) if self.lock().bytes_read <= max_bytes => {}
                    Some(_) => return false,
                    None => return true,
                }
            }
            true
        };
        timeout(BODY_DRAIN_TIMEOUT, rest).await.unwrap_or(false)
    }
}
