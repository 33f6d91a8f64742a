//! Everybody comes back at the same moment, and others come for the first time: they are let in at the rate that is set,
//! those first who were there before, and who was not cut goes on.
//!
//! `WARDROOM_TEST_STORM=10000` is how many are cut; each needs two descriptors (`ulimit -n`), one here and one in the hub.

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

/// Clients that are let in a second.
const RATE: usize = 150;
/// How long everybody may take to be back, at that rate.
const BACK: Duration = Duration::from_secs(60);

/// How many of the hub's own answers took how long at most, so far: seconds and counts of a histogram.
async fn acks(address: SocketAddr) -> Vec<(f64, u64)> {
    let text = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
    let bucket = |line: &str| {
        let (le, count) = line.strip_prefix("wardroom_ack_seconds_bucket{le=\"")?.split_once("\"} ")?;
        Some((le.parse().unwrap_or(f64::INFINITY), count.trim().parse().ok()?))
    };
    text.lines().filter_map(bucket).collect()
}

/// In how many seconds 99 of 100 answers came between two looks, by the upper end of their bucket.
fn acks_p99(before: &[(f64, u64)], after: &[(f64, u64)]) -> f64 {
    let all = after.last().map_or(0, |last| last.1) - before.last().map_or(0, |last| last.1);
    let mut buckets = after.iter().zip(before);
    buckets.find(|(after, before)| (after.1 - before.1) * 100 >= all * 99).map_or(f64::INFINITY, |(after, _)| after.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_clients_is_let_in_by_the_rate_and_who_comes_back_first() {
    let count: usize = std::env::var("WARDROOM_TEST_STORM").map_or(2_000, |text| text.parse().expect("a number"));
    let nodes = TestCluster::start(1).await;
    let mut process = nodes.process();
    process.set("WARDROOM_LIMITS_ARRIVALS_PER_SECOND", RATE);
    let address = process.start();
    let load = ChatLoad::start_calm(&nodes[0], &[address], 2).await;

    // Fifty rooms; the people of each have many devices.
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
                client.connect().await.expect("the hub welcomes");
                client.join(room).await.expect("a member may join");
            }
        });
        join_all(joined).await;
    }
    let (calm, acks_calm) = (Instant::now(), acks(address).await);
    sleep(Duration::from_secs(2)).await;

    // All are cut. Something happens in each room before they are back.
    clients.iter_mut().for_each(Client::cut);
    let mut heads = Vec::new();
    for case in &cases {
        let mut doctor = nodes[0].joined(&case.doctor, case.room).await;
        heads.push(send_chat(&mut doctor, case.room, "while you were away").await);
    }
    let (storm, acks_storm) = (Instant::now(), acks(address).await);
    let new = tokio::spawn(join_all(new.into_iter().map(|mut client| async move {
        client.connect().await.expect("let in at last");
        storm.elapsed()
    })));
    let back = clients.into_iter().enumerate().map(|(at, mut client)| {
        let (room, head) = (cases[at % 50].room, heads[at % 50]);
        tokio::spawn(async move {
            client.connect().await.expect("let in at last");
            client.until_live().await.expect("everything comes");
            let took = storm.elapsed();
            client.until_seq(room, head).await.expect("what was missed, too");
            let tally = client.tally(room).expect("it is in the room");
            assert_eq!((tally.gaps(), tally.repeated(), tally.out_of_order()), (0, 0, 0));
            took
        })
    });
    let back: Vec<Duration> = join_all(back).await.into_iter().map(|it| it.expect("no panic")).collect();
    let all_back = running_time_since(storm);
    let (over, acks_over) = (Instant::now(), acks(address).await);
    let (before, meanwhile) = (acks_p99(&acks_calm, &acks_storm), acks_p99(&acks_storm, &acks_over));
    let new = new.await.expect("no panic");
    let book = load.end(&nodes[0].state.store).await;
    println!(
        "{count} back within {all_back:?}, p99 {:?}; {} new ones p99 {:?}; the others' answers p99 {:?} before, {:?} meanwhile",
        p99(back.into_iter()),
        new.len(),
        p99(new.iter().copied()),
        book.took_p99(calm, storm),
        book.took_p99(storm, over)
    );
    println!("by the hub's own figures p99 {before} s before, {meanwhile} s meanwhile");
    let least = Duration::from_secs_f64((count as f64 / RATE as f64 - 1.0).max(0.0));
    assert!(all_back >= least.mul_f64(0.9), "no faster than the rate: {all_back:?}");
    assert!(all_back < BACK, "{all_back:?}");
    assert!(book.closed.is_empty() && book.retried.is_empty(), "{:?} {:?}", book.closed, book.retried);
}
