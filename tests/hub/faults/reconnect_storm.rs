//! All clients reconnect at the same moment while new ones connect for the first time. The hub admits them at the
//! configured rate, returning clients first, and connections that stayed open are not affected.
//!
//! `WARDROOM_TEST_STORM=10000` sets how many are cut; each needs two descriptors (`ulimit -n`), one here and one in
//! the hub.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use loadtest::client::Client;
use loadtest::target::Target;
use rooms::role::Role;
use tokio::time::{Instant, sleep};

use crate::support::chat::send_chat;
use crate::support::chat_load::{ChatLoad, p99};
use crate::support::stall_detector::running_time_since;
use crate::support::test_cluster::TestCluster;

/// Admissions per second.
const ADMISSIONS_PER_SECOND: usize = 150;
/// How long all clients may take to reconnect at that rate.
const STORM_TIMEOUT: Duration = Duration::from_secs(60);

/// Returns the hub's own histogram of answer times: upper bounds in seconds and cumulative counts.
async fn ack_histogram(address: SocketAddr) -> Vec<(f64, u64)> {
    let text = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
    let bucket = |line: &str| {
        let (le, count) = line.strip_prefix("wardroom_ack_seconds_bucket{le=\"")?.split_once("\"} ")?;
        Some((le.parse().unwrap_or(f64::INFINITY), count.trim().parse().ok()?))
    };
    text.lines().filter_map(bucket).collect()
}

/// Returns the 99th percentile of answer times between two samples, as the upper bound of its bucket in seconds.
fn acks_p99(before: &[(f64, u64)], after: &[(f64, u64)]) -> f64 {
    let all = after.last().map_or(0, |last| last.1) - before.last().map_or(0, |last| last.1);
    let mut buckets = after.iter().zip(before);
    buckets.find(|(after, before)| (after.1 - before.1) * 100 >= all * 99).map_or(f64::INFINITY, |(after, _)| after.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnect_storm_is_admitted_at_the_configured_rate_without_affecting_others() {
    let count: usize = std::env::var("WARDROOM_TEST_STORM").map_or(2_000, |text| text.parse().expect("a number"));
    let nodes = TestCluster::start(1).await;
    let mut process = nodes.process();
    process.set("WARDROOM_LIMITS_ARRIVALS_PER_SECOND", ADMISSIONS_PER_SECOND);
    let address = process.start();
    let load = ChatLoad::start_calm(&nodes[0], &[address], 2).await;

    // Fifty rooms, whose members have many devices each.
    let mut clients = Vec::with_capacity(count);
    let mut cases = Vec::new();
    for _ in 0..50 {
        cases.push(nodes[0].case().await);
    }
    for at in 0..count {
        let case = &cases[at % 50];
        let who = if at % 100 < 50 { &case.patient } else { &case.doctor };
        clients.push(Client::new(Target::new(address).expect("loopback"), nodes[0].token(who)));
    }
    let new: Vec<Client> = join_all((0..count / 10).map(async |_| {
        let patient = nodes[0].person(Role::Patient, "Pat", None).await;
        Client::new(Target::new(address).expect("loopback"), nodes[0].token(&patient))
    }))
    .await;
    for (part, some) in clients.chunks_mut(100).enumerate() {
        let joined = some.iter_mut().enumerate().map(|(at, client)| {
            let room = cases[(100 * part + at) % 50].room;
            async move {
                client.connect().await.expect("the hub welcomes the client");
                client.join(room).await.expect("a member may join");
            }
        });
        join_all(joined).await;
    }
    let (calm, acks_calm) = (Instant::now(), ack_histogram(address).await);
    sleep(Duration::from_secs(2)).await;

    // Cut all clients, and write to each room before they are back.
    clients.iter_mut().for_each(Client::cut);
    let mut heads = Vec::new();
    for case in &cases {
        let mut doctor = nodes[0].joined(&case.doctor, case.room).await;
        heads.push(send_chat(&mut doctor, case.room, "while you were away").await);
    }
    let (storm, acks_storm) = (Instant::now(), ack_histogram(address).await);
    let new = tokio::spawn(join_all(new.into_iter().map(|mut client| async move {
        client.connect().await.expect("the client is admitted in the end");
        storm.elapsed()
    })));
    let back = clients.into_iter().enumerate().map(|(at, mut client)| {
        let (room, head) = (cases[at % 50].room, heads[at % 50]);
        tokio::spawn(async move {
            client.connect().await.expect("the client is admitted in the end");
            client.until_live().await.expect("the client catches up");
            let took = storm.elapsed();
            client.until_seq(room, head).await.expect("the client receives what it missed");
            let check = client.delivery_check(room).expect("the client has joined the room");
            assert_eq!((check.gaps(), check.repeated(), check.out_of_order()), (0, 0, 0));
            took
        })
    });
    let back: Vec<Duration> = join_all(back).await.into_iter().map(|it| it.expect("no task panics")).collect();
    let all_back = running_time_since(storm);
    let (over, acks_over) = (Instant::now(), ack_histogram(address).await);
    let (before, meanwhile) = (acks_p99(&acks_calm, &acks_storm), acks_p99(&acks_storm, &acks_over));
    let new = new.await.expect("no task panics");
    let report = load.finish(&nodes[0].state.store).await;
    println!(
        "{count} back within {all_back:?}, p99 {:?}; {} new clients p99 {:?}; answers to others p99 {:?} before, {:?} during the storm",
        p99(back.into_iter()),
        new.len(),
        p99(new.iter().copied()),
        report.answer_p99(calm, storm),
        report.answer_p99(storm, over)
    );
    println!("by the hub's own metrics p99 {before} s before, {meanwhile} s during the storm");
    let least = Duration::from_secs_f64((count as f64 / ADMISSIONS_PER_SECOND as f64 - 1.0).max(0.0));
    assert!(all_back >= least.mul_f64(0.9), "not faster than the rate: {all_back:?}");
    assert!(all_back < STORM_TIMEOUT, "{all_back:?}");
    assert!(
        report.close_codes.is_empty() && report.retryable_errors.is_empty(),
        "{:?} {:?}",
        report.close_codes,
        report.retryable_errors
    );
}
