//! Drivers for the peers: servers that do for rooms what people use today instead of a hub (`loadtest/competitors`).
//!
//! A peer gets the same load by the same generator: schedule, rooms, texts, histograms and meters are the fleet's. Only
//! what goes over the socket differs. Peers number nothing, so that order is not looked at; what is lost or comes twice is
//! counted by the messages' ids.

pub mod bare;
pub mod connection;
pub(crate) mod driver_room;
pub mod member;
pub mod socketio;

use rooms::id::{CommandId, PharmacyId, RoomId, UserId};
use rooms::role::Role;
use rooms::time::Timestamp;
use rooms::wire::client::Token;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::fixture::{FIXTURE_VERSION, Fixture, FixtureMember, FixtureRoom};

/// The word that the peers let in.
const TOKEN: &str = "load";

/// A message as the peers take and show it.
#[derive(Debug, Serialize)]
pub struct OutgoingMessage<'a> {
    pub id: CommandId,
    pub room: RoomId,
    pub text: &'a str,
}

/// What a member needs of a message that it is shown.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct IncomingMessage {
    pub id: CommandId,
}

/// What a peer says.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet {
    /// The transport is open: greet now.
    Opened,
    /// The greeting was accepted; `recovered` when the former session goes on, with its rooms and what was missed.
    Connected {
        recovered: bool,
    },
    /// The room was joined.
    Joined,
    /// The message with this number was taken.
    Acked(u64),
    Message(CommandId),
    /// To be answered at once.
    Ping,
    /// The server ends the session, for this reason.
    Disconnected(String),
    Other,
}

/// Why a text is not what a peer says.
#[derive(Debug, thiserror::Error)]
#[error("not a packet of this peer: {0}")]
pub struct PacketError(String);

impl From<serde_json::Error> for PacketError {
    /// The position and the kind of the error; never the packet.
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

/// Rooms for peers, which know nobody and have no rooms until somebody joins one.
pub fn fixture(count: usize) -> Fixture {
    let member = |role| FixtureMember { user: UserId(Uuid::now_v7()), role, token: Token(TOKEN.into()) };
    let room = || FixtureRoom {
        room: RoomId(Uuid::now_v7()),
        pharmacy: PharmacyId(Uuid::now_v7()),
        courier: None,
        members: [Role::Patient, Role::Doctor, Role::Pharmacist].map(member).to_vec(),
    };
    let rooms = std::iter::repeat_with(room).take(count).collect();
    Fixture { version: FIXTURE_VERSION, expires_at: Timestamp::from_micros(i64::MAX), rooms }
}
