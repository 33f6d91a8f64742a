//! One member's connection to a peer: greets, joins its room, says and hears.

use std::collections::VecDeque;

use futures_util::{SinkExt, StreamExt};
use rooms::id::RoomId;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::socketio::{self, Session};
use super::{Dialect, Garbled, Heard, Say, bare};
use crate::socket::{Socket, open};
use crate::target::Target;

/// A line outlives its connections, as the session of Socket.IO does.
#[derive(Debug)]
pub struct Line {
    dialect: Dialect,
    room: RoomId,
    session: Session,
    socket: Option<Socket>,
    /// What was said while the room was being joined.
    early: VecDeque<Heard>,
}

/// Why nothing more comes over a line.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("the connection broke: {0}")]
    Socket(#[from] Box<WsError>),
    #[error("not connected")]
    Closed,
    #[error("the peer ended it: {0}")]
    Ended(String),
    #[error(transparent)]
    Garbled(#[from] Garbled),
}

impl Line {
    pub fn new(dialect: Dialect, room: RoomId) -> Self {
        Self { dialect, room, session: Session::default(), socket: None, early: VecDeque::new() }
    }

    /// Opens a connection and is a member of the room when it returns.
    pub async fn connect(&mut self, target: Target) -> Result<(), Broken> {
        self.socket = Some(open(target, false).await.map_err(Box::new)?);
        if self.dialect == Dialect::Bare {
            self.send(bare::join(self.room)).await?;
        }
        loop {
            match self.receive().await? {
                Heard::Opened => self.send(self.session.greet()).await?,
                Heard::Greeted { recovered: false } => self.send(socketio::join(self.room)).await?,
                Heard::Joined | Heard::Greeted { recovered: true } => return Ok(()),
                heard => self.early.push_back(heard),
            }
        }
    }

    /// Says something; `number` comes back with the ack.
    pub async fn say(&mut self, number: u64, say: &Say<'_>) -> Result<(), Broken> {
        self.send(match self.dialect {
            Dialect::SocketIo => socketio::say(number, say),
            Dialect::Bare => bare::say(number, say),
        })
        .await
    }

    /// What comes next; pings are answered. May be dropped at any await without losing anything but a pong.
    pub async fn next(&mut self) -> Result<Heard, Broken> {
        match self.early.pop_front() {
            Some(heard) => Ok(heard),
            None => self.receive().await,
        }
    }

    async fn receive(&mut self) -> Result<Heard, Broken> {
        loop {
            let socket = self.socket.as_mut().ok_or(Broken::Closed)?;
            let text = match socket.next().await.ok_or(Broken::Closed)?.map_err(Box::new)? {
                Message::Text(text) => text,
                Message::Close(_) => return Err(Broken::Closed),
                _ => continue,
            };
            let heard = match self.dialect {
                Dialect::SocketIo => self.session.read(&text)?,
                Dialect::Bare => bare::read(&text)?,
            };
            match heard {
                Heard::Ping => self.send(socketio::PONG.to_owned()).await?,
                Heard::Ended(why) => return Err(Broken::Ended(why)),
                heard => return Ok(heard),
            }
        }
    }

    /// Breaks the connection without a word.
    pub fn cut(&mut self) {
        self.socket = None;
    }

    /// Says goodbye.
    pub async fn close(&mut self) {
        if let Some(mut socket) = self.socket.take() {
            let _ = socket.close(None).await;
        }
    }

    async fn send(&mut self, text: String) -> Result<(), Broken> {
        let socket = self.socket.as_mut().ok_or(Broken::Closed)?;
        Ok(socket.send(Message::text(text)).await.map_err(Box::new)?)
    }
}
