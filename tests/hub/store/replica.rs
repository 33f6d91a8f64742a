//! Reads of history on a replica: nobody sees less there than they have seen already.

use secrecy::SecretString;
use serde_json::Value;
use wardroom::config::DatabaseSettings;

use crate::support::chat::send_chat;
use crate::support::database::Database;
use crate::support::http;
use crate::support::hub_process::HubProcess;
use crate::support::postgres::PostgresServer;
use crate::support::test_cluster::wait_until;
use crate::support::test_server::{Case, TestServer};

/// Reads by outcome: from the replica, replica behind, replica unreachable.
fn read_counts(server: &TestServer) -> [u64; 3] {
    server.state.history.replica_reads().expect("a replica is configured").map(|(_, count)| count)
}

/// Asserts that the last page of the room, and all pages from the first, show everything up to `head`.
async fn assert_shows_all(server: &TestServer, case: &Case, head: u64) {
    for query in ["limit=500", "limit=500&after=0"] {
        let url = format!("http://{}/v1/rooms/{}/events?{query}", server.address, case.room);
        let answer = http().get(url).bearer_auth(server.token(&case.doctor).0).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let page: Value = answer.json().await.unwrap();
        assert_eq!(page["head"], head, "{query}");
        let seqs: Vec<u64> = page["items"].as_array().unwrap().iter().map(|it| it["seq"].as_u64().unwrap()).collect();
        assert!(seqs.iter().copied().eq(1..=head), "{query}: {seqs:?}");
    }
}

async fn export(server: &TestServer, case: &Case) -> usize {
    let url = format!("http://{}/v1/rooms/{}/export", server.address, case.room);
    let call = http()
        .post(url)
        .bearer_auth(server.token(&case.doctor).0)
        .header("Idempotency-Key", uuid::Uuid::now_v7().to_string());
    let answer = call.json(&serde_json::json!({"purpose": "a second opinion"})).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let text = answer.text().await.unwrap();
    wardroom::archive::verify(text.as_bytes()).expect("the record is intact");
    text.lines().count() - 1
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_serves_history_and_a_lagging_or_lost_one_hides_nothing() {
    let primary = PostgresServer::start(50);
    let database: Database = primary.database();
    let mut replica = primary.replica();
    let settings = DatabaseSettings {
        read_url: Some(SecretString::from(database.at(replica.socket()).settings().url().to_owned())),
        ..database.settings()
    };
    let server = TestServer::start(settings.clone()).await;
    let case = server.case().await;
    let mut patient = server.joined(&case.patient, case.room).await;
    let mut head = 0;
    for at in 0..40 {
        head = send_chat(&mut patient, case.room, format!("{at}")).await;
    }
    let reached = format!("select coalesce(max(seq), 0) from events where room = '{}'", case.room);
    let caught_up = async |replica: &PostgresServer, head: u64| {
        wait_until("the replica catches up", async || replica.sql(&database, &reached) == head.to_string()).await;
    };
    caught_up(&replica, head).await;
    assert_shows_all(&server, &case, head).await;
    assert_eq!(read_counts(&server), [2, 0, 0], "the replica is read");

    // The replica stops replaying; what is acknowledged from now on is shown all the same.
    replica.sql(&database, "select pg_wal_replay_pause()");
    wait_until("the replay is paused", async || {
        replica.sql(&database, "select pg_get_wal_replay_pause_state()") == "paused"
    })
    .await;
    for at in 0..5 {
        head = send_chat(&mut patient, case.room, format!("later {at}")).await;
        assert_shows_all(&server, &case, head).await;
    }
    assert_eq!(read_counts(&server)[1..], [10, 0], "each read found the replica behind");
    head = export(&server, &case).await as u64;
    assert_shows_all(&server, &case, head).await;
    replica.sql(&database, "select pg_wal_replay_resume()");
    caught_up(&replica, head).await;
    let before = read_counts(&server);
    assert_shows_all(&server, &case, head).await;
    assert_eq!(read_counts(&server), [before[0] + 2, before[1], 0]);

    // The replica crashes and restarts.
    replica.crash();
    for _ in 0..3 {
        assert_shows_all(&server, &case, head).await;
    }
    assert_eq!(read_counts(&server)[2], 1, "an unreachable replica is not tried each time");
    replica.restart();
    let before = read_counts(&server)[0];
    wait_until("the replica is read again", async || {
        assert_shows_all(&server, &case, head).await;
        read_counts(&server)[0] > before
    })
    .await;

    // Verification reads the replica as well, or the primary if the replica is unreachable.
    let mut process = HubProcess::new("serve", &settings);
    process.set("WARDROOM_DATABASE_READ_URL", settings.read_url().unwrap());
    let (whole, said) = process.run(&["verify", "--database"]);
    assert!(whole && said.contains("1 rooms") && !said.contains("reading the database itself"), "{said}");
    replica.crash();
    let (whole, said) = process.run(&["verify", "--database"]);
    assert!(whole && said.contains("reading the database itself"), "{said}");
}
