//! Faults of the bus and of nodes: nothing is lost, repeated, or out of order.

use std::sync::atomic::Ordering;
use std::time::Duration;

use loadtest::client::{Answer, Client};
use loadtest::target::Target;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rooms::role::Role;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::support::chat::wait_for_frame;
use crate::support::chat::{assert_streams_intact, chat_command, send_chat, time_until_all_have};
use crate::support::faulty_redis::FaultyRedis;
use crate::support::redis::Redis;
use crate::support::stall_detector::running_time_since;
use crate::support::test_cluster::TestCluster;

/// How soon the store makes up for a lost message.
const REPAIR_TIMEOUT: Duration = Duration::from_secs(2);
/// How soon a client of a killed node is live on another one.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(3);
/// Longer than any command takes to be answered.
const CONDITION_TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn lossy_bus_delays_events_by_at_most_two_seconds() {
    let redis = Redis::start();
    let redis_proxy = FaultyRedis::start(redis.socket());
    let nodes = TestCluster::start_with(redis, 3, |_, config| config.redis = Some(redis_proxy.settings())).await;
    let case = nodes[0].case().await;
    let room = case.room;
    let mut clients = [
        nodes[0].joined(&case.patient, room).await,
        nodes[1].joined(&case.doctor, room).await,
        nodes[2].joined(&case.patient, room).await,
    ];
    nodes.wait_until_subscribed(room).await;
    let mut random = StdRng::seed_from_u64(1);
    let mut slowest = Duration::ZERO;
    for round in 0..30 {
        // Several at once, so that the proxy has messages to reorder.
        let mut last = 0;
        for at in 0..random.random_range(1..8) {
            last = send_chat(&mut clients[(round + at) % 3], room, format!("{round} {at}")).await;
        }
        slowest = slowest.max(time_until_all_have(&mut clients, room, last).await);
    }
    assert!(slowest < REPAIR_TIMEOUT, "{slowest:?}");
    assert_streams_intact(&clients, room);

    // The same holds for a feed.
    let doctor = nodes[0].person(Role::Doctor, "Doc", None).await;
    let mut client = nodes[1].client(&doctor);
    client.connect().await.unwrap();
    let feed = json!({"name": "lobby", "doctor": doctor.user()});
    client.queue_text(json!({"type": "subscribe", "feed": feed}).to_string());
    wait_for_frame(&mut client, |frame| frame["type"] == "feed").await;
    for _ in 0..15 {
        let patient = nodes[0].person(Role::Patient, "Pat", None).await;
        let waiting = nodes[0].waiting_room(&patient, &doctor).await.to_string();
        let start = Instant::now();
        wait_for_frame(&mut client, |frame: &Value| {
            frame["type"] == "feed_change" && frame.to_string().contains(&waiting)
        })
        .await;
        assert!(running_time_since(start) < REPAIR_TIMEOUT + Duration::from_secs(1), "{:?}", start.elapsed());
    }
    let faults = &redis_proxy.faults;
    let counts = [("dropped", &faults.dropped), ("duplicated", &faults.duplicated), ("reordered", &faults.reordered)];
    for (kind, count) in counts {
        assert!(count.load(Ordering::Relaxed) >= 10, "the proxy injected too few {kind} messages: {faults:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_killed_node_continue_elsewhere_without_loss() {
    let nodes = TestCluster::start(2).await;
    let case = nodes[0].case().await;
    let room = case.room;
    let mut process = nodes.process();
    let mut readers = [nodes[0].joined(&case.patient, room).await, nodes[1].joined(&case.doctor, room).await];
    let mut sent = 0;
    let mut last = 0;
    for round in 0..5 {
        let address = process.start();
        let mut there = Client::new(Target::new(address).expect("loopback"), nodes[0].token(&case.patient));
        there.connect().await.unwrap();
        there.join(room).await.unwrap();
        // The kill hits somewhere in the middle: before, during, or after a commit, and before its publication.
        let ids: Vec<_> = (0..40).map(|at| there.send(room, chat_command(format!("{round} {at}")))).collect();
        sent += ids.len();
        there.flush().await.unwrap();
        let _ = there.answer(ids[round * 7]).await;
        process.kill();
        let start = Instant::now();
        there.cut();
        nodes.move_to(&mut there, round % 2);
        there.connect().await.unwrap();
        there.until_live().await.unwrap();
        assert!(running_time_since(start) < FAILOVER_TIMEOUT, "{:?}", start.elapsed());
        let answered = async {
            while there.unanswered().len() > 0 {
                if let loadtest::frame::FrameSummary::Ack { last: at, .. } = there.next().await.unwrap().summary {
                    last = last.max(at);
                }
            }
        };
        timeout(CONDITION_TIMEOUT, answered).await.expect("all commands are answered");
        last = last.max(send_chat(&mut readers[round % 2], room, "seen").await);
        sent += 1;
        time_until_all_have(&mut readers, room, last).await;
        there.until_seq(room, last).await.unwrap();
        assert_streams_intact(&[there], room);
    }
    assert_streams_intact(&readers, room);
    let stored = nodes[0].state.store.events_after(room, 0, 2_000).await.unwrap();
    assert_eq!(
        stored.iter().filter(|it| it.canonical.contains("chat.sent")).count(),
        sent,
        "each message is stored once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_bus_messages_change_nothing() {
    let nodes = TestCluster::start(2).await;
    let case = nodes[0].case().await;
    let room = case.room;
    let mut clients = [nodes[0].joined(&case.patient, room).await, nodes[1].joined(&case.doctor, room).await];
    nodes.wait_until_subscribed(room).await;
    let head = send_chat(&mut clients[0], room, "true").await;
    time_until_all_have(&mut clients, room, head).await;
    let stranger = uuid::Uuid::now_v7().simple().to_string();
    let original = nodes[0].state.store.events_before(room, u64::MAX, 1).await.unwrap().remove(0);
    let mut forged: Value = serde_json::from_str(&original.canonical.replace("true", "forged")).unwrap();
    forged["seq"] = json!(head + 1);
    let events =
        |first: u64, records: Value| json!({"events": {"first": first, "hash": vec![0; 32], "records": records}});
    let mut bodies: Vec<String> = [
        json!(null),
        json!({"events": {}}),
        json!({"head": u64::MAX}),
        json!({"head": -1}),
        events(0, json!([])),
        events(u64::MAX, json!([forged, forged])),
        events(head + 1, json!([forged])),
        events(head + 1, json!(["no record", 7, {}])),
        json!({"here": vec![stranger.clone(); 1_000]}),
        json!({"n": u64::MAX, "what": "beat"}),
        json!({"n": 7, "what": {"feeds": [{"me": [stranger, "patient"]}]}}),
        json!({"room": room, "connection": stranger, "call": stranger, "said": "still"}),
        json!({"room": room, "connection": stranger, "call": stranger, "said": {"refused": "unavailable"}}),
    ]
    .iter()
    .map(Value::to_string)
    .collect();
    bodies.extend([String::new(), "{".to_owned(), "é".repeat(40), "[".repeat(10_000)]);
    for body in bodies {
        for channel in
            [format!("{{{room}}}"), "{all}".to_owned(), format!("node:{{{}}}", nodes[1].state.hub.bus().node())]
        {
            for text in [format!("{stranger}{body}"), body.clone()] {
                nodes.redis.publish(&format!("wardroom:{channel}"), &text);
            }
        }
    }
    let last = send_chat(&mut clients[0], room, "still true").await;
    assert_eq!(last, head + 1);
    time_until_all_have(&mut clients, room, last).await;
    loop {
        let heard = clients[1].next().await.unwrap();
        assert!(!heard.text.contains("forged"), "{}", heard.text);
        if heard.text.contains("still true") {
            break;
        }
    }
    match clients[1].command(room, chat_command("and this node lives")).await.unwrap() {
        Answer::Done { last: at, .. } => assert_eq!(at, last + 1),
        Answer::Refused(error) => panic!("command refused: {error:?}"),
    }
    assert_streams_intact(&clients, room);
}
