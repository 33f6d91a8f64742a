//! What the implementations of [`webrtc_util::Conn`] share. All are sockets without one fixed peer, so they support
//! `recv_from` and `send_to` only.

/// The result of a `Conn` method.
pub type ConnResult<T> = Result<T, webrtc_util::Error>;

/// Returns the error of the methods that need a connected socket.
pub fn unsupported() -> webrtc_util::Error {
    std::io::Error::from(std::io::ErrorKind::Unsupported).into()
}
