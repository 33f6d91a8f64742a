//! Listening, and stopping cleanly.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rooms::wire::close::Close;
use rooms::wire::server::ServerFrame;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::hub::Hub;
use crate::hub::connection::ConnectionPermit;

/// How long a client may take to send a request's head. Without it a silent connection stays open for ever.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long stopping may take before what is left is cut.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Over how long the clients of a stopping hub are told to come back.
const SPREAD: Duration = Duration::from_secs(5);
/// How long the closing handshakes may take; a little more than a socket gives its client for one.
const GOODBYE: Duration = Duration::from_secs(6);
/// Connections, of any kind, that may be open on top of the sockets: requests, and sockets that say hello.
pub const SPARE_CONNECTIONS: usize = 2_000;
/// Connections that the kernel keeps until they are accepted: all clients may come back at the same moment. The kernel
/// may allow less (`net.core.somaxconn`).
const BACKLOG: u32 = 4_096;
/// Listens on this address.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A hub that starts again must not wait until the connections of the former one are forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What a served connection is part of.
#[derive(Clone)]
pub struct Server {
    router: Router,
    hub: Hub,
    open: Arc<Semaphore>,
    tasks: TaskTracker,
    sockets: TaskTracker,
    stop: CancellationToken,
}

impl Server {
    /// A server for at most `connections` connections of any kind; `stop` ends it.
    pub fn new(router: Router, hub: Hub, connections: usize, stop: CancellationToken) -> Self {
        let open = Arc::new(Semaphore::new(connections));
        Self { router, hub, open, tasks: TaskTracker::new(), sockets: TaskTracker::new(), stop }
    }

    /// Serves until stopped, then drains: no new sockets, each client is told when to come back, what was accepted is
    /// finished. Requests are answered until the last socket is closed, so that whoever asks learns that this hub is
    /// not ready any more.
    pub async fn run(self, listener: TcpListener) {
        tokio::select! {
            never = self.accept(&listener) => match never {},
            () = self.stop.cancelled() => {}
        }
        self.hub.begin_stop();
        let drained = async {
            tokio::select! {
                never = self.accept(&listener) => match never {},
                () = self.close_sockets() => {}
            }
            drop(listener);
            self.tasks.close();
            self.tasks.wait().await;
            self.hub.finish().await;
        };
        if tokio::time::timeout(STOP_LIMIT, drained).await.is_err() {
            tracing::warn!(connections = self.hub.connections().len(), "stopped with connections still open");
        }
    }

    async fn accept(&self, listener: &TcpListener) -> Infallible {
        loop {
            // When thousands come at once, those who are here do not wait behind all of them: everything that can go on goes
            // on once before the next one comes in. The rest waits in the kernel.
            tokio::task::yield_now().await;
            let permit = self.open.clone().acquire_owned().await.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, peer)) => self.serve(stream, peer, permit),
                Err(error) => {
                    // Out of descriptors, usually: waiting lets others close, spinning would not.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        // Small frames must not wait for each other.
        let _ = stream.set_nodelay(true);
        let router = self.router.clone();
        let seat = ConnectionPermit::new(permit, self.sockets.clone());
        let held = seat.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            // A WebSocket keeps it when it leaves this connection behind.
            request.extensions_mut().insert(seat.clone());
            router.clone().call(request)
        });
        let stop = self.stop.clone();
        // Whoever comes while the hub stops gets one answer, and is not cut before it.
        let late = self.hub.is_stopping();
        self.tasks.spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .keep_alive(!late)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            let mut connection = std::pin::pin!(connection);
            let result = tokio::select! {
                result = connection.as_mut() => result,
                () = stop.cancelled(), if !late => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = result {
                tracing::debug!(%error, "a connection ended with an error");
            }
            drop(held);
        });
    }

    async fn close_sockets(&self) {
        let open = self.hub.connections().len();
        tracing::info!(connections = open, "stopping: clients are told to come back");
        // Each has a part of the time for itself, and comes at any moment of that.
        let part = SPREAD / u32::try_from(open).unwrap_or(u32::MAX).max(1);
        let mut begin = Duration::ZERO;
        self.hub.connections().for_each(|connection| {
            let after = (begin + part.mul_f64(rand::random())).min(SPREAD);
            let after_ms = u64::try_from(after.as_millis()).unwrap_or(0);
            connection.send(&ServerFrame::Reconnect { after_ms });
            begin += part;
        });
        // The commands that were accepted are answered before their connections close.
        self.hub.finish().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.hub.connections().close(Close::Restart, |_| true);
        while !self.hub.connections().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.sockets.close();
        if tokio::time::timeout(GOODBYE, self.sockets.wait()).await.is_err() {
            tracing::info!("sockets that never said hello are cut");
        }
    }
}

/// Completes when the process is asked to stop.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("a signal handler can be set at start");
    let mut interrupt = signal(SignalKind::interrupt()).expect("a signal handler can be set at start");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
