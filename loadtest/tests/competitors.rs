//! The competitors' drivers against a small server that speaks both protocols. It keeps its promises or breaks one on
//! purpose, which the drivers must report.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use loadtest::arrivals::Spacing;
use loadtest::competitors;
use loadtest::fleet::Fleet;
use loadtest::load::plan::{ConnectionFault, LoadPlan, Phase};
use loadtest::load::results::{CheckResult, Gauges, PhaseResult};
use loadtest::load::script::LoadKind;
use loadtest::target::{CompetitorProtocol, Target};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

/// What the server does wrong with every tenth message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// One member does not receive it.
    Lost,
    /// One member receives it twice.
    Repeated,
    /// It is broadcast but not acknowledged until it is resent.
    Unacknowledged,
}

/// The members of each room, the message ids, and the resent messages of each room. A member that reconnects later than
/// the resender receives those too, so the number of repeats does not depend on the order of reconnects.
#[derive(Default)]
struct Rooms {
    members: HashMap<String, Vec<mpsc::UnboundedSender<String>>>,
    ids: HashSet<String>,
    resent: HashMap<String, Vec<String>>,
}

type Shared = Arc<Mutex<Rooms>>;

/// Starts a competitor on its own thread.
fn competitor(protocol: CompetitorProtocol, fault: Fault) -> Target {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            let rooms = Shared::default();
            loop {
                let stream = listener.accept().await.unwrap().0;
                tokio::spawn(serve(stream, protocol, fault, rooms.clone()));
            }
        });
    });
    Target::new(addr).unwrap().as_competitor(protocol)
}

async fn serve(stream: TcpStream, protocol: CompetitorProtocol, fault: Fault, rooms: Shared) {
    let Ok(socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let (mut sink, mut source) = socket.split();
    let (out, mut outgoing) = mpsc::unbounded_channel::<String>();
    tokio::spawn(async move {
        while let Some(text) = outgoing.recv().await {
            if sink.send(Message::text(text)).await.is_err() {
                return;
            }
        }
    });
    let send = |text: String| drop(out.send(text));
    if protocol == CompetitorProtocol::SocketIo {
        send(r#"0{"sid":"e","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#.to_owned());
    }
    let mut pongs = 0;
    while let Some(Ok(Message::Text(text))) = source.next().await {
        match parse(protocol, &text) {
            Request::Connect => {
                send(r#"40{"sid":"s"}"#.to_owned());
                send("2".to_owned());
            }
            Request::Join(room, answer) => {
                let mut rooms = rooms.lock().unwrap();
                send(answer);
                rooms.resent.get(&room).into_iter().flatten().for_each(|broadcast| send(broadcast.clone()));
                rooms.members.entry(room).or_default().push(out.clone());
            }
            Request::Message(message, answer) => {
                assert!(protocol == CompetitorProtocol::Bare || pongs > 0, "a ping was not answered");
                let mut rooms = rooms.lock().unwrap();
                let is_new = rooms.ids.insert(message["id"].to_string());
                let fault = if is_new && rooms.ids.len().is_multiple_of(10) { fault } else { Fault::Nothing };
                let broadcast = match protocol {
                    CompetitorProtocol::SocketIo => format!("42{}", json!(["said", message])),
                    CompetitorProtocol::Bare => json!({ "said": message }).to_string(),
                };
                let room = message["room"].as_str().unwrap();
                if !is_new {
                    rooms.resent.entry(room.to_owned()).or_default().push(broadcast.clone());
                }
                let members = &rooms.members[room];
                for (place, member) in members.iter().enumerate() {
                    let times = match (fault, place) {
                        (Fault::Lost, 0) => 0,
                        (Fault::Repeated, 0) => 2,
                        _ => 1,
                    };
                    (0..times).for_each(|_| drop(member.send(broadcast.clone())));
                }
                if fault != Fault::Unacknowledged {
                    send(answer);
                }
            }
            Request::Pong => pongs += 1,
        }
    }
}

enum Request {
    Connect,
    /// The room and the reply.
    Join(String, String),
    /// The message and the ack.
    Message(Value, String),
    Pong,
}

fn parse(protocol: CompetitorProtocol, text: &str) -> Request {
    if protocol == CompetitorProtocol::Bare {
        let mut packet: Value = serde_json::from_str(text).unwrap();
        if let Some(room) = packet["join"]["room"].as_str() {
            return Request::Join(room.to_owned(), r#"{"joined":null}"#.to_owned());
        }
        return Request::Message(packet["say"].take(), json!({ "ack": packet["n"] }).to_string());
    }
    if text == "3" {
        return Request::Pong;
    }
    if let Some(auth) = text.strip_prefix("40") {
        assert_eq!(auth, r#"{"token":"load"}"#);
        return Request::Connect;
    }
    let event = text.strip_prefix("42").unwrap();
    let (number, content) = event.split_at(event.find('[').unwrap());
    let mut content: Value = serde_json::from_str(content).unwrap();
    let answer = format!("43{number}[]");
    match content[0].as_str().unwrap() {
        "join" => Request::Join(content[1].as_str().unwrap().to_owned(), answer),
        _ => Request::Message(content[1].take(), answer),
    }
}

fn play(
    protocol: CompetitorProtocol,
    fault: Fault,
    connection_faults: Vec<(Duration, ConnectionFault)>,
) -> (PhaseResult, CheckResult) {
    let plan = LoadPlan {
        targets: vec![competitor(protocol, fault)],
        rooms: competitors::fixture(4).rooms,
        devices: 1,
        workers: 2,
        kind: Some(LoadKind::Chat),
        bytes: 20,
        copies: 1,
        slow: 0.0,
        seed: 1,
    };
    let fleet = Fleet::connect(plan, Arc::new(Gauges::default())).unwrap();
    assert_eq!(fleet.connected(), 12);
    let result = fleet
        .run(&Phase {
            rate: 200.0,
            spacing: Spacing::Uniform,
            warmup: Duration::ZERO,
            duration: Duration::from_millis(500),
            drain: Duration::from_secs(2),
            connection_faults,
        })
        .unwrap();
    (result, fleet.check().unwrap())
}

#[test]
fn messages_are_acknowledged_and_reach_all_members() {
    for protocol in CompetitorProtocol::ALL {
        let (result, check) = play(protocol, Fault::Nothing, Vec::new());
        assert!(result.sent > 80, "{protocol:?}: {}", result.sent);
        assert_eq!((result.unanswered, result.ack.summary().count), (0, result.sent), "{protocol:?}");
        assert_eq!(result.delivery.summary().count, result.sent * 3, "{protocol:?}");
        assert_eq!((check.lost, check.repeated, check.readers), (0, 0, 12), "{protocol:?}");
    }
}

#[test]
fn lost_repeated_and_unanswered_messages_are_counted() {
    let tenth = |result: &PhaseResult| result.sent / 10;
    let (result, check) = play(CompetitorProtocol::SocketIo, Fault::Lost, Vec::new());
    assert_eq!(check.lost, tenth(&result));
    let (result, check) = play(CompetitorProtocol::Bare, Fault::Repeated, Vec::new());
    assert_eq!(check.repeated, tenth(&result));
    let (result, _) = play(CompetitorProtocol::SocketIo, Fault::Unacknowledged, Vec::new());
    assert_eq!(result.unanswered, tenth(&result));
}

#[test]
fn cut_member_reconnects_and_resends_unacknowledged_messages() {
    for protocol in CompetitorProtocol::ALL {
        // After the last message, while the phase waits for answers.
        let cut = (Duration::from_millis(700), ConnectionFault::Cut { share: 1.0, jitter: Duration::ZERO });
        let (result, check) = play(protocol, Fault::Unacknowledged, vec![cut]);
        assert_eq!((result.resume.summary().count, result.unanswered), (12, 0), "{protocol:?}");
        assert_eq!((check.lost, check.repeated), (0, result.sent / 10 * 3), "{protocol:?}");
    }
}
