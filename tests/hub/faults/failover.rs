//! Three nodes, people who talk in rooms that are spread over them, and something that fails meanwhile. Whatever it is,
//! nothing is lost, repeated or out of order, nothing acknowledged is missing, and all readers end with the same log:
//! [`ChatLoad::end`] compares. Each story says what else holds.
//!
//! The stories are short, to be run always. Longer:
//!
//! - `WARDROOM_TEST_DEATHS=50`: how often a node, Redis or PostgreSQL is killed
//! - `WARDROOM_TEST_OUTAGE_S=60`: how many seconds Redis is away in one piece
//!
//! `WARDROOM_TEST_DEATHS=50 cargo test --test hub -- --nocapture faults` takes some minutes and prints what it saw.

use std::time::Duration;

use rooms::wire::code::Code;
use tokio::time::{Instant, sleep};
use wardroom::bus::BusState;

use crate::support::chat_load::{ChatLoad, LoadReport};
use crate::support::postgres::PostgresServer;
use crate::support::redis::Redis;
use crate::support::stall_detector::running_time_since;
use crate::support::test_cluster::{TestCluster, wait_until};

/// Rooms that are talked in, by three people each.
const ROOMS: usize = 4;
/// How long people talk before and between faults.
const QUIET: Duration = Duration::from_millis(1_500);
/// How soon a client of a killed node has everything on another one.
const BACK: Duration = Duration::from_secs(3);
/// How soon an event arrives whose message was lost.
const HEALED: Duration = Duration::from_secs(2);

/// A number from the environment.
fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

fn deaths() -> usize {
    setting("WARDROOM_TEST_DEATHS", 3)
}

/// Nothing but codes that say to send it again.
fn only_unavailable(book: &LoadReport) {
    assert!(book.retried.keys().all(|code| *code == Code::Unavailable), "{:?}", book.retried);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_of_a_killed_node_are_back_elsewhere_within_three_seconds() {
    let nodes = TestCluster::start(1).await;
    let mut others = [nodes.process(), nodes.process()];
    let addresses = [nodes[0].address, others[0].start(), others[1].start()];
    let load = ChatLoad::start(&nodes[0], &addresses, ROOMS).await;
    let deaths = deaths();
    for death in 0..deaths {
        sleep(QUIET).await;
        let at = death % 2;
        load.set_node(at + 1, None);
        others[at].kill();
        sleep(QUIET).await;
        load.set_node(at + 1, Some(others[at].start()));
        load.go_home();
    }
    sleep(QUIET).await;
    let book = load.end(&nodes[0].state.store).await;
    let lost = book.back.len();
    println!(
        "{deaths} deaths, {lost} connections lost, p99 back {:?}, worst {:?}",
        book.back_p99(),
        book.back.iter().map(|(cut, live)| *live - *cut).max()
    );
    assert_eq!(lost, deaths * ROOMS, "each death costs those who are on that node");
    assert!(book.back_p99() < BACK, "{:?}", book.back);
    only_unavailable(&book);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_on_a_node_that_drains_comes_back_as_told_and_sees_no_error() {
    let nodes = TestCluster::start(1).await;
    let mut others = [nodes.process(), nodes.process()];
    let addresses = [nodes[0].address, others[0].start(), others[1].start()];
    let load = ChatLoad::start_calm(&nodes[0], &addresses, 3 * ROOMS).await;
    for (at, other) in others.iter_mut().enumerate() {
        sleep(QUIET).await;
        load.set_node(at + 1, None);
        other.signal("TERM");
        let begin = Instant::now();
        assert!(tokio::task::block_in_place(|| other.wait()), "it ends well");
        assert!(running_time_since(begin) < Duration::from_secs(25), "{:?}", begin.elapsed());
        // Those who were told to come back late are not on the next node before they are.
        sleep(Duration::from_secs(6)).await;
        load.set_node(at + 1, Some(other.start()));
        load.go_home();
    }
    sleep(QUIET).await;
    let book = load.end(&nodes[0].state.store).await;
    assert_eq!((book.told.len(), book.not_opened), (2 * 3 * ROOMS, 0));
    assert!(book.retried.is_empty(), "{:?}", book.retried);
    assert!(book.closed.keys().all(|code| *code == 1012), "{:?}", book.closed);
    println!("told to come back after {:?} ms", book.told);
    assert!(book.told.iter().all(|after| *after <= 5_000));
    // Each of a node's twelve has a twelfth of the time: of both nodes', two to eight come in each second.
    for second in 0..5 {
        let told = book.told.iter().filter(|after| (second * 1_000..(second + 1) * 1_000).contains(*after)).count();
        let expected = book.told.len() / 5;
        assert!(told.abs_diff(expected) <= 4, "{told} in second {second}: {:?}", book.told);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_dies_again_and_again_delays_events_by_two_seconds_at_most() {
    let mut nodes = TestCluster::start(3).await;
    let load = ChatLoad::start_calm(&nodes[0], &nodes.addresses(), ROOMS).await;
    let begin = Instant::now();
    for _ in 0..setting("WARDROOM_TEST_DEATHS", 3).min(20) {
        sleep(QUIET).await;
        nodes.redis.kill();
        sleep(QUIET).await;
        nodes.redis.restart();
        nodes.wait_until_connected().await;
    }
    sleep(QUIET).await;
    let (end, store) = (Instant::now(), nodes[0].state.store.clone());
    let book = load.end(&store).await;
    println!("slowest {:?} of {} heard", book.slowest(begin, end), book.heard.len());
    assert!(book.slowest(begin, end) < HEALED, "{:?}", book.slowest(begin, end));
    assert!(book.retried.is_empty() && book.closed.is_empty(), "{:?} {:?}", book.retried, book.closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_answers_nothing_for_long_delays_events_by_two_seconds_at_most() {
    let nodes = TestCluster::start(3).await;
    let load = ChatLoad::start_calm(&nodes[0], &nodes.addresses(), ROOMS).await;
    sleep(QUIET).await;
    nodes.redis.signal("STOP");
    let away = Instant::now();
    sleep(Duration::from_secs(setting("WARDROOM_TEST_OUTAGE_S", 6) as u64)).await;
    assert!(nodes.iter().all(|node| node.state.hub.bus().state() == BusState::Degraded), "the nodes say so");
    let back = Instant::now();
    nodes.redis.signal("CONT");
    nodes.wait_until_connected().await;
    sleep(2 * QUIET).await;
    let book = load.end(&nodes[0].state.store).await;
    let mostly = book.mostly(away, back);
    println!(
        "while away three of four within {mostly:?}, slowest {:?}; then {:?}",
        book.slowest(away, back),
        book.slowest(back, Instant::now())
    );
    assert!(mostly < Duration::from_millis(350), "by the comparison five times a second: {mostly:?}");
    assert!(book.slowest(away, Instant::now()) < HEALED, "{:?}", book.slowest(away, Instant::now()));
    assert!(book.retried.is_empty() && book.closed.is_empty(), "{:?} {:?}", book.retried, book.closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_that_crashes_or_stands_still_makes_answers_late_or_retryable_and_never_wrong() {
    let mut cluster = PostgresServer::start(100);
    let nodes = TestCluster::start_on(cluster.database(), Redis::start(), 3, |_, _| {}).await;
    nodes.wait_until_connected().await;
    let load = ChatLoad::start(&nodes[0], &nodes.addresses(), ROOMS).await;
    for _ in 0..deaths().min(20) {
        sleep(QUIET).await;
        cluster.crash();
        sleep(QUIET).await;
        cluster.restart();
    }
    sleep(QUIET).await;
    cluster.pause();
    sleep(Duration::from_secs(10)).await;
    let on = Instant::now();
    cluster.resume();
    for node in nodes.iter() {
        wait_until("the store answers", async || node.state.store.ping().await.is_ok()).await;
    }
    sleep(2 * QUIET).await;
    let book = load.end(&nodes[0].state.store).await;
    println!(
        "retried {:?}, closed {:?}, slowest after {:?}",
        book.retried,
        book.closed,
        book.slowest(on, Instant::now())
    );
    assert!(book.retried.contains_key(&Code::Unavailable), "it was felt");
    only_unavailable(&book);
    assert!(book.closed.is_empty(), "nobody is thrown out: {:?}", book.closed);
}
