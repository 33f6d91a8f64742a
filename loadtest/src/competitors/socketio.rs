//! The part of Socket.IO's packet format that a client needs: text only, default namespace, acks by number.
//!
//! An Engine.IO packet is a digit and its content (0 open, 1 close, 2 ping, 3 pong, 4 message). A message carries a
//! Socket.IO packet: a digit (0 connect, 1 disconnect, 2 event, 3 ack, 4 error), an optional number, and JSON.

use std::borrow::Cow;

use rooms::id::RoomId;
use serde::Deserialize;
use serde_json::json;

use super::{IncomingMessage, OutgoingMessage, Packet, PacketError, TOKEN};

/// The ack number of a join; messages count from 1.
pub const JOIN_ACK_NUMBER: u64 = 0;

/// The answer to a ping.
pub const PONG_PACKET: &str = "3";

/// A session that a server with connection state recovery can resume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// The private session id; `None` if the server does not recover sessions.
    pid: Option<String>,
    /// The offset of the last event received.
    offset: Option<String>,
}

#[derive(Deserialize)]
struct ConnectReply {
    pid: Option<String>,
}

#[derive(Deserialize)]
struct EventPacket<'a>(#[serde(borrow)] Cow<'a, str>, IncomingMessage, #[serde(default)] Option<String>);

impl Session {
    /// Encodes a connect packet, which asks to resume the previous session if there is one.
    pub fn connect_packet(&self) -> String {
        let mut auth = json!({ "token": TOKEN });
        if let (Some(pid), Some(offset)) = (&self.pid, &self.offset) {
            auth["pid"] = json!(pid);
            auth["offset"] = json!(offset);
        }
        format!("40{auth}")
    }

    /// Parses a packet and updates the session.
    pub fn read(&mut self, text: &str) -> Result<Packet, PacketError> {
        let mut digits = text.bytes();
        match (digits.next(), digits.next()) {
            (Some(b'0'), _) => Ok(Packet::Opened),
            (Some(b'2'), None) => Ok(Packet::Ping),
            (Some(b'1'), _) => Ok(Packet::Disconnected("closed".to_owned())),
            (Some(b'4'), Some(kind)) => self.read_message_packet(kind, text.get(2..).unwrap_or_default()),
            _ => Ok(Packet::Other),
        }
    }

    fn read_message_packet(&mut self, kind: u8, rest: &str) -> Result<Packet, PacketError> {
        match kind {
            b'0' => {
                let reply: ConnectReply = serde_json::from_str(rest)?;
                let recovered = reply.pid.is_some() && reply.pid == self.pid;
                if !recovered {
                    *self = Self { pid: reply.pid, offset: None };
                }
                Ok(Packet::Connected { recovered })
            }
            b'1' => Ok(Packet::Disconnected("disconnected".to_owned())),
            b'2' => {
                let Ok(EventPacket(name, message, offset)) = serde_json::from_str(rest) else {
                    return Ok(Packet::Other);
                };
                if offset.is_some() {
                    self.offset = offset;
                }
                Ok(if name == "said" { Packet::Message(message.id) } else { Packet::Other })
            }
            b'3' => {
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                let number = rest[..digits].parse().map_err(|_| PacketError("an ack without a number".to_owned()))?;
                Ok(if number == JOIN_ACK_NUMBER { Packet::Joined } else { Packet::Acked(number) })
            }
            b'4' => Ok(Packet::Disconnected(rest.to_owned())),
            _ => Ok(Packet::Other),
        }
    }
}

/// Encodes a request to join `room`.
pub fn join(room: RoomId) -> String {
    format!("42{JOIN_ACK_NUMBER}{}", json!(["join", room]))
}

/// Encodes a message. The ack returns `number`.
pub fn message(number: u64, message: &OutgoingMessage<'_>) -> String {
    format!("42{number}{}", json!(["say", message]))
}

#[cfg(test)]
mod tests {
    use rooms::id::CommandId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn outgoing_packets_follow_the_protocol() {
        let (id, room) = (CommandId(Uuid::nil()), RoomId(Uuid::nil()));
        let nil = "00000000-0000-0000-0000-000000000000";
        assert_eq!(Session::default().connect_packet(), r#"40{"token":"load"}"#);
        assert_eq!(join(room), format!(r#"420["join","{nil}"]"#));
        let text = message(12, &OutgoingMessage { id, room, text: "a \"b\"" });
        assert_eq!(text, format!(r#"4212["say",{{"id":"{nil}","room":"{nil}","text":"a \"b\""}}]"#));
    }

    #[test]
    fn every_kind_of_packet_is_parsed() {
        let id = CommandId(Uuid::now_v7());
        let mut session = Session::default();
        let mut read = |text: &str| session.read(text).unwrap();
        assert_eq!(read(r#"0{"sid":"x","upgrades":[],"pingInterval":25000}"#), Packet::Opened);
        assert_eq!(read(r#"40{"sid":"y"}"#), Packet::Connected { recovered: false });
        assert_eq!(read("430[]"), Packet::Joined);
        assert_eq!(read("4317[]"), Packet::Acked(17));
        assert_eq!(read(&format!(r#"42["said",{{"id":"{}","room":"r","text":"t"}}]"#, id.0)), Packet::Message(id));
        assert_eq!(read("2"), Packet::Ping);
        assert_eq!(read(r#"44{"message":"no"}"#), Packet::Disconnected(r#"{"message":"no"}"#.to_owned()));
        assert_eq!(read("41"), Packet::Disconnected("disconnected".to_owned()));
        assert_eq!(read("1"), Packet::Disconnected("closed".to_owned()));
        for odd in ["", "6", "42", r#"42["news",1]"#, "4", "45", "4é"] {
            assert_eq!(read(odd), Packet::Other, "{odd}");
        }
        assert!(Session::default().read("43[]").is_err());
        assert!(Session::default().read("40").is_err());
    }

    #[test]
    fn connect_packet_resumes_the_session_from_its_last_event() {
        let mut session = Session::default();
        session.read(r#"40{"sid":"s","pid":"p"}"#).unwrap();
        assert_eq!(
            session.connect_packet(),
            r#"40{"token":"load"}"#,
            "nothing came yet, so that nothing can be resumed"
        );
        session.read(&format!(r#"42["said",{{"id":"{}"}},"7"]"#, Uuid::now_v7())).unwrap();
        assert_eq!(session.connect_packet(), r#"40{"offset":"7","pid":"p","token":"load"}"#);
        assert_eq!(session.read(r#"40{"sid":"s","pid":"p"}"#).unwrap(), Packet::Connected { recovered: true });
        assert_eq!(session.read(r#"40{"sid":"t","pid":"q"}"#).unwrap(), Packet::Connected { recovered: false });
        assert_eq!(session.connect_packet(), r#"40{"token":"load"}"#);
    }
}
