//! Whether somebody is there: a connection by TCP, an answer by STUN.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::timeout;

use super::Finding;
use crate::config::Config;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// A binding request (RFC 8489): type, length 0, the magic cookie, and a transaction id.
const BINDING: [u8; 20] = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7];

/// Whether a connection to this host and port comes about.
pub async fn connects(host: &str, port: u16) -> Result<(), String> {
    match timeout(PATIENCE, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("{host}:{port} cannot be reached ({error})")),
        Err(_) => Err(format!("{host}:{port} does not answer within {PATIENCE:?}")),
    }
}

/// Whether a STUN server answers there by UDP.
async fn answers_stun(host: &str, port: u16) -> Result<(), String> {
    let ask = async {
        let address = lookup_host((host, port)).await?.next().ok_or(std::io::ErrorKind::NotFound)?;
        let any: SocketAddr = if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(address).await?;
        socket.send(&BINDING).await?;
        let mut answer = [0; 1_500];
        let length = socket.recv(&mut answer).await?;
        // A success response to this very request.
        let fits = length >= 20 && answer[..2] == [1, 1] && answer[4..20] == BINDING[4..20];
        if fits { Ok(()) } else { Err(std::io::Error::from(std::io::ErrorKind::InvalidData)) }
    };
    match timeout(PATIENCE, ask).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("no STUN answer from {host}:{port} by UDP ({error})")),
        Err(_) => Err(format!("no STUN answer from {host}:{port} by UDP within {PATIENCE:?}")),
    }
}

/// STUN and TURN: others' servers are asked; of the embedded one only its settings can be looked at.
pub async fn relay(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &config.turn.embedded {
        Some(embedded) => findings.push(embedded_relay(embedded.public, embedded.listen)),
        None if config.turn.urls.is_empty() => findings.push(Finding::warn(
            "turn",
            "no STUN or TURN: calls work within one network only; set turn.listen, or turn.urls for coturn",
        )),
        None => {}
    }
    for url in &config.turn.urls {
        findings.push(match reach(url).await {
            Ok(()) => Finding::ok("turn.urls", format!("{url} answers")),
            Err(why) => {
                Finding::bad("turn.urls", format!("{why}: start the server, or let its port through the firewall"))
            }
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
            "embedded at {listen}; {public} is an address of this machine or network: others' calls find no relay"
        );
        Finding::warn("turn", text)
    } else {
        Finding::ok("turn", format!("embedded at {listen}, told as {public}"))
    }
}

/// `turn:host:port?transport=tcp` and the like.
async fn reach(url: &str) -> Result<(), String> {
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
    let default = if scheme.ends_with('s') { 5349 } else { 3478 };
    let (host, port) = crate::config::split_port(authority).ok_or_else(|| format!("{url} cannot be read"))?;
    let port = port.unwrap_or(default);
    if scheme.ends_with('s') || query.contains("transport=tcp") {
        connects(host, port).await
    } else {
        answers_stun(host, port).await
    }
}
