//! A TURN client that sends exactly the messages that a test asks for, over UDP or TCP.

use std::net::SocketAddr;
use std::time::Duration;

use stun::agent::TransactionId;
use stun::attributes::{
    ATTR_ERROR_CODE, ATTR_LIFETIME, ATTR_NONCE, ATTR_REALM, ATTR_UNKNOWN_ATTRIBUTES, ATTR_USERNAME,
    ATTR_XOR_RELAYED_ADDRESS, AttrType, RawAttribute,
};
use stun::integrity::MessageIntegrity;
use stun::message::{Message, MessageType, Method, Setter};
use stun::xoraddr::XorMappedAddress;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::turn::{TURN_TIMEOUT, Transport};

pub use stun::attributes::{
    ATTR_CHANNEL_NUMBER, ATTR_DATA, ATTR_EVEN_PORT, ATTR_REQUESTED_ADDRESS_FAMILY, ATTR_REQUESTED_TRANSPORT,
    ATTR_RESERVATION_TOKEN, ATTR_XOR_PEER_ADDRESS,
};
pub use stun::message::{
    CLASS_INDICATION, CLASS_REQUEST, METHOD_ALLOCATE, METHOD_BINDING, METHOD_CHANNEL_BIND, METHOD_CREATE_PERMISSION,
    METHOD_REFRESH, METHOD_SEND,
};

/// How long the silence lasts that proves that nothing arrives.
const SILENCE_DURATION: Duration = Duration::from_millis(700);
/// REQUESTED-TRANSPORT for UDP.
pub const UDP: (AttrType, &[u8]) = (ATTR_REQUESTED_TRANSPORT, &[17, 0, 0, 0]);

/// An attribute and its value.
pub type Attribute<'a> = (AttrType, &'a [u8]);

enum Link {
    Udp(UdpSocket, SocketAddr),
    Tcp(TcpStream),
}

/// A client with the credentials of one session.
pub struct RawClient {
    link: Link,
    pub username: String,
    pub password: String,
    nonce: Vec<u8>,
}

/// A response, reduced to what tests compare.
#[derive(Debug)]
pub struct RawResponse {
    pub message: Message,
    /// 0 for success.
    pub code: u16,
}

impl RawResponse {
    pub fn lifetime(&self) -> u32 {
        u32::from_be_bytes(self.message.get(ATTR_LIFETIME).expect("LIFETIME").try_into().unwrap())
    }

    pub fn relayed(&self) -> SocketAddr {
        let mut address = XorMappedAddress::default();
        address.get_from_as(&self.message, ATTR_XOR_RELAYED_ADDRESS).expect("XOR-RELAYED-ADDRESS");
        SocketAddr::new(address.ip, address.port)
    }

    /// Returns the types in UNKNOWN-ATTRIBUTES.
    pub fn unknown(&self) -> Vec<u16> {
        let list = self.message.get(ATTR_UNKNOWN_ATTRIBUTES).expect("UNKNOWN-ATTRIBUTES");
        list.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
    }
}

impl RawClient {
    pub async fn connect(server: SocketAddr, by: Transport, (username, password): (String, String)) -> Self {
        let link = match by {
            Transport::Udp => Link::Udp(UdpSocket::bind("127.0.0.1:0").await.unwrap(), server),
            Transport::Tcp => Link::Tcp(TcpStream::connect(server).await.unwrap()),
        };
        Self { link, username, password, nonce: Vec::new() }
    }

    /// Encodes a message without credentials.
    pub fn plain(method: Method, attributes: &[Attribute<'_>]) -> Vec<u8> {
        encode(method, attributes).raw
    }

    /// Encodes a request with credentials and the current nonce.
    pub fn signed(&self, method: Method, attributes: &[Attribute<'_>]) -> Vec<u8> {
        self.signed_as(&self.username, &self.password, method, attributes)
    }

    pub fn signed_as(&self, username: &str, password: &str, method: Method, attributes: &[Attribute<'_>]) -> Vec<u8> {
        let credentials: [Attribute<'_>; 3] = [
            (ATTR_USERNAME, username.as_bytes()),
            (ATTR_REALM, wardroom::turn::REALM.as_bytes()),
            (ATTR_NONCE, &self.nonce),
        ];
        let mut message = encode(method, &[attributes, &credentials].concat());
        let realm = wardroom::turn::REALM.to_owned();
        let key = MessageIntegrity::new_long_term_integrity(username.to_owned(), realm, password.to_owned());
        key.add_to(&mut message).unwrap();
        message.raw
    }

    /// Asks for a nonce, as every client does at first.
    pub async fn challenge(&mut self) {
        let answer = self.exchange(&Self::plain(METHOD_ALLOCATE, &[UDP])).await;
        assert_eq!(answer.code, 401);
        self.nonce = answer.message.get(ATTR_NONCE).expect("NONCE");
    }

    /// Sends a signed request and returns the response.
    pub async fn request(&mut self, method: Method, attributes: &[Attribute<'_>]) -> RawResponse {
        self.exchange(&self.signed(method, attributes)).await
    }

    /// Makes an allocation, after asking for a nonce.
    pub async fn allocate(&mut self, attributes: &[Attribute<'_>]) -> RawResponse {
        self.challenge().await;
        self.request(METHOD_ALLOCATE, &[&[UDP], attributes].concat()).await
    }

    pub async fn exchange(&mut self, packet: &[u8]) -> RawResponse {
        self.send(packet).await;
        let packet = timeout(TURN_TIMEOUT, self.receive()).await.expect("the server responds");
        let mut message = Message { raw: packet, ..Message::default() };
        message.decode().expect("the response is a message");
        let code = message.get(ATTR_ERROR_CODE).map_or(0, |value| u16::from(value[2]) * 100 + u16::from(value[3]));
        RawResponse { message, code }
    }

    pub async fn send(&mut self, packet: &[u8]) {
        match &mut self.link {
            Link::Udp(socket, server) => drop(socket.send_to(packet, *server).await.unwrap()),
            Link::Tcp(stream) => stream.write_all(packet).await.unwrap(),
        }
    }

    pub async fn receive(&mut self) -> Vec<u8> {
        match &mut self.link {
            Link::Udp(socket, _) => {
                let mut buf = vec![0; 2_048];
                let (len, _) = socket.recv_from(&mut buf).await.unwrap();
                buf.truncate(len);
                buf
            }
            Link::Tcp(stream) => {
                let mut head = vec![0; 4];
                stream.read_exact(&mut head).await.unwrap();
                let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
                let is_data = head[0] >> 6 == 1;
                let whole = if is_data { (4 + length).next_multiple_of(4) } else { 20 + length };
                head.resize(whole, 0);
                stream.read_exact(&mut head[4..]).await.unwrap();
                head
            }
        }
    }

    /// Returns `true` if nothing arrives for a while.
    pub async fn is_silent(&mut self) -> bool {
        timeout(SILENCE_DURATION, self.receive()).await.is_err()
    }
}

fn encode(method: Method, attributes: &[Attribute<'_>]) -> Message {
    let class = if method == METHOD_SEND { CLASS_INDICATION } else { CLASS_REQUEST };
    let mut message = Message::new();
    let mut setters: Vec<Box<dyn Setter>> =
        vec![Box::new(TransactionId::new()), Box::new(MessageType::new(method, class))];
    for (typ, value) in attributes {
        setters.push(Box::new(RawAttribute { typ: *typ, length: 0, value: value.to_vec() }));
    }
    message.build(&setters).unwrap();
    message
}

/// Encodes an address for XOR-PEER-ADDRESS. The mask of IPv4 does not depend on the transaction.
pub fn xor_peer(peer: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(peer) = peer else { return [&[0, 2, 0, 0], &[0; 16][..]].concat() };
    let port = peer.port() ^ 0x2112;
    let ip = u32::from(*peer.ip()) ^ 0x2112_a442;
    [&[0, 1], &port.to_be_bytes()[..], &ip.to_be_bytes()].concat()
}
