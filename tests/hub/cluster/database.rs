//! Several nodes on one PostgreSQL: one migration run, serialization failures, commits of unknown outcome, and nodes
//! that stop in the middle of a commit.

use std::time::Duration;

use futures_util::future::join_all;
use loadtest::client::{Answer, Client};
use loadtest::target::Target;
use rooms::id::{CommandId, RoomId};
use rooms::wire::code::Code;
use tokio::time::{Instant, sleep, timeout};
use wardroom::store::Store;

use crate::support::chat::{assert_streams_intact, chat_command, send_chat, time_until_all_have};
use crate::support::database::Database;
use crate::support::stall_detector::running_time_since;
use crate::support::test_cluster::TestCluster;
use crate::support::test_server::TestServer;

/// Longer than any condition takes to become true.
const CONDITION_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes PostgreSQL do something at the first insertion of events from now on.
fn on_first_insert(database: &Database, trigger: &str, what: &str) {
    database.sql(&format!(
        "create sequence once; create function once() returns trigger language plpgsql as $$ begin \
         if nextval('once') = 1 then {what}; end if; return null; end $$; create {trigger} execute function once()"
    ));
}

/// Repeats a command that is already in flight until it succeeds.
async fn repeat_until_done(client: &mut Client, id: CommandId) -> u64 {
    let answered = async {
        loop {
            match client.answer(id).await.expect("the connection stays open") {
                Answer::Done { last, .. } => return last,
                Answer::Refused(error) => assert_eq!(error.code, Code::Unavailable),
            }
            sleep(Duration::from_millis(500)).await;
            client.send_again(id);
        }
    };
    timeout(CONDITION_TIMEOUT, answered).await.expect("the command succeeds in the end")
}

fn chat_count(stored: &[wardroom::store::record::StoredRecord]) -> usize {
    stored.iter().filter(|it| it.canonical.contains("chat.sent")).count()
}

async fn stored(server: &TestServer, room: RoomId) -> Vec<wardroom::store::record::StoredRecord> {
    server.state.store.events_after(room, 0, 1_000).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_start_together_migrate_once() {
    let database = Database::postgres();
    let settings = database.settings();
    for store in join_all((0..6).map(|_| Store::connect(&settings))).await {
        store.expect("each node finds the tables ready").ping().await.unwrap();
    }
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap();
    let files = files.filter(|it| it.as_ref().unwrap().path().extension().is_some_and(|it| it == "sql")).count();
    assert_eq!(database.sql("select count(*) from _sqlx_migrations where success"), files.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn serialization_failure_is_retried() {
    let database = Database::postgres();
    let server = TestServer::start(database.settings()).await;
    let case = server.case().await;
    let mut patient = server.joined(&case.patient, case.room).await;
    let fails = "raise exception using errcode = '40001', message = 'not in this order'";
    on_first_insert(&database, "trigger once before insert on events for each statement", fails);
    send_chat(&mut patient, case.room, "at once").await;
    assert!(database.sql("select last_value from once").parse::<u32>().unwrap() >= 2, "the first attempt failed");
    assert_eq!(chat_count(&stored(&server, case.room).await), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn commit_of_unknown_outcome_is_published_once() {
    let database = Database::postgres();
    let server = TestServer::start(database.settings()).await;
    let case = server.case().await;
    let room = case.room;
    let mut patient = server.joined(&case.patient, room).await;
    let mut readers = [server.joined(&case.doctor, room).await];
    // The commit takes longer than the hub's time-out, and then succeeds.
    let late = "constraint trigger once after insert on events deferrable initially deferred for each row";
    on_first_insert(&database, late, "perform pg_sleep(7)");
    let id = patient.send(room, chat_command("is it there?"));
    assert!(matches!(patient.answer(id).await.unwrap(), Answer::Refused(error) if error.code == Code::Unavailable));
    let committed = async {
        while chat_count(&stored(&server, room).await) == 0 {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(CONDITION_TIMEOUT, committed).await.expect("the commit succeeds in the end");
    patient.send_again(id);
    let last = repeat_until_done(&mut patient, id).await;
    time_until_all_have(&mut readers, room, last).await;
    let last = send_chat(&mut patient, room, "it is").await;
    time_until_all_have(&mut readers, room, last).await;
    patient.until_seq(room, last).await.unwrap();
    assert_streams_intact(&readers, room);
    assert_streams_intact(&[patient], room);
    assert_eq!(chat_count(&stored(&server, room).await), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_stopped_during_a_commit_blocks_others_only_briefly() {
    let nodes = TestCluster::start(1).await;
    let case = nodes[0].case().await;
    let room = case.room;
    let mut process = nodes.process();
    let address = process.start();
    let mut there = Client::new(Target::new(address).expect("loopback"), nodes[0].token(&case.doctor));
    there.connect().await.unwrap();
    there.join(room).await.unwrap();
    let mut here = [nodes[0].joined(&case.patient, room).await];
    on_first_insert(nodes.database(), "trigger once after insert on events for each statement", "perform pg_sleep(2)");
    let stuck = there.send(room, chat_command("stuck"));
    there.flush().await.unwrap();
    let started = async {
        let running =
            "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()";
        while nodes.database().sql(running) != "1" {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(CONDITION_TIMEOUT, started).await.expect("the commit has begun");
    process.signal("STOP");
    let start = Instant::now();
    let id = here[0].send(room, chat_command("not stuck"));
    let last = repeat_until_done(&mut here[0], id).await;
    assert!(running_time_since(start) < Duration::from_secs(20), "{:?}", start.elapsed());
    process.signal("CONT");
    let last = repeat_until_done(&mut there, stuck).await.max(last);
    there.until_seq(room, last).await.unwrap();
    time_until_all_have(&mut here, room, last).await;
    assert_streams_intact(&here, room);
    assert_streams_intact(&[there], room);
    assert_eq!(chat_count(&stored(&nodes[0], room).await), 2);
}
