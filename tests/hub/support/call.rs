//! Two members of a call, as their sessions see the signalling.

use std::time::Duration;

use loadtest::client::{Answer, Client};
use rooms::command::Command;
use rooms::command::{CallRef, StartCall};
use rooms::id::{CallId, RoomId};
use rooms::media::Media;
use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use super::test_server::{Case, TestServer};

pub const HOST_CANDIDATE: &str = "candidate:1 1 udp 2122260223 192.0.2.7 54400 typ host";

pub fn sdp() -> String {
    let fingerprint = vec!["AB"; 32].join(":");
    format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\n\
        a=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef0123456789\r\na=fingerprint:sha-256 {fingerprint}\r\n"
    )
}

/// One member's session in a call.
pub struct CallMember {
    pub client: Client,
    pub room: RoomId,
    pub call: CallId,
}

impl CallMember {
    pub fn signal(&mut self, kind: &str, data: Value) {
        let frame =
            json!({"type": "call", "room": self.room, "call": self.call, "signal": {"kind": kind, "data": data}});
        self.client.queue_text(frame.to_string());
    }

    /// Returns the next call frame: the kind and data of a signal, or the code of an error.
    pub async fn next_signal(&mut self) -> (String, Value) {
        let search = async {
            loop {
                let heard = self.client.next().await.expect("the connection stays open");
                let frame: Value = serde_json::from_str(&heard.text).expect("a frame is JSON");
                match frame["type"].as_str() {
                    Some("call") => return (text(&frame["signal"]["kind"]), frame["signal"]["data"].clone()),
                    Some("error") => return (text(&frame["code"]), Value::Null),
                    _ => {}
                }
            }
        };
        timeout(Duration::from_secs(60), search).await.expect("a call frame arrives in time")
    }

    pub async fn attach(&mut self, device: u128, held: Value) -> Value {
        self.signal("attach", json!({"device": Uuid::from_u128(device), "held": held}));
        let (kind, data) = self.next_signal().await;
        assert_eq!(kind, "attached");
        data
    }
}

pub fn text(value: &Value) -> String {
    value.as_str().expect("a JSON string").to_owned()
}

pub async fn must_succeed(client: &mut Client, room: RoomId, command: Command) {
    match client.command(room, command).await.expect("the command is answered") {
        Answer::Done { .. } => {}
        Answer::Refused(error) => panic!("command refused: {error:?}"),
    }
}

/// Starts a call as the doctor and joins it as the patient; both clients have joined the room already.
pub async fn start_and_answer(
    server: &TestServer,
    case: &Case,
    mut doctor: Client,
    mut patient: Client,
) -> (CallMember, CallMember) {
    let room = case.room;
    must_succeed(&mut doctor, room, Command::StartCall(StartCall { media: Media::Video })).await;
    let call = server.state.hub.read(room, &case.doctor).await.unwrap().snapshot.call.expect("the call rings").id;
    must_succeed(&mut patient, room, Command::JoinCall(CallRef { call })).await;
    (CallMember { client: doctor, room, call }, CallMember { client: patient, room, call })
}
