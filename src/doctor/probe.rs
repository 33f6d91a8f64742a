//! Checks over the network: a TCP connection, and a STUN request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::timeout;

use super::Finding;
use crate::config::Config;

/// How long a connection or a response may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(4);
/// Maximum size of the hub's response to `/readyz`.
const MAX_READINESS_BYTES: u64 = 16 * 1024;
/// A STUN binding request (RFC 8489): type, length 0, magic cookie, and transaction id.
const STUN_BINDING_REQUEST: [u8; 20] = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7];

/// Checks that a TCP connection to this host and port succeeds.
pub async fn check_tcp(host: &str, port: u16) -> Result<(), String> {
    match timeout(PROBE_TIMEOUT, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("{host}:{port} is not reachable ({error})")),
        Err(_) => Err(format!("{host}:{port} does not respond within {PROBE_TIMEOUT:?}")),
    }
}

/// Behind a proxy, asks the running hub whether it understands the client addresses that the proxy sends.
pub async fn forwarded_for(config: &Config) -> Option<Finding> {
    let about = "X-Forwarded-For";
    if !config.behind_proxy {
        return None;
    }
    let Ok(Ok(response)) = timeout(PROBE_TIMEOUT, read_readiness(config.listen)).await else {
        return Some(Finding::ok(
            about,
            "the hub does not run; run doctor again after the proxy has passed on requests",
        ));
    };
    Some(if response.contains("\"forwarded_for\":\"unreadable\"") {
        Finding::bad(
            about,
            "the hub does not understand what the proxy sends, so all clients share one rate limit: configure the proxy to \
             append the client's IP address",
        )
    } else {
        Finding::ok(about, "the hub understands the addresses that the proxy sends")
    })
}

/// Requests `/readyz` from the hub that listens on this address.
async fn read_readiness(listen: SocketAddr) -> std::io::Result<String> {
    let host: IpAddr = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let mut stream = TcpStream::connect((host, listen.port())).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut response = Vec::new();
    stream.take(MAX_READINESS_BYTES).read_to_end(&mut response).await?;
    Ok(String::from_utf8_lossy(&response).into_owned())
}

/// Checks that a STUN server responds by UDP.
async fn check_stun(host: &str, port: u16) -> Result<(), String> {
    let exchange = async {
        let address = lookup_host((host, port)).await?.next().ok_or(std::io::ErrorKind::NotFound)?;
        let any: SocketAddr = if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(address).await?;
        socket.send(&STUN_BINDING_REQUEST).await?;
        let mut answer = [0; 1_500];
        let length = socket.recv(&mut answer).await?;
        // A success response with the transaction id of this request.
        let fits = length >= 20 && answer[..2] == [1, 1] && answer[4..20] == STUN_BINDING_REQUEST[4..20];
        if fits { Ok(()) } else { Err(std::io::Error::from(std::io::ErrorKind::InvalidData)) }
    };
    match timeout(PROBE_TIMEOUT, exchange).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("no STUN response from {host}:{port} by UDP ({error})")),
        Err(_) => Err(format!("no STUN response from {host}:{port} by UDP within {PROBE_TIMEOUT:?}")),
    }
}

/// Checks STUN and TURN: the configured servers by a request, the embedded one by its settings.
pub async fn relay(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &config.turn.embedded {
        Some(embedded) => findings.push(embedded_relay(embedded.public, embedded.listen)),
        None if config.turn.urls.is_empty() => findings.push(Finding::warn(
            "turn",
            "no STUN or TURN server: calls work within one network only; set turn.listen, or turn.urls for coturn",
        )),
        None => {}
    }
    for url in &config.turn.urls {
        findings.push(match check_turn_url(url).await {
            Ok(()) => Finding::ok("turn.urls", format!("{url} responds")),
            Err(why) => Finding::bad("turn.urls", format!("{why}: start the server, or open its port in the firewall")),
        });
    }
    findings
}

fn embedded_relay(public: IpAddr, listen: SocketAddr) -> Finding {
    let private = match public {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback(),
    };
    if private {
        let text = format!(
            "embedded at {listen}; {public} is a private address, so clients outside this network have no relay: set turn.public_address"
        );
        Finding::warn("turn", text)
    } else {
        Finding::ok("turn", format!("embedded at {listen}, announced as {public}"))
    }
}

/// Checks a URL like `turn:host:port?transport=tcp`.
async fn check_turn_url(url: &str) -> Result<(), String> {
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
    let default = if scheme.ends_with('s') { 5349 } else { 3478 };
    let (host, port) = crate::config::split_port(authority).ok_or_else(|| format!("{url} is not a valid address"))?;
    let port = port.unwrap_or(default);
    if scheme.ends_with('s') || query.contains("transport=tcp") {
        check_tcp(host, port).await
    } else {
        check_stun(host, port).await
    }
}
