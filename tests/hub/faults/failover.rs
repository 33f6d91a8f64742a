//! Chat in rooms spread over three nodes while something fails. Whatever fails, nothing is lost, repeated, or out of
//! order, nothing acknowledged is missing, and all readers end with the same log: [`ChatLoad::finish`] verifies that.
//! Each test says what else must hold.
//!
//! The tests are short by default. To make them longer:
//!
//! - `WARDROOM_TEST_DEATHS=50`: how often a node, Redis, or PostgreSQL is killed
//! - `WARDROOM_TEST_OUTAGE_S=60`: how many seconds Redis is unreachable in one piece
//!
//! `WARDROOM_TEST_DEATHS=50 cargo test --test hub -- --nocapture faults::` takes some minutes and prints
//! measurements.

use std::time::Duration;

use rooms::wire::code::Code;
use tokio::time::{Instant, sleep};
use wardroom::bus::BusState;

use crate::support::chat_load::{ChatLoad, LoadReport};
use crate::support::postgres::PostgresServer;
use crate::support::redis::Redis;
use crate::support::stall_detector::running_time_since;
use crate::support::test_cluster::{TestCluster, wait_until};

/// Rooms under load, with three clients each.
const ROOM_COUNT: usize = 4;
/// How long the load runs undisturbed before and between faults.
const UNDISTURBED_PERIOD: Duration = Duration::from_millis(1_500);
/// How soon a client of a killed node has caught up on another one.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(3);
/// How soon an event arrives whose bus message was lost.
const REPAIR_TIMEOUT: Duration = Duration::from_secs(2);

/// A number from the environment.
fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

fn kill_count() -> usize {
    setting("WARDROOM_TEST_DEATHS", 3)
}

/// Asserts that every retryable error was `unavailable`.
fn assert_only_unavailable(report: &LoadReport) {
    assert!(report.retryable_errors.keys().all(|code| *code == Code::Unavailable), "{:?}", report.retryable_errors);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_killed_node_catch_up_elsewhere_within_three_seconds() {
    let nodes = TestCluster::start(1).await;
    let mut processes = [nodes.process(), nodes.process()];
    let addresses = [nodes[0].address, processes[0].start(), processes[1].start()];
    let load = ChatLoad::start(&nodes[0], &addresses, ROOM_COUNT).await;
    let kill_count = kill_count();
    for kill in 0..kill_count {
        sleep(UNDISTURBED_PERIOD).await;
        let at = kill % 2;
        load.set_node(at + 1, None);
        processes[at].kill();
        sleep(UNDISTURBED_PERIOD).await;
        load.set_node(at + 1, Some(processes[at].start()));
        load.return_home();
    }
    sleep(UNDISTURBED_PERIOD).await;
    let report = load.finish(&nodes[0].state.store).await;
    let lost = report.reconnects.len();
    println!(
        "{kill_count} deaths, {lost} connections lost, p99 back {:?}, worst {:?}",
        report.reconnect_p99(),
        report.reconnects.iter().map(|(cut, live)| *live - *cut).max()
    );
    assert_eq!(lost, kill_count * ROOM_COUNT, "each kill disconnects exactly the clients of that node");
    assert!(report.reconnect_p99() < FAILOVER_TIMEOUT, "{:?}", report.reconnects);
    assert_only_unavailable(&report);
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_node_spreads_reconnects_and_causes_no_error() {
    let nodes = TestCluster::start(1).await;
    let mut processes = [nodes.process(), nodes.process()];
    let addresses = [nodes[0].address, processes[0].start(), processes[1].start()];
    let load = ChatLoad::start_calm(&nodes[0], &addresses, 3 * ROOM_COUNT).await;
    for (at, process) in processes.iter_mut().enumerate() {
        sleep(UNDISTURBED_PERIOD).await;
        load.set_node(at + 1, None);
        process.signal("TERM");
        let begin = Instant::now();
        assert!(tokio::task::block_in_place(|| process.wait()), "the node exits successfully");
        assert!(running_time_since(begin) < Duration::from_secs(25), "{:?}", begin.elapsed());
        // Clients that were told to reconnect late must have done so before the node serves again.
        sleep(Duration::from_secs(6)).await;
        load.set_node(at + 1, Some(process.start()));
        load.return_home();
    }
    sleep(UNDISTURBED_PERIOD).await;
    let report = load.finish(&nodes[0].state.store).await;
    assert_eq!((report.reconnect_delays.len(), report.failed_connects), (2 * 3 * ROOM_COUNT, 0));
    assert!(report.retryable_errors.is_empty(), "{:?}", report.retryable_errors);
    assert!(report.close_codes.keys().all(|code| *code == 1012), "{:?}", report.close_codes);
    println!("reconnect delays {:?} ms", report.reconnect_delays);
    assert!(report.reconnect_delays.iter().all(|after| *after <= 5_000));
    // The node spreads its clients evenly over five seconds; over both nodes, two to eight reconnect in each.
    for second in 0..5 {
        let reconnects = report
            .reconnect_delays
            .iter()
            .filter(|after| (second * 1_000..(second + 1) * 1_000).contains(*after))
            .count();
        let expected = report.reconnect_delays.len() / 5;
        assert!(
            reconnects.abs_diff(expected) <= 4,
            "{reconnects} reconnects in second {second}: {:?}",
            report.reconnect_delays
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_redis_crashes_delay_events_by_at_most_two_seconds() {
    let mut nodes = TestCluster::start(3).await;
    let load = ChatLoad::start_calm(&nodes[0], &nodes.addresses(), ROOM_COUNT).await;
    let begin = Instant::now();
    for _ in 0..setting("WARDROOM_TEST_DEATHS", 3).min(20) {
        sleep(UNDISTURBED_PERIOD).await;
        nodes.redis.kill();
        sleep(UNDISTURBED_PERIOD).await;
        nodes.redis.restart();
        nodes.wait_until_connected().await;
    }
    sleep(UNDISTURBED_PERIOD).await;
    let (end, store) = (Instant::now(), nodes[0].state.store.clone());
    let report = load.finish(&store).await;
    println!("slowest of {} deliveries: {:?}", report.deliveries.len(), report.max_delay(begin, end));
    assert!(report.max_delay(begin, end) < REPAIR_TIMEOUT, "{:?}", report.max_delay(begin, end));
    assert!(
        report.retryable_errors.is_empty() && report.close_codes.is_empty(),
        "{:?} {:?}",
        report.retryable_errors,
        report.close_codes
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn long_redis_outage_delays_events_by_at_most_two_seconds() {
    let nodes = TestCluster::start(3).await;
    let load = ChatLoad::start_calm(&nodes[0], &nodes.addresses(), ROOM_COUNT).await;
    sleep(UNDISTURBED_PERIOD).await;
    nodes.redis.signal("STOP");
    let outage_start = Instant::now();
    sleep(Duration::from_secs(setting("WARDROOM_TEST_OUTAGE_S", 6) as u64)).await;
    assert!(
        nodes.iter().all(|node| node.state.hub.bus().state() == BusState::Degraded),
        "every node reports the outage"
    );
    let outage_end = Instant::now();
    nodes.redis.signal("CONT");
    nodes.wait_until_connected().await;
    sleep(2 * UNDISTURBED_PERIOD).await;
    let report = load.finish(&nodes[0].state.store).await;
    let p75_delay = report.p75_delay(outage_start, outage_end);
    println!(
        "during the outage p75 {p75_delay:?}, slowest {:?}; afterwards {:?}",
        report.max_delay(outage_start, outage_end),
        report.max_delay(outage_end, Instant::now())
    );
    assert!(p75_delay < Duration::from_millis(350), "polling the store five times a second: {p75_delay:?}");
    assert!(
        report.max_delay(outage_start, Instant::now()) < REPAIR_TIMEOUT,
        "{:?}",
        report.max_delay(outage_start, Instant::now())
    );
    assert!(
        report.retryable_errors.is_empty() && report.close_codes.is_empty(),
        "{:?} {:?}",
        report.retryable_errors,
        report.close_codes
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_crash_or_pause_makes_answers_late_or_retryable_and_never_wrong() {
    let mut postgres = PostgresServer::start(100);
    let nodes = TestCluster::start_on(postgres.database(), Redis::start(), 3, |_, _| {}).await;
    nodes.wait_until_connected().await;
    let load = ChatLoad::start(&nodes[0], &nodes.addresses(), ROOM_COUNT).await;
    for _ in 0..kill_count().min(20) {
        sleep(UNDISTURBED_PERIOD).await;
        postgres.crash();
        sleep(UNDISTURBED_PERIOD).await;
        postgres.restart();
    }
    sleep(UNDISTURBED_PERIOD).await;
    postgres.pause();
    sleep(Duration::from_secs(10)).await;
    let resumed_at = Instant::now();
    postgres.resume();
    for node in nodes.iter() {
        wait_until("the store answers", async || node.state.store.ping().await.is_ok()).await;
    }
    sleep(2 * UNDISTURBED_PERIOD).await;
    let report = load.finish(&nodes[0].state.store).await;
    println!(
        "retryable errors {:?}, close codes {:?}, slowest delivery afterwards {:?}",
        report.retryable_errors,
        report.close_codes,
        report.max_delay(resumed_at, Instant::now())
    );
    assert!(report.retryable_errors.contains_key(&Code::Unavailable), "the outage had an effect");
    assert_only_unavailable(&report);
    assert!(report.close_codes.is_empty(), "no connection is closed: {:?}", report.close_codes);
}
