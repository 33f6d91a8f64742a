//! The socket protocol, as its client observes it.

use std::time::Duration;

use loadtest::client::{Answer, Client, ClientError};
use rooms::command::{Chat, Command, Nothing};
use rooms::id::{CommandId, RoomId};
use rooms::party::Thread;
use rooms::role::Role;
use rooms::signal::{Signal, Typing};
use rooms::text::Prose;
use rooms::wire::client::{ClientFrame, FeedName, Token};
use rooms::wire::close::Close;
use rooms::wire::code::Code;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use uuid::Uuid;
use wardroom::config::DatabaseSettings;

use crate::support::both;
use crate::support::stall_detector::running_time_since;
use crate::support::test_server::TestServer;

const FRAME_TIMEOUT: Duration = Duration::from_secs(5);

fn chat(text: &str, thread: Thread) -> Command {
    Command::Chat(Chat { text: Prose::parse(text).unwrap(), thread })
}

fn say(text: &str) -> Command {
    chat(text, Thread::Care)
}

/// Reads frames until one satisfies `find`.
async fn wait_until<T>(client: &mut Client, mut find: impl FnMut(&Value) -> Option<T>) -> T {
    let search = async {
        loop {
            let heard = client.next().await.expect("the connection stays open");
            let value = serde_json::from_str(&heard.text).expect("a frame is JSON");
            if let Some(found) = find(&value) {
                return found;
            }
        }
    };
    timeout(FRAME_TIMEOUT, search).await.expect("the frame arrives in time")
}

async fn error_of(client: &mut Client) -> Code {
    wait_until(client, |frame| {
        (frame["type"] == "error").then(|| serde_json::from_value(frame["code"].clone()).expect("a known code"))
    })
    .await
}

async fn closed(client: &mut Client) -> Option<Close> {
    let end = async {
        loop {
            if let Err(error) = client.next().await {
                return error;
            }
        }
    };
    timeout(FRAME_TIMEOUT, end).await.expect("the hub closes in time").close()
}

async fn refused(client: &mut Client, room: RoomId, command: Command) -> Code {
    match client.command(room, command).await.expect("the command is answered") {
        Answer::Refused(error) => error.code,
        Answer::Done { .. } => panic!("the command succeeds"),
    }
}

async fn head(server: &TestServer, room: RoomId) -> u64 {
    server.state.store.events_before(room, u64::MAX, 1).await.unwrap().last().map_or(0, |stored| stored.seq)
}

async fn hostile_frames_get_an_error_code_and_change_nothing(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let case = server.case().await;
    let before = head(&server, case.room).await;
    let mut client = server.joined(&case.patient, case.room).await;
    let room = case.room;
    let id = Uuid::now_v7();
    let command = |command: Value| json!({"type": "command", "id": id, "room": room, "command": command}).to_string();
    let deep = format!(r#"{{"type":"leave","room":{}1{}}}"#, "[".repeat(20_000), "]".repeat(20_000));
    for (text, code) in [
        ("no json".to_owned(), Code::Malformed),
        ("[]".to_owned(), Code::Malformed),
        (deep, Code::Malformed),
        (r#"{"type":"shout"}"#.to_owned(), Code::Malformed),
        (json!({"type": "join", "room": room, "after": 0, "extra": 1}).to_string(), Code::Malformed),
        (json!({"type": "join", "room": room, "after": -1}).to_string(), Code::Malformed),
        (json!({"type": "join", "room": "x", "after": 0}).to_string(), Code::Malformed),
        (json!({"type": "join", "room": room, "after": before + 1}).to_string(), Code::Invalid),
        (command(json!({"kind": "chat.send", "data": {"text": "x", "bold": true}})), Code::Malformed),
        (command(json!({"kind": "chat.send", "data": {"text": 1}})), Code::Malformed),
        (command(json!({"kind": "chat.send", "data": {"text": ""}})), Code::Invalid),
        (command(json!({"kind": "chat.send", "data": {"text": "nul \u{0}"}})), Code::Invalid),
        (command(json!({"kind": "chat.send", "data": {"text": "x".repeat(4001)}})), Code::Invalid),
        (command(json!({"kind": "chat.erase", "data": {}})), Code::Malformed),
        (command(json!({"kind": "timer", "data": {}})), Code::Forbidden),
        (command(json!({"kind": "consultation.request", "data": {}})), Code::Forbidden),
        (command(json!({"kind": "consultation.admit", "data": {}})), Code::Forbidden),
        (command(json!({"kind": "consultation.enter", "data": {}})), Code::IllegalTransition),
        (json!({"type": "mark", "room": Uuid::now_v7(), "seen": 1}).to_string(), Code::NotJoined),
        (json!({"type": "subscribe", "feed": {"name": "queue"}}).to_string(), Code::Forbidden),
    ] {
        client.queue_text(text.clone());
        assert_eq!(error_of(&mut client).await, code, "{text:.80}");
    }
    assert_eq!(head(&server, room).await, before);
    // However large the frame: the close reason arrives, although the rest of the frame is still in transit.
    for bytes in [rooms::wire::MAX_FRAME_BYTES + 1, 4 << 20] {
        client.queue_text("x".repeat(bytes));
        assert_eq!(closed(&mut client).await, Some(Close::Protocol), "{bytes}");
        client.connect().await.unwrap();
    }
}

async fn strangers_learn_nothing_about_a_room(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let case = server.case().await;
    let nowhere = RoomId(Uuid::now_v7());
    for role in [Role::Patient, Role::Doctor, Role::Courier, Role::Admin, Role::Support] {
        let mut client = server.client(&server.person(role, "Stranger", None).await);
        client.connect().await.unwrap();
        for room in [case.room, nowhere] {
            let error = client.join(room).await.expect_err("a stranger cannot join");
            assert!(matches!(error, ClientError::Refused(error) if error.code == Code::NotFound), "{role:?}");
        }
        let code = refused(&mut client, case.room, say("hello")).await;
        assert!(matches!(code, Code::NotFound | Code::Forbidden), "{role:?} {code:?}");
    }
}

async fn retried_command_takes_effect_once_and_gets_its_first_answer(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let case = server.case().await;
    let mut client = server.joined(&case.doctor, case.room).await;
    let id = CommandId(Uuid::now_v7());
    client.send_as(id, case.room, None, Command::End(Nothing {}));
    let first = client.answer(id).await.unwrap();
    assert!(matches!(first, Answer::Done { .. }));
    // The command would be refused now, but it has taken effect already. Send enough others for the room to forget it
    // and look it up in the log.
    for number in 0..40 {
        assert!(matches!(client.command(case.room, say(&format!("{number}"))).await, Ok(Answer::Done { .. })));
    }
    client.send_as(id, case.room, None, Command::End(Nothing {}));
    assert_eq!(client.answer(id).await.unwrap(), first);
    client.send_as(id, case.room, None, say("another"));
    let answer = client.answer(id).await.unwrap();
    assert!(matches!(answer, Answer::Refused(error) if error.code == Code::IdConflict));
    let version = server.state.hub.read(case.room, &case.doctor).await.unwrap().snapshot.consultation.unwrap().version;
    let stale = CommandId(Uuid::now_v7());
    client.send_as(
        stale,
        case.room,
        Some(version - 1),
        Command::Refer(rooms::command::Reason { reason: Prose::parse("x").unwrap() }),
    );
    let Answer::Refused(error) = client.answer(stale).await.unwrap() else { panic!("a stale version is rejected") };
    assert!(matches!(error.code, Code::StaleVersion | Code::IllegalTransition), "{error:?}");
}

async fn reconnecting_client_receives_each_missed_event_once(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let case = server.case().await;
    let mut patient = server.joined(&case.patient, case.room).await;
    let mut doctor = server.joined(&case.doctor, case.room).await;
    for round in 0..10 {
        patient.cut();
        let mut last = 0;
        // Every other time more than a room keeps in memory, so that both the store and the tail are used.
        for number in 0..if round % 2 == 0 { 3 } else { 150 } {
            if let Answer::Done { last: seq, .. } = doctor.command(case.room, say(&format!("{number}"))).await.unwrap()
            {
                last = seq;
            }
            if number % 100 == 99 {
                // Stay within the hub's limit of frames per second.
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        }
        patient.connect().await.unwrap();
        patient.until_live().await.unwrap();
        patient.until_seq(case.room, last).await.unwrap();
        let check = patient.delivery_check(case.room).unwrap();
        assert_eq!((check.repeated(), check.out_of_order(), check.gaps()), (0, 0, 0));
        assert_eq!(check.cursor(), last);
    }
}

async fn pharmacist_sees_only_the_dispensing_and_can_verify_completeness(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let case = server.case().await;
    let mut doctor = server.joined(&case.doctor, case.room).await;
    let mut pharmacist = server.joined(&case.pharmacist, case.room).await;
    doctor.command(case.room, say("between us")).await.unwrap();
    doctor.command(case.room, chat("a question", Thread::Pharmacy(case.pharmacy))).await.unwrap();
    doctor.command(case.room, say("between us again")).await.unwrap();
    let Answer::Done { last, .. } =
        doctor.command(case.room, chat("thank you", Thread::Pharmacy(case.pharmacy))).await.unwrap()
    else {
        panic!("a chat message succeeds")
    };
    pharmacist.until_seq(case.room, last).await.unwrap();
    let mut kinds = Vec::new();
    while kinds.last().is_none_or(|(seq, _)| *seq < last) {
        let heard = pharmacist.next().await.unwrap();
        let frame: Value = serde_json::from_str(&heard.text).unwrap();
        assert!(!heard.text.contains("between us"));
        if frame["type"] == "event" {
            let kind = frame["event"]["kind"].as_str().unwrap().to_owned();
            kinds.push((frame["event"]["seq"].as_u64().unwrap(), kind));
        }
    }
    let kinds: Vec<&str> = kinds.iter().map(|(_, kind)| kind.as_str()).collect();
    assert_eq!(kinds, ["prescription.sent", "chat.sent", "chat.sent"]);
    assert_eq!(pharmacist.delivery_check(case.room).unwrap().gaps(), 0);
    assert_eq!(refused(&mut pharmacist, case.room, say("let me in")).await, Code::Forbidden);
}

async fn slow_reader_is_cut_without_affecting_others(database: DatabaseSettings) {
    let server = TestServer::start_with(database, |config| config.limits.outbox_bytes = 64 * 1024).await;
    let case = server.case().await;
    let mut slow = server.client(&case.patient);
    slow.use_small_receive_buffer();
    slow.connect().await.unwrap();
    slow.join(case.room).await.unwrap();
    let mut doctor = server.joined(&case.doctor, case.room).await;
    let text = "x".repeat(4000);
    let stalled = slow.half_open();
    let flood = async {
        for _ in 0..5000 {
            server.submit(case.room, &case.doctor, say(&text)).await.unwrap();
            if server.state.hub.connections().len() == 1 {
                return;
            }
        }
        panic!("the slow reader was never cut");
    };
    tokio::join!(flood, async {
        while server.state.hub.connections().len() > 1 {
            let next = timeout(Duration::from_millis(50), doctor.next()).await;
            assert!(!matches!(next, Ok(Err(_))), "the other member stays connected");
        }
    });
    drop(stalled);
    slow.connect().await.unwrap();
    slow.until_live().await.unwrap();
    slow.until_seq(case.room, head(&server, case.room).await).await.unwrap();
    assert_eq!(slow.delivery_check(case.room).unwrap().repeated(), 0);
}

async fn revoked_access_closes_sockets_within_a_second(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let case = server.case().await;
    let mut client = server.client(&case.patient);
    let welcome = client.connect().await.unwrap();
    server.state.hub.connections().close(Close::Revoked, |connection| connection.session == welcome.session);
    let begin = Instant::now();
    assert_eq!(closed(&mut client).await, Some(Close::Revoked));
    assert!(running_time_since(begin) < Duration::from_secs(1), "{:?}", begin.elapsed());
}

async fn expired_token_closes_the_socket_and_a_renewed_one_keeps_it_open(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let case = server.case().await;
    let short = || Token(server.state.auth.token_for_test(&case.patient, Duration::from_secs(2)));
    let mut client = server.client(&case.patient);
    client.set_token(short());
    client.connect().await.unwrap();
    wait_until(&mut client, |frame| (frame["type"] == "expiring").then_some(())).await;
    assert_eq!(closed(&mut client).await, Some(Close::TokenExpired));
    for (token, why) in [("", Close::Unauthenticated), ("a.b.c", Close::Unauthenticated)] {
        client.set_token(Token(token.to_owned()));
        let error = client.connect().await.expect_err("a forged token is rejected");
        assert_eq!(error.close(), Some(why), "{error}");
    }
    let mut silent = server.client(&case.patient);
    silent.set_token(server.token(&case.doctor));
    silent.connect().await.unwrap();
    // A token of another person on an open socket.
    silent.set_token(server.token(&case.patient));
    silent.flush().await.unwrap();
    assert_eq!(closed(&mut silent).await, Some(Close::Unauthenticated));
}

async fn typing_presence_and_read_receipts_reach_those_concerned(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let case = server.case().await;
    let mut doctor = server.joined(&case.doctor, case.room).await;
    let mut pharmacist = server.joined(&case.pharmacist, case.room).await;
    let mut patient = server.joined(&case.patient, case.room).await;
    let user = json!(case.patient.user());
    wait_until(&mut doctor, |frame| {
        (frame["type"] == "presence" && frame["presence"] == json!({"user": user, "here": true})).then_some(())
    })
    .await;
    let typing = |thread| ClientFrame::Signal { room: case.room, signal: Signal::Typing(Typing { thread }) };
    patient.queue(&typing(Thread::Care));
    patient.queue(&typing(Thread::Pharmacy(case.pharmacy)));
    let last = head(&server, case.room).await;
    patient.queue(&ClientFrame::Mark { room: case.room, delivered: last + 100, seen: 2 });
    patient.flush().await.unwrap();
    wait_until(&mut doctor, |frame| (frame["type"] == "signal" && frame["from"] == user).then_some(())).await;
    let mark = wait_until(&mut doctor, |frame| (frame["type"] == "mark").then(|| frame["mark"].clone())).await;
    assert_eq!(mark, json!({"delivered": last, "seen": 2}), "a read receipt cannot be ahead of the log");
    // The pharmacist receives signals of the dispensing thread only.
    let signal =
        wait_until(&mut pharmacist, |frame| (frame["type"] == "signal").then(|| frame["signal"].clone())).await;
    assert_eq!(signal["data"]["thread"], json!({"pharmacy": case.pharmacy}));
    patient.close().await;
    let absent = async {
        loop {
            let frame: Value = serde_json::from_str(&doctor.next().await.unwrap().text).unwrap();
            if frame["type"] == "presence" && frame["presence"]["here"] == false {
                return;
            }
        }
    };
    timeout(Duration::from_secs(15), absent).await.expect("after the grace period");
    let state = server.state.hub.read(case.room, &case.doctor).await.unwrap().snapshot.consultation.unwrap().state;
    assert_eq!(state.as_str(), "interrupted", "the consultation was interrupted");
}

async fn waiting_room_updates_live_for_everybody(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let doctor = server.person(Role::Doctor, "Doc", None).await;
    let first = server.person(Role::Patient, "First", None).await;
    let second = server.person(Role::Patient, "Second", None).await;
    let of = FeedName::Lobby { doctor: doctor.user().unwrap() };
    let mut screen = server.client(&doctor);
    screen.connect().await.unwrap();
    screen.queue(&ClientFrame::Subscribe { feed: of });
    wait_until(&mut screen, |frame| (frame["type"] == "feed" && frame["items"] == json!([])).then_some(())).await;
    let ahead = server.waiting_room(&first, &doctor).await;
    let behind = server.waiting_room(&second, &doctor).await;
    let mut version = 1;
    let mut seen = Vec::new();
    while !seen.contains(&json!(behind)) {
        let set = wait_until(&mut screen, |frame| {
            (frame["type"] == "feed_change").then(|| {
                assert_eq!(frame["version"], version + 1, "no version is skipped");
                frame["set"].as_array().unwrap().clone()
            })
        })
        .await;
        version += 1;
        seen.extend(set.iter().map(|row| row["room"].clone()));
    }
    let mut phone = server.client(&second);
    phone.connect().await.unwrap();
    phone.queue(&ClientFrame::Subscribe { feed: of });
    let items = wait_until(&mut phone, |frame| (frame["type"] == "feed").then(|| frame["items"].clone())).await;
    assert_eq!(items.as_array().unwrap().len(), 1, "a patient sees only their own place");
    assert_eq!(items[0]["position"], 2);
    server.submit(ahead, &doctor, Command::Admit(Nothing {})).await.unwrap();
    let row = wait_until(&mut phone, |frame| (frame["type"] == "feed_change").then(|| frame["set"][0].clone())).await;
    assert_eq!((&row["position"], &row["room"]), (&json!(1), &json!(behind)));
}

async fn new_connection_closes_the_one_it_replaces(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let case = server.case().await;
    let mut client = server.joined(&case.patient, case.room).await;
    let stalled = client.half_open();
    client.connect().await.unwrap();
    let only_one = async {
        while server.state.hub.connections().len() != 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(FRAME_TIMEOUT, only_one).await.expect("the former connection is closed");
    drop(stalled);
    assert!(matches!(client.command(case.room, say("here")).await, Ok(Answer::Done { .. })));
}

async fn clients_without_sockets_use_the_http_fallback(database: DatabaseSettings) {
    use futures_util::StreamExt;
    let server = TestServer::start(database).await;
    let case = server.case().await;
    let base = format!("http://{}", server.address);
    let http = reqwest::Client::new();
    let asked = json!({"rooms": [{"room": case.room, "after": 0}], "feeds": [{"name": "me"}]});
    let post = |path: &str, body: &Value| {
        http.post(format!("{base}{path}")).bearer_auth(&server.token(&case.patient).0).json(body).send()
    };
    let stream = post("/v1/stream", &asked).await.unwrap();
    assert_eq!(stream.status(), 200);
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let id = Uuid::now_v7();
    let command = json!({"type": "command", "id": id, "room": case.room,
        "command": {"kind": "chat.send", "data": {"text": "by post"}}});
    let frames = json!({"frames": [command, {"type": "mark", "room": case.room, "seen": 1}]});
    for _ in 0..2 {
        let answer: Value = post("/v1/frames", &frames).await.unwrap().json().await.unwrap();
        assert_eq!(answer["frames"][0]["type"], "ack", "{answer}");
    }
    let (mut body, mut text) = (stream.bytes_stream(), String::new());
    let read = async {
        while !(text.contains("by post") && text.contains(r#""type":"feed""#)) {
            text.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
        }
    };
    timeout(FRAME_TIMEOUT, read).await.expect("the message arrives on the stream");
    let mut feed = rooms::cursor::Cursor::new(0);
    for line in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let Ok(frame) = serde_json::from_str::<Value>(line) else { continue };
        if frame["type"] == "event" {
            let (prev, seq) = (frame["prev"].as_u64().unwrap(), frame["event"]["seq"].as_u64().unwrap());
            assert_eq!(feed.judge(prev, seq), rooms::cursor::Verdict::Deliver);
        }
    }
    assert_eq!(text.matches("by post").count(), 1);
    let bad = post("/v1/frames", &json!({"frames": [{"type": "leave", "room": case.room}]})).await.unwrap();
    let answer: Value = bad.json().await.unwrap();
    assert_eq!(answer["frames"][0]["code"], "invalid");
}

async fn too_many_frames_are_rate_limited(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let case = server.case().await;
    let mut client = server.joined(&case.patient, case.room).await;
    for _ in 0..260 {
        client.queue(&ClientFrame::Beat {});
    }
    assert_eq!(error_of(&mut client).await, Code::RateLimited);
    for _ in 0..400 {
        client.queue(&ClientFrame::Beat {});
    }
    assert_eq!(closed(&mut client).await, Some(Close::Flood));
}

both! {
    hostile_frames_get_an_error_code_and_change_nothing
    strangers_learn_nothing_about_a_room
    retried_command_takes_effect_once_and_gets_its_first_answer
    reconnecting_client_receives_each_missed_event_once
    pharmacist_sees_only_the_dispensing_and_can_verify_completeness
    slow_reader_is_cut_without_affecting_others
    revoked_access_closes_sockets_within_a_second
    expired_token_closes_the_socket_and_a_renewed_one_keeps_it_open
    typing_presence_and_read_receipts_reach_those_concerned
    waiting_room_updates_live_for_everybody
    new_connection_closes_the_one_it_replaces
    clients_without_sockets_use_the_http_fallback
    too_many_frames_are_rate_limited
}
