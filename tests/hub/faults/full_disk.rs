//! A full disk under the store: the hub rejects writes with a code that says so, still serves reads, and resumes by
//! itself once there is space again.

use std::time::Duration;

use loadtest::client::Answer;
use rooms::wire::code::Code;
use serde_json::{Value, json};
use tokio::time::sleep;
use uuid::Uuid;
use wardroom::archive::verify_room;
use wardroom::config::DatabaseSettings;

use crate::support::chat::{assert_streams_intact, chat_command, send_chat, time_until_all_have};
use crate::support::http;
use crate::support::postgres::PostgresServer;
use crate::support::small_disk::SmallDisk;
use crate::support::test_server::TestServer;

/// How soon the hub resumes once there is space.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_on_a_full_disk_rejects_writes_serves_reads_and_recovers() {
    let Some(disk) = SmallDisk::mount(8) else { return };
    run_on_full_disk(DatabaseSettings::new(format!("sqlite:{}/hub.db", disk.path().display())), &disk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_on_a_full_disk_rejects_writes_serves_reads_and_recovers() {
    let Some(disk) = SmallDisk::mount(40) else { return };
    let postgres = PostgresServer::start(20);
    run_on_full_disk(postgres.database_at(disk.path()).settings(), &disk).await;
}

async fn run_on_full_disk(database: DatabaseSettings, disk: &SmallDisk) {
    let server = TestServer::start(database).await;
    let case = server.case().await;
    let room = case.room;
    let mut patient = server.joined(&case.patient, room).await;
    let mut readers = [server.joined(&case.doctor, room).await];
    let mut last = send_chat(&mut patient, room, "before").await;
    let mut stored_count = 1;
    disk.fill();

    // The database may have free space in what it has allocated already.
    let text = "long ".repeat(200);
    let (rejected, error) = loop {
        assert!(stored_count < 2_000, "the disk never fills up");
        let id = patient.send(room, chat_command(&text));
        match patient.answer(id).await.expect("the connection stays open") {
            Answer::Done { last: at, .. } => last = at,
            Answer::Refused(error) => break (id, error),
        }
        stored_count += 1;
        // Stay within the socket's rate limit.
        sleep(Duration::from_millis(15)).await;
    };
    println!("{stored_count} messages were stored before the disk was full");
    assert_eq!((error.code, error.retryable), (Code::StorageFull, true), "{error:?}");
    assert!(!error.message.is_empty() && error.detail.retry_after_ms.is_some(), "{error:?}");

    // Everything stored can be read, by connected clients and by new ones.
    time_until_all_have(&mut readers, room, last).await;
    let mut newcomer = server.joined(&case.doctor, room).await;
    newcomer.until_seq(room, last).await.unwrap();
    let (url, token) = (format!("http://{}/v1/rooms/{room}", server.address), server.token(&case.doctor).0);
    let page = http().get(format!("{url}/events?after=0")).bearer_auth(&token).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let page: Value = page.json().await.unwrap();
    assert_eq!((&page["head"], page["items"].as_array().unwrap().len() as u64), (&json!(last), last.min(100)));
    let ready = http().get(format!("http://{}/readyz", server.address)).send().await.unwrap();
    assert_eq!(ready.status(), 200, "the hub is ready for readers");
    // REST reports the same code.
    let booking =
        http().post(format!("http://{}/v1/bookings", server.address)).bearer_auth(&server.token(&case.patient).0);
    let body = json!({"doctor": case.doctor.user()});
    let answer = booking.header("Idempotency-Key", Uuid::now_v7().to_string()).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 507);
    let problem: Value = answer.json().await.unwrap();
    assert_eq!((&problem["code"], &problem["retryable"]), (&json!("storage_full"), &json!(true)), "{problem}");

    disk.clear();
    let again = async {
        loop {
            patient.send_again(rejected);
            match patient.answer(rejected).await.expect("the connection stays open") {
                Answer::Done { last, .. } => return last,
                Answer::Refused(error) => assert!(error.retryable, "{error:?}"),
            }
            sleep(Duration::from_millis(200)).await;
        }
    };
    last = tokio::time::timeout(RECOVERY_TIMEOUT, again).await.expect("the hub resumes by itself");
    time_until_all_have(&mut readers, room, last).await;
    assert_streams_intact(&readers, room);
    assert_streams_intact(&[patient, newcomer], room);
    let store = &server.state.store;
    let stored = store.events_after(room, 0, 5_000).await.unwrap();
    assert_eq!(
        stored.iter().filter(|it| it.canonical.contains("chat.sent")).count(),
        stored_count + 1,
        "each message is stored once"
    );
    verify_room(store, room).await.unwrap().expect("the record is intact");
}
