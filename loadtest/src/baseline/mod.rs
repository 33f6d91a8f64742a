//! Drivers for the peers: servers that do for rooms what people use today instead of a hub (`loadtest/peers`).
//!
//! A peer gets the same load by the same generator: schedule, rooms, texts, histograms and meters are the fleet's. Only
//! what goes over the socket differs. Peers number nothing, so that order is not looked at; what is lost or comes twice is
//! counted by the messages' ids.

pub mod bare;
pub mod crowd;
pub mod line;
pub mod member;
pub mod socketio;

use rooms::id::{CommandId, PharmacyId, RoomId, UserId};
use rooms::role::Role;
use rooms::time::Timestamp;
use rooms::wire::client::Token;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::fixture::{Fixture, FixtureMember, FixtureRoom, VERSION};

/// The word that the peers let in.
const TOKEN: &str = "load";

/// What a peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Engine.IO 4 and Socket.IO 5, what Socket.IO 3 and 4 speak; over a WebSocket from the start.
    SocketIo,
    /// Bare JSON: join a room, say something, hear what is said.
    Bare,
}

impl Dialect {
    pub const ALL: [Self; 2] = [Self::SocketIo, Self::Bare];

    /// What a target of this kind begins with.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::SocketIo => "socketio://",
            Self::Bare => "rooms://",
        }
    }

    /// Where its WebSockets are opened.
    pub fn path(self) -> &'static str {
        match self {
            Self::SocketIo => "/socket.io/?EIO=4&transport=websocket",
            Self::Bare => "/",
        }
    }
}

/// A message as the peers take and show it.
#[derive(Debug, Serialize)]
pub struct Say<'a> {
    pub id: CommandId,
    pub room: RoomId,
    pub text: &'a str,
}

/// What a member needs of a message that it is shown.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Said {
    pub id: CommandId,
}

/// What a peer says.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// The transport is open: greet now.
    Opened,
    /// The greeting was accepted; `recovered` when the former session goes on, with its rooms and what was missed.
    Greeted {
        recovered: bool,
    },
    /// The room was joined.
    Joined,
    /// The message with this number was taken.
    Acked(u64),
    Said(CommandId),
    /// To be answered at once.
    Ping,
    /// The server ends the session, for this reason.
    Ended(String),
    Other,
}

/// Why a text is not what a peer says.
#[derive(Debug, thiserror::Error)]
#[error("not a packet of this peer: {0}")]
pub struct Garbled(String);

impl From<serde_json::Error> for Garbled {
    /// The position and the kind of the error; never the packet.
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

/// Rooms for peers, which know nobody and have no rooms until somebody joins one.
pub fn rooms(count: usize) -> Fixture {
    let member = |role| FixtureMember { user: UserId(Uuid::now_v7()), role, token: Token(TOKEN.into()) };
    let room = || FixtureRoom {
        room: RoomId(Uuid::now_v7()),
        pharmacy: PharmacyId(Uuid::now_v7()),
        courier: None,
        members: [Role::Patient, Role::Doctor, Role::Pharmacist].map(member).to_vec(),
    };
    let rooms = std::iter::repeat_with(room).take(count).collect();
    Fixture { version: VERSION, expires_at: Timestamp::from_micros(i64::MAX), rooms }
}
