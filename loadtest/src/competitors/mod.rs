//! Drivers for competitors: servers in `loadtest/competitors` that do what people use today instead of a hub.
//!
//! A competitor gets the same load from the same generator: schedule, rooms, texts, histograms, and meters are shared.
//! Only the packets differ. Competitors do not number messages, so order is not checked; losses and repeats are counted
//! by message id.

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

/// The token that the competitors accept.
const TOKEN: &str = "load";

/// A message as the competitors accept and broadcast it.
#[derive(Debug, Serialize)]
pub struct OutgoingMessage<'a> {
    pub id: CommandId,
    pub room: RoomId,
    pub text: &'a str,
}

/// The part of a broadcast message that a member needs.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct IncomingMessage {
    pub id: CommandId,
}

/// A packet from a competitor.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet {
    /// The transport is open; the client must now send its connect packet.
    Opened,
    /// The server accepted the connection. `recovered` if the previous session continues, with its rooms and missed
    /// messages.
    Connected {
        recovered: bool,
    },
    Joined,
    /// The server acknowledged the message with this number.
    Acked(u64),
    Message(CommandId),
    /// Requires an immediate pong.
    Ping,
    /// The server ended the session, with this reason.
    Disconnected(String),
    Other,
}

/// A text that is not a packet of the competitor.
#[derive(Debug, thiserror::Error)]
#[error("not a packet of this competitor: {0}")]
pub struct PacketError(String);

impl From<serde_json::Error> for PacketError {
    /// Keeps the position and kind of the error, never the packet.
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

/// Creates rooms for competitors, which have no accounts and create a room on its first join.
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
