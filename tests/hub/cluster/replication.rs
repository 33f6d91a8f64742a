//! Several nodes on one PostgreSQL and one Redis serve the same rooms as if they were one.

use std::time::Duration;

use loadtest::client::Answer;
use rooms::command::Command;
use rooms::id::CommandId;
use rooms::text::Prose;
use tokio::time::{Instant, timeout};
use uuid::Uuid;
use wardroom::bus::BusState;

use crate::support::chat::{assert_streams_intact, chat_command, send_chat, time_until_all_have};
use crate::support::database::Database;
use crate::support::hub_process::HubProcess;
use crate::support::ports;
use crate::support::redis::{Redis, RedisCluster};
use crate::support::stall_detector::running_time_since;
use crate::support::test_cluster::{TestCluster, wait_until};

/// How soon an event arrives whose bus message was lost.
const REPAIR_TIMEOUT: Duration = Duration::from_secs(2);
/// Longer than any condition takes to become true.
const CONDITION_TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn members_on_different_nodes_see_one_log_live() {
    let nodes = TestCluster::start(3).await;
    let case = nodes[0].case().await;
    let room = case.room;
    let mut clients = [
        nodes[0].joined(&case.patient, room).await,
        nodes[1].joined(&case.doctor, room).await,
        nodes[2].joined(&case.patient, room).await,
    ];
    nodes.wait_until_subscribed(room).await;
    let mut last = 0;
    let mut slowest = Duration::ZERO;
    for round in 0..60 {
        last = send_chat(&mut clients[round % 3], room, format!("{round}")).await;
        slowest = slowest.max(time_until_all_have(&mut clients, room, last).await);
    }
    assert!(slowest < Duration::from_millis(700), "by publication, not by polling once a second: {slowest:?}");
    // All at once: the nodes' appends conflict, and all clients still end with the same log.
    let ids: Vec<Vec<CommandId>> = clients
        .iter_mut()
        .map(|client| (0..30).map(|at| client.send(room, chat_command(format!("at once {at}")))).collect())
        .collect();
    for client in &mut clients {
        client.flush().await.unwrap();
    }
    for (client, ids) in clients.iter_mut().zip(ids) {
        for id in ids {
            match client.answer(id).await.unwrap() {
                Answer::Done { last: at, .. } => last = last.max(at),
                Answer::Refused(error) => panic!("command refused: {error:?}"),
            }
        }
    }
    time_until_all_have(&mut clients, room, last).await;
    assert_streams_intact(&clients, room);
    let stored = nodes[0].state.store.events_after(room, 0, 1_000).await.unwrap();
    assert_eq!(stored.last().unwrap().seq, last);
    assert_eq!(stored.iter().filter(|it| it.canonical.contains("chat.sent")).count(), 150);
}

#[tokio::test(flavor = "multi_thread")]
async fn command_repeated_on_another_node_takes_effect_once() {
    let nodes = TestCluster::start(2).await;
    let case = nodes[0].case().await;
    let room = case.room;
    let mut here = nodes[0].joined(&case.patient, room).await;
    let mut there = nodes[1].joined(&case.patient, room).await;
    for round in 0..20 {
        let id = CommandId(Uuid::now_v7());
        here.send_as(id, room, None, chat_command(format!("{round}")));
        there.send_as(id, room, None, chat_command(format!("{round}")));
        // At the same time, or one after the other.
        let (first, second) = if round % 2 == 0 {
            tokio::join!(here.answer(id), there.answer(id))
        } else {
            let first = here.answer(id).await;
            (first, there.answer(id).await)
        };
        let (Ok(Answer::Done { first: a, .. }), Ok(Answer::Done { first: b, .. })) = (first, second) else {
            panic!("both get an acknowledgement")
        };
        assert_eq!(a, b);
    }
    let stored = nodes[0].state.store.events_after(room, 0, 1_000).await.unwrap();
    assert_eq!(stored.iter().filter(|it| it.canonical.contains("chat.sent")).count(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_node_reads_the_store_before_it_answers() {
    let mut nodes = TestCluster::start(2).await;
    let case = nodes[0].case().await;
    let room = case.room;
    // Node 1 has the room in memory and receives no more updates.
    nodes[1].state.hub.read(room, &case.doctor).await.unwrap();
    nodes.redis.kill();
    let mut patient = nodes[0].joined(&case.patient, room).await;
    let last = send_chat(&mut patient, room, "unheard").await;
    nodes.move_to(&mut patient, 1);
    patient.cut();
    patient.connect().await.unwrap();
    timeout(CONDITION_TIMEOUT, patient.until_live()).await.unwrap().unwrap();
    patient.until_seq(room, last).await.unwrap();
    assert_streams_intact(&[patient], room);
    // A refusal is not based on stale state either.
    nodes[1].state.hub.read(room, &case.doctor).await.unwrap();
    let end = Command::End(rooms::command::Nothing {});
    nodes[0].submit(room, &case.doctor, end).await.unwrap();
    let complete = Command::Complete(rooms::command::Note { note: Prose::parse("done").unwrap() });
    nodes[1].submit(room, &case.doctor, complete).await.expect("the node has read that the consultation ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_commands_are_acknowledged_and_events_arrive_within_two_seconds() {
    let mut nodes = TestCluster::start(3).await;
    let case = nodes[0].case().await;
    let room = case.room;
    let mut clients = [
        nodes[0].joined(&case.patient, room).await,
        nodes[1].joined(&case.doctor, room).await,
        nodes[2].joined(&case.patient, room).await,
    ];
    nodes.wait_until_subscribed(room).await;
    for round in 0..3 {
        nodes.redis.kill();
        for at in 0..4 {
            let start = Instant::now();
            let last = send_chat(&mut clients[at % 3], room, format!("{round} {at}")).await;
            assert!(
                running_time_since(start) < Duration::from_millis(700),
                "an acknowledgement does not wait for the bus"
            );
            let took = time_until_all_have(&mut clients, room, last).await;
            assert!(took < REPAIR_TIMEOUT, "{took:?}");
        }
        wait_until("every node reports the outage", async || {
            nodes.iter().all(|node| node.state.hub.bus().state() == BusState::Degraded)
        })
        .await;
        nodes.redis.restart();
        nodes.wait_until_subscribed(room).await;
        let last = send_chat(&mut clients[round % 3], room, "back").await;
        let took = time_until_all_have(&mut clients, room, last).await;
        assert!(took < Duration::from_millis(700), "by publication again: {took:?}");
    }
    assert_streams_intact(&clients, room);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_cluster_serves_every_room_and_call() {
    let cluster = RedisCluster::start();
    let nodes = TestCluster::start_with(Redis::start(), 2, |_, config| config.redis = Some(cluster.settings())).await;
    nodes.wait_until_connected().await;
    let mut slowest = Duration::ZERO;
    for round in 0..12 {
        let case = nodes[round % 2].case().await;
        let mut clients =
            [nodes[0].joined(&case.patient, case.room).await, nodes[1].joined(&case.doctor, case.room).await];
        // The first events may come from the store: nothing reports when the servers have applied the subscription.
        for at in 0..6 {
            let last = send_chat(&mut clients[at % 2], case.room, format!("{at}")).await;
            let took = time_until_all_have(&mut clients, case.room, last).await;
            if at > 1 {
                slowest = slowest.max(took);
            }
        }
        assert_streams_intact(&clients, case.room);
        // The placement of a call is a key, on whichever server holds its slot.
        let bus = nodes[round % 2].state.hub.bus();
        assert_eq!(bus.claim(case.room, None).await, Ok(bus.node()));
        assert_eq!(nodes[(round + 1) % 2].state.hub.bus().claim(case.room, None).await, Ok(bus.node()));
        assert_eq!(nodes[(round + 1) % 2].state.hub.bus().deliver(bus.node(), String::new()).await, Ok(true));
    }
    assert!(slowest < Duration::from_millis(700), "by publication, not by polling once a second: {slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_over_tls_requires_a_trusted_certificate() {
    let port = ports::free();
    let (_redis, certificate) = Redis::start_tls(port);
    let database = Database::postgres();
    let bus = async |trusted: bool, wanted: &str| {
        let mut process = HubProcess::new("serve", &database.settings());
        process.set("WARDROOM_REDIS_URL", format!("rediss://127.0.0.1:{port}"));
        if trusted {
            process.set("SSL_CERT_FILE", certificate.display());
        }
        let ready = format!("http://{}/readyz", process.start());
        wait_until(wanted, async || response_text(&ready).await.contains(wanted)).await;
        (process, ready)
    };
    let (untrusting, ready) = bus(false, "degraded").await;
    // By the time another node has started and connected, this one has had time enough, too.
    drop(bus(true, "connected").await);
    assert!(response_text(&ready).await.contains("degraded"), "an untrusted certificate is rejected");
    drop(untrusting);
}

async fn response_text(url: &str) -> String {
    reqwest::get(url).await.unwrap().text().await.unwrap()
}
