//! Packets of the bare `ws` server, all JSON: `join` and `say` to the server, `joined`, `ack`, and `said` from it.

use rooms::id::RoomId;
use serde::Deserialize;
use serde_json::json;

use super::{IncomingMessage, OutgoingMessage, Packet, PacketError, TOKEN};

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum BarePacket {
    Joined(()),
    Ack(u64),
    Said(IncomingMessage),
}

/// Encodes a request, with the token, to join `room`.
pub fn join(room: RoomId) -> String {
    json!({ "join": { "room": room, "token": TOKEN } }).to_string()
}

/// Encodes a message. The ack returns `number`.
pub fn message(number: u64, message: &OutgoingMessage<'_>) -> String {
    json!({ "say": message, "n": number }).to_string()
}

/// Parses a packet.
pub fn read(text: &str) -> Result<Packet, PacketError> {
    Ok(match serde_json::from_str(text)? {
        BarePacket::Joined(()) => Packet::Joined,
        BarePacket::Ack(number) => Packet::Acked(number),
        BarePacket::Said(message) => Packet::Message(message.id),
    })
}

#[cfg(test)]
mod tests {
    use rooms::id::CommandId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn packets_round_trip() {
        let (id, room) = (CommandId(Uuid::nil()), RoomId(Uuid::nil()));
        let nil = "00000000-0000-0000-0000-000000000000";
        assert_eq!(join(room), format!(r#"{{"join":{{"room":"{nil}","token":"load"}}}}"#));
        let text = message(3, &OutgoingMessage { id, room, text: "t" });
        assert_eq!(text, format!(r#"{{"n":3,"say":{{"id":"{nil}","room":"{nil}","text":"t"}}}}"#));
        assert_eq!(read(r#"{"joined":null}"#).unwrap(), Packet::Joined);
        assert_eq!(read(r#"{"ack":3}"#).unwrap(), Packet::Acked(3));
        let text = format!(r#"{{"said":{{"id":"{nil}","room":"{nil}","text":"t"}}}}"#);
        assert_eq!(read(&text).unwrap(), Packet::Message(id));
        assert!(read("x").is_err() && read(r#"{"other":1}"#).is_err());
    }
}
