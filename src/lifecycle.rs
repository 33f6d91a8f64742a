//! Listens for connections, serves them, and drains them when the hub stops.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
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
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::auth::network;
use crate::config::edge::{MAX_REQUEST_HEAD_BYTES, RESERVED_DESCRIPTORS};
use crate::hub::Hub;
use crate::hub::connection_pool::{ConnectionPermit, ConnectionPool};
use crate::web::client_stream::ClientStream;

/// How long a client may take to send a request's head. Without this a silent connection stays open for ever.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a drain may take before the remaining connections are dropped.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
/// The time over which the clients of a stopping hub reconnect.
const RECONNECT_WINDOW: Duration = Duration::from_secs(5);
/// How long the closing handshakes may take; slightly more than a socket grants its client.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(6);
/// How long the last frames may take to be written before connections are closed.
const LAST_FRAMES_DELAY: Duration = Duration::from_millis(200);
/// How often the drain checks whether all connections are closed.
const CLOSE_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long to wait after a failed accept.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);
/// Connections on top of the sockets that are allowed: for requests, and for sockets before their hello.
pub const SPARE_CONNECTIONS: usize = 2_000;
/// Connections that the kernel queues until they are accepted: all clients may reconnect at once. The kernel may allow
/// fewer (`net.core.somaxconn`).
const ACCEPT_BACKLOG: u32 = 4_096;

/// Returns how many TCP connections the listener may have open: those that `sockets` needs, or as many as the process's
/// limit on open files allows.
pub fn max_tcp_connections(sockets: usize) -> usize {
    let wanted = sockets + SPARE_CONNECTIONS;
    let Some(files) = max_open_files() else { return wanted };
    let allowed = files.saturating_sub(RESERVED_DESCRIPTORS).max(files / 2);
    if allowed < wanted {
        tracing::warn!(wanted, allowed, "limit on open files is too low for limits.connections; raise it (ulimit -n)");
    }
    allowed.min(wanted)
}

/// Returns how many files the process may have open, or `None` if the system sets no limit.
pub fn max_open_files() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Listens on this address.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restarted hub must not wait until the kernel has forgotten the former hub's connections.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(ACCEPT_BACKLOG)
}

/// Accepts and serves connections.
#[derive(Clone)]
pub struct Server {
    router: Router,
    hub: Hub,
    pool: ConnectionPool,
    tasks: TaskTracker,
    sockets: TaskTracker,
    stop: CancellationToken,
}

impl Server {
    /// A server for at most `connections` connections of any kind. Cancelling `stop` drains it.
    pub fn new(router: Router, hub: Hub, connections: usize, stop: CancellationToken) -> Self {
        let sockets = TaskTracker::new();
        let pool = ConnectionPool::new(connections, sockets.clone());
        Self { router, hub, pool, tasks: TaskTracker::new(), sockets, stop }
    }

    /// Serves until stopped, then drains: it admits no sockets, tells each client when to reconnect, and finishes
    /// accepted work. Until the last socket is closed it answers requests, so that health checks learn that it is not
    /// ready.
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
        if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
            tracing::warn!(connections = self.hub.connections().len(), "drain timed out");
        }
    }

    async fn accept(&self, listener: &TcpListener) -> Infallible {
        loop {
            // A burst of connects must not delay existing connections: all runnable tasks run once before the next
            // accept. The rest waits in the kernel.
            tokio::task::yield_now().await;
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let permit = self.pool.admit(network(peer.ip())).await;
                    self.serve(stream, peer, permit);
                }
                Err(error) => {
                    // Usually no file descriptors are left. Waiting lets other connections close; spinning would not.
                    tracing::warn!(%error, "accept failed");
                    self.pool.shed();
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, permit: ConnectionPermit) {
        // Without Nagle's algorithm, so that small frames are not delayed.
        let _ = stream.set_nodelay(true);
        let router = self.router.clone();
        let connection_permit = permit.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            // A WebSocket keeps the permit after the upgrade.
            request.extensions_mut().insert(permit.clone());
            router.clone().call(request)
        });
        let stop = self.stop.clone();
        // A connection accepted during the drain gets one answer before it is closed.
        let is_draining = self.hub.is_stopping();
        self.tasks.spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(MAX_REQUEST_HEAD_BYTES)
                .keep_alive(!is_draining)
                .serve_connection(TokioIo::new(ClientStream::new(stream)), service)
                .with_upgrades();
            let mut connection = std::pin::pin!(connection);
            let result = tokio::select! {
                result = connection.as_mut() => result,
                () = connection_permit.shed() => Ok(()),
                () = stop.cancelled(), if !is_draining => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        result = connection.as_mut() => result,
                        () = connection_permit.shed() => Ok(()),
                    }
                }
            };
            if let Err(error) = result {
                tracing::debug!(%error, "connection failed");
            }
            drop(connection_permit);
        });
    }

    async fn close_sockets(&self) {
        let open = self.hub.connections().len();
        tracing::info!(connections = open, "drain started, clients are told to reconnect");
        // Each client gets its own part of the window, and a random moment in it.
        let share = RECONNECT_WINDOW / u32::try_from(open).unwrap_or(u32::MAX).max(1);
        let mut begin = Duration::ZERO;
        self.hub.connections().for_each(|connection| {
            let after = (begin + share.mul_f64(rand::random())).min(RECONNECT_WINDOW);
            let after_ms = u64::try_from(after.as_millis()).unwrap_or(0);
            connection.send(&ServerFrame::Reconnect { after_ms });
            begin += share;
        });
        // Accepted commands are answered before their connections close.
        self.hub.finish().await;
        tokio::time::sleep(LAST_FRAMES_DELAY).await;
        self.hub.connections().close(Close::Restart, |_| true);
        while !self.hub.connections().is_empty() {
            tokio::time::sleep(CLOSE_POLL_INTERVAL).await;
        }
        self.sockets.close();
        if tokio::time::timeout(CLOSE_TIMEOUT, self.sockets.wait()).await.is_err() {
            tracing::info!("close handshakes timed out");
        }
    }
}

/// Waits until the process receives SIGTERM or SIGINT.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("a signal handler can be set at start");
    let mut interrupt = signal(SignalKind::interrupt()).expect("a signal handler can be set at start");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
