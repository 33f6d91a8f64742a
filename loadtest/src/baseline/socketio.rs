//! Socket.IO's packets as far as a client of rooms needs them: text only, the default namespace, acks by number.
//!
//! An Engine.IO packet is a digit and its content (0 open, 1 close, 2 ping, 3 pong, 4 message). A Socket.IO packet is in a
//! message: a digit (0 connect, 1 disconnect, 2 event, 3 ack, 4 refused), perhaps a number, and JSON.

use std::borrow::Cow;

use rooms::id::RoomId;
use serde::Deserialize;
use serde_json::json;

use super::{Garbled, Heard, Said, Say, TOKEN};

/// The number of a join's ack; messages count from 1.
pub const JOIN: u64 = 0;

/// The answer to a ping.
pub const PONG: &str = "3";

/// A session that a server with connection state recovery takes up again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// The session's secret name; none where the server recovers nothing.
    pid: Option<String>,
    /// The last event that came.
    offset: Option<String>,
}

#[derive(Deserialize)]
struct Greeting {
    pid: Option<String>,
}

#[derive(Deserialize)]
struct Event<'a>(#[serde(borrow)] Cow<'a, str>, Said, #[serde(default)] Option<String>);

impl Session {
    /// The greeting, which asks for the former session if there was one.
    pub fn greet(&self) -> String {
        let mut auth = json!({ "token": TOKEN });
        if let (Some(pid), Some(offset)) = (&self.pid, &self.offset) {
            auth["pid"] = json!(pid);
            auth["offset"] = json!(offset);
        }
        format!("40{auth}")
    }

    /// Reads a packet, and remembers what the session needs.
    pub fn read(&mut self, text: &str) -> Result<Heard, Garbled> {
        let mut digits = text.bytes();
        match (digits.next(), digits.next()) {
            (Some(b'0'), _) => Ok(Heard::Opened),
            (Some(b'2'), None) => Ok(Heard::Ping),
            (Some(b'1'), _) => Ok(Heard::Ended("closed".to_owned())),
            (Some(b'4'), Some(kind)) => self.packet(kind, text.get(2..).unwrap_or_default()),
            _ => Ok(Heard::Other),
        }
    }

    fn packet(&mut self, kind: u8, rest: &str) -> Result<Heard, Garbled> {
        match kind {
            b'0' => {
                let greeting: Greeting = serde_json::from_str(rest)?;
                let recovered = greeting.pid.is_some() && greeting.pid == self.pid;
                if !recovered {
                    *self = Self { pid: greeting.pid, offset: None };
                }
                Ok(Heard::Greeted { recovered })
            }
            b'1' => Ok(Heard::Ended("disconnected".to_owned())),
            b'2' => {
                let Ok(Event(name, said, offset)) = serde_json::from_str(rest) else { return Ok(Heard::Other) };
                if offset.is_some() {
                    self.offset = offset;
                }
                Ok(if name == "said" { Heard::Said(said.id) } else { Heard::Other })
            }
            b'3' => {
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                let number = rest[..digits].parse().map_err(|_| Garbled("an ack without a number".to_owned()))?;
                Ok(if number == JOIN { Heard::Joined } else { Heard::Acked(number) })
            }
            b'4' => Ok(Heard::Ended(rest.to_owned())),
            _ => Ok(Heard::Other),
        }
    }
}

/// Asks to be a member of `room`.
pub fn join(room: RoomId) -> String {
    format!("42{JOIN}{}", json!(["join", room]))
}

/// Says something; `number` comes back with the ack.
pub fn say(number: u64, say: &Say<'_>) -> String {
    format!("42{number}{}", json!(["say", say]))
}

#[cfg(test)]
mod tests {
    use rooms::id::CommandId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_is_said_has_the_form_of_the_protocol() {
        let (id, room) = (CommandId(Uuid::nil()), RoomId(Uuid::nil()));
        let nil = "00000000-0000-0000-0000-000000000000";
        assert_eq!(Session::default().greet(), r#"40{"token":"load"}"#);
        assert_eq!(join(room), format!(r#"420["join","{nil}"]"#));
        let said = say(12, &Say { id, room, text: "a \"b\"" });
        assert_eq!(said, format!(r#"4212["say",{{"id":"{nil}","room":"{nil}","text":"a \"b\""}}]"#));
    }

    #[test]
    fn each_packet_is_read() {
        let id = CommandId(Uuid::now_v7());
        let mut session = Session::default();
        let mut read = |text: &str| session.read(text).unwrap();
        assert_eq!(read(r#"0{"sid":"x","upgrades":[],"pingInterval":25000}"#), Heard::Opened);
        assert_eq!(read(r#"40{"sid":"y"}"#), Heard::Greeted { recovered: false });
        assert_eq!(read("430[]"), Heard::Joined);
        assert_eq!(read("4317[]"), Heard::Acked(17));
        assert_eq!(read(&format!(r#"42["said",{{"id":"{}","room":"r","text":"t"}}]"#, id.0)), Heard::Said(id));
        assert_eq!(read("2"), Heard::Ping);
        assert_eq!(read(r#"44{"message":"no"}"#), Heard::Ended(r#"{"message":"no"}"#.to_owned()));
        assert_eq!(read("41"), Heard::Ended("disconnected".to_owned()));
        assert_eq!(read("1"), Heard::Ended("closed".to_owned()));
        for odd in ["", "6", "42", r#"42["news",1]"#, "4", "45", "4é"] {
            assert_eq!(read(odd), Heard::Other, "{odd}");
        }
        assert!(Session::default().read("43[]").is_err());
        assert!(Session::default().read("40").is_err());
    }

    #[test]
    fn a_session_is_asked_for_again_by_its_name_and_the_last_event() {
        let mut session = Session::default();
        session.read(r#"40{"sid":"s","pid":"p"}"#).unwrap();
        assert_eq!(session.greet(), r#"40{"token":"load"}"#, "nothing came yet, so that nothing can be resumed");
        session.read(&format!(r#"42["said",{{"id":"{}"}},"7"]"#, Uuid::now_v7())).unwrap();
        assert_eq!(session.greet(), r#"40{"offset":"7","pid":"p","token":"load"}"#);
        assert_eq!(session.read(r#"40{"sid":"s","pid":"p"}"#).unwrap(), Heard::Greeted { recovered: true });
        assert_eq!(session.read(r#"40{"sid":"t","pid":"q"}"#).unwrap(), Heard::Greeted { recovered: false });
        assert_eq!(session.greet(), r#"40{"token":"load"}"#);
    }
}
