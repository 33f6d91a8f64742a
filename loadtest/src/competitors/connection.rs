//! One member's connection to a competitor: connects, joins its room, sends messages, and reads packets.

use std::collections::VecDeque;

use futures_util::{SinkExt, StreamExt};
use rooms::id::RoomId;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::socketio::{self, Session};
use super::{OutgoingMessage, Packet, PacketError, bare};
use crate::socket::{Socket, open};
use crate::target::{CompetitorProtocol, Target};

/// Outlives its sockets, as a Socket.IO session does.
#[derive(Debug)]
pub struct Connection {
    protocol: CompetitorProtocol,
    room: RoomId,
    session: Session,
    socket: Option<Socket>,
    /// Packets received before the room was joined.
    received_while_joining: VecDeque<Packet>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error("connection failed: {0}")]
    Socket(#[from] Box<WsError>),
    #[error("not connected")]
    Closed,
    #[error("the server ended the session: {0}")]
    Ended(String),
    #[error(transparent)]
    PacketError(#[from] PacketError),
}

impl Connection {
    pub fn new(protocol: CompetitorProtocol, room: RoomId) -> Self {
        Self { protocol, room, session: Session::default(), socket: None, received_while_joining: VecDeque::new() }
    }

    /// Opens a socket, and joins the room before it returns.
    pub async fn connect(&mut self, target: Target) -> Result<(), ConnectionError> {
        self.socket = Some(open(target, false).await.map_err(Box::new)?);
        if self.protocol == CompetitorProtocol::Bare {
            self.send(bare::join(self.room)).await?;
        }
        loop {
            match self.receive().await? {
                Packet::Opened => self.send(self.session.connect_packet()).await?,
                Packet::Connected { recovered: false } => self.send(socketio::join(self.room)).await?,
                Packet::Joined | Packet::Connected { recovered: true } => return Ok(()),
                packet => self.received_while_joining.push_back(packet),
            }
        }
    }

    /// Sends a message. The ack returns `number`.
    pub async fn send_message(&mut self, number: u64, message: &OutgoingMessage<'_>) -> Result<(), ConnectionError> {
        self.send(match self.protocol {
            CompetitorProtocol::SocketIo => socketio::message(number, message),
            CompetitorProtocol::Bare => bare::message(number, message),
        })
        .await
    }

    /// Returns the next packet; answers pings. Cancel-safe, except that it may lose a pong.
    pub async fn next(&mut self) -> Result<Packet, ConnectionError> {
        match self.received_while_joining.pop_front() {
            Some(packet) => Ok(packet),
            None => self.receive().await,
        }
    }

    async fn receive(&mut self) -> Result<Packet, ConnectionError> {
        loop {
            let socket = self.socket.as_mut().ok_or(ConnectionError::Closed)?;
            let text = match socket.next().await.ok_or(ConnectionError::Closed)?.map_err(Box::new)? {
                Message::Text(text) => text,
                Message::Close(_) => return Err(ConnectionError::Closed),
                _ => continue,
            };
            let packet = match self.protocol {
                CompetitorProtocol::SocketIo => self.session.read(&text)?,
                CompetitorProtocol::Bare => bare::read(&text)?,
            };
            match packet {
                Packet::Ping => self.send(socketio::PONG_PACKET.to_owned()).await?,
                Packet::Disconnected(why) => return Err(ConnectionError::Ended(why)),
                packet => return Ok(packet),
            }
        }
    }

    /// Cuts the connection without a close frame.
    pub fn cut(&mut self) {
        self.socket = None;
    }

    /// Closes the connection with a close frame.
    pub async fn close(&mut self) {
        if let Some(mut socket) = self.socket.take() {
            let _ = socket.close(None).await;
        }
    }

    async fn send(&mut self, text: String) -> Result<(), ConnectionError> {
        let socket = self.socket.as_mut().ok_or(ConnectionError::Closed)?;
        Ok(socket.send(Message::text(text)).await.map_err(Box::new)?)
    }
}
