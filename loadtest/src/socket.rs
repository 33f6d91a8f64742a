//! One WebSocket to the hub or a competitor, with buffers small enough for ten thousand of them.

use std::io;
use std::time::Duration;

use rooms::wire::SUBPROTOCOL;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::target::{CompetitorProtocol, Target};

pub type Socket = WebSocketStream<TcpStream>;

/// Time limit for connecting and upgrading.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest message that a client accepts. The snapshot of a whole room is far smaller.
const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Receive buffer of a reader that should be slow. The kernel doubles it and rounds it up.
const SMALL_RECEIVE_BUFFER_BYTES: u32 = 4096;

/// Opens a connection. With `small_receive_buffer`, the reader becomes slow as soon as it stops reading.
pub async fn open(target: Target, small_receive_buffer: bool) -> Result<Socket, WsError> {
    let late = || WsError::Io(io::Error::new(io::ErrorKind::TimedOut, "timed out opening the socket"));
    timeout(OPEN_TIMEOUT, upgrade(target, small_receive_buffer)).await.map_err(|_| late())?
}

async fn upgrade(target: Target, small_receive_buffer: bool) -> Result<Socket, WsError> {
    let socket = if target.addr().is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if small_receive_buffer {
        socket.set_recv_buffer_size(SMALL_RECEIVE_BUFFER_BYTES)?;
    }
    let stream = socket.connect(target.addr()).await?;
    stream.set_nodelay(true)?;
    let path = target.competitor().map_or("/v1/ws", CompetitorProtocol::path);
    let mut request = format!("ws://{target}{path}").into_client_request()?;
    if target.competitor().is_none() {
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(2048)
        .write_buffer_size(0)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    Ok(client_async_with_config(request, stream, Some(config)).await?.0)
}
