//! A client of the relay: where its messages come from, and how to answer.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;

/// The transport and the address that identify a client. The server has one address, so this is the 5-tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientId {
    pub is_tcp: bool,
    pub address: SocketAddr,
}

/// A client that messages can be sent to.
#[derive(Clone)]
pub struct TurnClient {
    pub id: ClientId,
    link: ClientLink,
}

#[derive(Clone)]
enum ClientLink {
    Udp(Arc<UdpSocket>),
    Tcp(mpsc::Sender<Vec<u8>>),
}

impl TurnClient {
    pub fn udp(address: SocketAddr, socket: Arc<UdpSocket>) -> Self {
        Self { id: ClientId { is_tcp: false, address }, link: ClientLink::Udp(socket) }
    }

    pub fn tcp(address: SocketAddr, stream: mpsc::Sender<Vec<u8>>) -> Self {
        Self { id: ClientId { is_tcp: true, address }, link: ClientLink::Tcp(stream) }
    }

    /// Sends a message without waiting: a full buffer loses it, as a network does.
    pub fn send(&self, mut message: Vec<u8>) {
        match &self.link {
            ClientLink::Udp(socket) => drop(socket.try_send_to(&message, self.id.address)),
            ClientLink::Tcp(stream) => {
                // On a stream, channel data is padded to four bytes, as STUN messages always are.
                message.resize(message.len().next_multiple_of(4), 0);
                drop(stream.try_send(message));
            }
        }
    }
}
