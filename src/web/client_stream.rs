//! A TCP stream that fails when its client reads nothing for too long.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::config::edge::RESPONSE_WRITE_TIMEOUT;

/// A client's stream. While a write makes no progress a timer runs; otherwise it costs a pointer.
pub struct ClientStream {
    stream: TcpStream,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl ClientStream {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, stalled: None }
    }

    /// Returns the stream, without the timeout.
    pub fn into_inner(self) -> TcpStream {
        self.stream
    }

    fn check<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(RESPONSE_WRITE_TIMEOUT)));
        timer.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.check(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.check(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        this.check(context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut_down = Pin::new(&mut this.stream).poll_shutdown(context);
        this.check(context, shut_down)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::{Duration, sleep, timeout};

    use super::*;

    async fn pair() -> (ClientStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (ClientStream::new(listener.accept().await.unwrap().0), client)
    }

    #[tokio::test]
    async fn write_fails_when_the_client_reads_nothing() {
        let (mut stream, _client) = pair().await;
        let bytes = vec![0; 64 << 20];
        let written = timeout(RESPONSE_WRITE_TIMEOUT * 2, stream.write_all(&bytes)).await;
        assert_eq!(written.expect("the write ends").unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn slow_client_that_reads_keeps_its_connection() {
        let (mut stream, mut client) = pair().await;
        let reader = tokio::spawn(async move {
            let (mut total, mut buffer) = (0, vec![0; 256 << 10]);
            loop {
                sleep(Duration::from_millis(1)).await;
                match client.read(&mut buffer).await.unwrap() {
                    0 => return total,
                    read => total += read,
                }
            }
        });
        stream.write_all(&vec![0; 16 << 20]).await.unwrap();
        drop(stream);
        assert_eq!(reader.await.unwrap(), 16 << 20);
    }
}
