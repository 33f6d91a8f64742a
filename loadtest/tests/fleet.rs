//! The fleet against a small hub that keeps its promises or breaks one on purpose, which the fleet must report.

#![allow(clippy::disallowed_methods, reason = "tests make their own times and ids")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use loadtest::arrivals::Spacing;
use loadtest::fixture::{FixtureMember, FixtureRoom};
use loadtest::fleet::Fleet;
use loadtest::load::plan::{ConnectionFault, LoadPlan, Phase};
use loadtest::load::results::{CheckResult, Gauges, PhaseResult};
use loadtest::load::script::LoadKind;
use loadtest::target::Target;
use rooms::id::{CommandId, PharmacyId, RoomId, SessionId, UserId};
use rooms::role::Role;
use rooms::time::Timestamp;
use rooms::wire::client::{ClientFrame, Token};
use rooms::wire::server::{ServerFrame, Welcome, event_frame};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use uuid::Uuid;

/// What the hub does wrong with every tenth event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// One member does not receive it.
    Lost,
    /// One member receives it twice.
    Repeated,
    /// One member receives it after the next one, whose `prev` hides the gap.
    Swapped,
    /// A repeated command takes effect again.
    TwoEffects,
    /// The hub promises a beat every 100 ms and sends none.
    Silent,
}

#[derive(Default)]
struct Log {
    records: Vec<String>,
    members: Vec<mpsc::UnboundedSender<String>>,
    done: HashMap<CommandId, u64>,
    delayed: Option<String>,
}

type Logs = Arc<Mutex<HashMap<RoomId, Log>>>;

/// One of several hubs with the same rooms.
struct Node {
    target: Target,
    /// Connections accepted so far.
    accepted: Arc<AtomicUsize>,
    /// Dropping it breaks all connections and stops accepting new ones.
    stop_on_drop: oneshot::Sender<()>,
}

/// Starts a hub on its own thread for the rest of the test.
fn hub(fault: Fault) -> Target {
    let node = node(fault, Logs::default());
    std::mem::forget(node.stop_on_drop);
    node.target
}

fn node(fault: Fault, logs: Logs) -> Node {
    let (stop_on_drop, stopped) = oneshot::channel::<()>();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = accepted.clone();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr: SocketAddr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            let accept = async {
                loop {
                    let stream = listener.accept().await.unwrap().0;
                    count.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(serve(stream, fault, logs.clone()));
                }
            };
            tokio::select! {
                () = accept => {}
                _ = stopped => {}
            }
        });
    });
    Node { target: Target::new(addr).unwrap(), accepted, stop_on_drop }
}

async fn serve(stream: TcpStream, fault: Fault, logs: Logs) {
    #[allow(clippy::result_large_err)]
    let choose = |_: &Request, mut response: Response| {
        response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("wardroom.v1"));
        Ok(response)
    };
    let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, choose).await else { return };
    let (mut sink, mut source) = socket.split();
    let (out, mut outgoing) = mpsc::unbounded_channel::<String>();
    tokio::spawn(async move {
        while let Some(text) = outgoing.recv().await {
            if sink.send(Message::text(text)).await.is_err() {
                return;
            }
        }
    });
    while let Some(Ok(message)) = source.next().await {
        let Message::Text(text) = message else { continue };
        let send = |frame: ServerFrame| out.send(frame.encode()).unwrap_or(());
        match serde_json::from_str(&text).unwrap() {
            ClientFrame::Hello { .. } => send(welcome(if fault == Fault::Silent { 100 } else { 15_000 })),
            ClientFrame::Join { room, after } => {
                let mut logs = logs.lock().unwrap();
                let log = logs.entry(room).or_default();
                let head = log.records.len() as u64;
                out.send(joined(room, head)).unwrap_or(());
                for seq in after + 1..=head {
                    out.send(event_frame(room, seq - 1, &log.records[seq as usize - 1])).unwrap_or(());
                }
                send(ServerFrame::Live { room, head });
                if !log.members.iter().any(|member| member.same_channel(&out)) {
                    log.members.push(out.clone());
                }
            }
            ClientFrame::Command { id, room, .. } => {
                let mut logs = logs.lock().unwrap();
                let log = logs.entry(room).or_default();
                let earlier = log.done.get(&id).copied();
                let seq = match earlier {
                    Some(seq) if fault != Fault::TwoEffects => seq,
                    _ => append(log, room, id, fault),
                };
                let seq = earlier.unwrap_or(seq);
                log.done.insert(id, seq);
                send(ServerFrame::Ack { id, room, first: seq, last: seq });
            }
            _ => {}
        }
    }
}

fn append(log: &mut Log, room: RoomId, id: CommandId, fault: Fault) -> u64 {
    let seq = log.records.len() as u64 + 1;
    let record = format!(r#"{{"command":"{id}","seq":{seq}}}"#);
    let frame = event_frame(room, seq - 1, &record);
    log.records.push(record);
    let strikes = seq.is_multiple_of(10);
    for (index, member) in log.members.iter().enumerate() {
        let wrong = index == 0 && strikes;
        // A wrong `prev`, which only the reader's own record can expose.
        let wrong_prev = event_frame(room, seq.saturating_sub(2), &log.records[seq as usize - 1]);
        match fault {
            Fault::Lost | Fault::Swapped if wrong => log.delayed = Some(frame.clone()),
            Fault::Lost | Fault::Swapped if index == 0 && log.delayed.is_some() => {
                let delayed = log.delayed.take();
                member.send(wrong_prev).unwrap_or(());
                if fault == Fault::Swapped {
                    delayed.map(|delayed| member.send(delayed));
                }
            }
            Fault::Repeated if wrong => {
                member.send(frame.clone()).unwrap_or(());
                member.send(frame.clone()).unwrap_or(());
            }
            _ => member.send(frame.clone()).unwrap_or(()),
        }
    }
    seq
}

fn welcome(beat_ms: u64) -> ServerFrame {
    ServerFrame::Welcome(Welcome {
        connection: Uuid::now_v7().to_string(),
        session: SessionId(Uuid::now_v7()),
        user: UserId(Uuid::now_v7()),
        name: "P".into(),
        role: Role::Patient,
        now: Timestamp::from_micros(0),
        token_expires_at: Timestamp::from_micros(1),
        beat_ms,
        max_frame: 65_536,
    })
}

const PHARMACY: PharmacyId = PharmacyId(Uuid::from_u128(9));

fn joined(room: RoomId, head: u64) -> String {
    let id = Uuid::from_u128(1);
    let person = format!(r#"{{"id":"{id}","name":"P"}}"#);
    let pharmacy = format!(r#"{{"id":"{PHARMACY}","name":"P","address":"A"}}"#);
    let dispensing = format!(
        r#"{{"id":"{id}","prescription":"{id}","pharmacy":{pharmacy},"state":"received","version":1,"hand_over":"pickup","allowed":{{}}}}"#
    );
    format!(
        r#"{{"type":"joined","room":"{room}","head":{head},"snapshot":{{"room":"{room}","patient":{person},"doctor":{person},"prescriptions":[],"dispensings":[{dispensing}],"deliveries":[]}}}}"#
    )
}

fn plan(target: Target, rooms: usize) -> LoadPlan {
    let member = |role| FixtureMember { user: UserId(Uuid::now_v7()), role, token: Token("t".into()) };
    let room = |_| FixtureRoom {
        room: RoomId(Uuid::now_v7()),
        pharmacy: PHARMACY,
        members: [Role::Patient, Role::Doctor, Role::Pharmacist].map(member).to_vec(),
        courier: None,
    };
    LoadPlan {
        targets: vec![target],
        rooms: (0..rooms).map(room).collect(),
        devices: 1,
        workers: 2,
        kind: Some(LoadKind::Chat),
        bytes: 20,
        copies: 1,
        slow: 0.0,
        seed: 1,
    }
}

fn phase() -> Phase {
    Phase {
        rate: 500.0,
        spacing: Spacing::Uniform,
        warmup: Duration::from_millis(200),
        duration: Duration::from_millis(1000),
        drain: Duration::from_secs(60),
        connection_faults: Vec::new(),
    }
}

fn play(plan: LoadPlan, phase: &Phase) -> (PhaseResult, CheckResult) {
    let fleet = Fleet::connect(plan, Arc::new(Gauges::default())).unwrap();
    let result = fleet.run(phase).unwrap();
    (result, fleet.check().unwrap())
}

#[test]
fn correct_hub_passes_every_check() {
    let (result, check) = play(plan(hub(Fault::Nothing), 4), &phase());
    assert!((490..=510).contains(&result.sent), "{}", result.sent);
    assert_eq!((result.ack.summary().count, result.delivery.summary().count), (result.sent, result.sent * 3));
    assert_eq!((result.unanswered, result.doubled, result.errors.len()), (0, 0, 0));
    // The warm-up is not measured, but the delivery check includes it.
    assert!(check.delivered > result.sent * 3);
    assert_eq!(check, CheckResult { readers: 12, delivered: check.delivered, ..CheckResult::default() });
}

#[test]
fn lost_events_are_found_despite_a_wrong_prev() {
    let (_, check) = play(plan(hub(Fault::Lost), 2), &phase());
    assert!(check.lost > 20, "{check:?}");
    assert_eq!((check.repeated, check.out_of_order), (0, 0));
}

#[test]
fn repeated_events_are_counted() {
    let (_, check) = play(plan(hub(Fault::Repeated), 2), &phase());
    assert!(check.repeated > 20, "{check:?}");
    assert_eq!((check.lost, check.out_of_order), (0, 0));
}

#[test]
fn swapped_events_are_counted() {
    let (_, check) = play(plan(hub(Fault::Swapped), 2), &phase());
    assert!(check.out_of_order > 20, "{check:?}");
    assert_eq!((check.lost, check.repeated), (0, 0));
}

#[test]
fn repeated_command_with_two_effects_is_counted() {
    let duplicates = |fault| play(LoadPlan { copies: 3, ..plan(hub(fault), 2) }, &phase()).0.doubled;
    assert_eq!(duplicates(Fault::Nothing), 0);
    assert!(duplicates(Fault::TwoEffects) > 100);
}

#[test]
fn reconnect_storm_loses_nothing_and_its_resumes_are_timed() {
    let cut = ConnectionFault::Cut { share: 1.0, jitter: Duration::from_millis(50) };
    let phase = Phase { connection_faults: vec![(Duration::from_millis(500), cut)], ..phase() };
    let (result, check) = play(plan(hub(Fault::Nothing), 4), &phase);
    assert_eq!(result.resume.summary().count, 12);
    assert_eq!(check, CheckResult { readers: 12, delivered: check.delivered, ..CheckResult::default() });
    assert_eq!(result.unanswered, 0);
}

#[test]
fn status_changes_are_prepared_and_then_sent_one_at_a_time() {
    let (result, check) = play(LoadPlan { kind: Some(LoadKind::Dispensing), ..plan(hub(Fault::Nothing), 4) }, &phase());
    assert!(result.sent >= 490, "{}", result.sent);
    assert_eq!(result.ack.summary().count, result.sent);
    assert_eq!((check.lost, check.repeated, result.unanswered), (0, 0, 0));
}

#[test]
fn members_are_spread_over_nodes_and_reconnect_to_the_next_one() {
    let logs = Logs::default();
    let mut nodes: Vec<_> = (0..3).map(|_| node(Fault::Nothing, logs.clone())).collect();
    let targets = nodes.iter().map(|node| node.target).collect();
    let accepted = |node: &Node| node.accepted.load(Ordering::Relaxed);
    let gauges = Arc::new(Gauges::default());
    let fleet = Fleet::connect(LoadPlan { targets, ..plan(nodes[0].target, 4) }, gauges.clone()).unwrap();
    assert_eq!(nodes.iter().map(accepted).collect::<Vec<_>>(), [4; 3]);
    let dying = nodes.remove(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while Gauges::read(&gauges.acked) < 200 {
                std::thread::sleep(Duration::from_millis(1));
            }
            drop(dying);
        });
        let result = fleet.run(&phase()).unwrap();
        assert_eq!((result.resume.summary().count, result.unanswered), (4, 0));
        assert_eq!(result.closes, [(1006, 4)].into());
    });
    assert_eq!(nodes.iter().map(accepted).collect::<Vec<_>>(), [4, 8]);
    let check = fleet.check().unwrap();
    assert_eq!(check, CheckResult { readers: 12, delivered: check.delivered, ..CheckResult::default() });
}

#[test]
fn member_reconnects_after_two_beats_of_silence() {
    let phase = Phase { rate: 1.0, ..phase() };
    let (result, check) = play(plan(hub(Fault::Silent), 1), &phase);
    assert!(result.resume.summary().count >= 3, "{result:?}");
    assert_eq!((check.lost, check.repeated, check.unreachable), (0, 0, 0));
}

#[test]
fn events_are_timed_to_the_first_and_the_last_device() {
    let (result, check) = play(LoadPlan { devices: 4, ..plan(hub(Fault::Nothing), 2) }, &phase());
    assert_eq!(result.delivery.summary().count, result.sent * 12);
    let (first, last) = (result.first.summary(), result.last.summary());
    assert_eq!((first.count, last.count), (result.sent, result.sent));
    assert!(first.mean < last.mean, "{first:?} {last:?}");
    assert_eq!(check, CheckResult { readers: 24, delivered: check.delivered, ..CheckResult::default() });
    // An event that a device never receives has no last socket.
    let (result, _) = play(plan(hub(Fault::Lost), 2), &phase());
    assert!(result.last.summary().count < result.first.summary().count);
}

#[test]
fn half_open_members_reconnect_and_do_not_distort_latencies() {
    for kind in [LoadKind::Chat, LoadKind::Dispensing] {
        let half_open = ConnectionFault::HalfOpen { share: 0.5, time: Duration::from_millis(300) };
        let phase = Phase { connection_faults: vec![(Duration::from_millis(300), half_open)], ..phase() };
        let (result, check) = play(LoadPlan { kind: Some(kind), ..plan(hub(Fault::Nothing), 8) }, &phase);
        assert!((1..=16).contains(&result.resume.summary().count), "{result:?}");
        assert_eq!(result.unanswered, 0);
        // All but those in flight to the members that became half-open.
        assert!(result.last.summary().count > result.sent - 25, "{result:?}");
        assert!(result.delivery.summary().count < result.sent * 3);
        assert_eq!(check, CheckResult { readers: 24, delivered: check.delivered, ..CheckResult::default() });
    }
}
