//! A full disk under the store: what cannot be written is refused with a code that says so, what is there can be read, and
//! when there is room again the hub goes on by itself.

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

/// How soon the hub goes on when there is room.
const AGAIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_sqlite_refuses_is_read_and_goes_on_when_there_is_room() {
    let Some(disk) = SmallDisk::mount(8) else { return };
    story(DatabaseSettings::new(format!("sqlite:{}/hub.db", disk.path().display())), &disk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_postgresql_refuses_is_read_and_goes_on_when_there_is_room() {
    let Some(disk) = SmallDisk::mount(40) else { return };
    let cluster = PostgresServer::start(20);
    story(cluster.database_at(disk.path()).settings(), &disk).await;
}

async fn story(database: DatabaseSettings, disk: &SmallDisk) {
    let server = TestServer::start(database).await;
    let case = server.case().await;
    let room = case.room;
    let mut patient = server.joined(&case.patient, room).await;
    let mut readers = [server.joined(&case.doctor, room).await];
    let mut last = send_chat(&mut patient, room, "before").await;
    let mut done = 1;
    disk.fill();

    // There may be space left in what the database has already taken.
    let text = "long ".repeat(200);
    let (refused, error) = loop {
        assert!(done < 2_000, "it has no end of space");
        let id = patient.send(room, chat_command(&text));
        match patient.answer(id).await.expect("the connection stays open") {
            Answer::Done { last: at, .. } => last = at,
            Answer::Refused(error) => break (id, error),
        }
        done += 1;
        // Within the rate of a socket.
        sleep(Duration::from_millis(15)).await;
    };
    println!("{done} were stored before it was full");
    assert_eq!((error.code, error.retryable), (Code::StorageFull, true), "{error:?}");
    assert!(!error.message.is_empty() && error.detail.retry_after_ms.is_some(), "{error:?}");

    // All that is there can be read, by who is there and by who comes now.
    time_until_all_have(&mut readers, room, last).await;
    let mut late = server.joined(&case.doctor, room).await;
    late.until_seq(room, last).await.unwrap();
    let (url, token) = (format!("http://{}/v1/rooms/{room}", server.address), server.token(&case.doctor).0);
    let page = http().get(format!("{url}/events?after=0")).bearer_auth(&token).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let page: Value = page.json().await.unwrap();
    assert_eq!((&page["head"], page["items"].as_array().unwrap().len() as u64), (&json!(last), last.min(100)));
    let ready = http().get(format!("http://{}/readyz", server.address)).send().await.unwrap();
    assert_eq!(ready.status(), 200, "it serves readers");
    // REST says the same.
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
            patient.send_again(refused);
            match patient.answer(refused).await.expect("the connection stays open") {
                Answer::Done { last, .. } => return last,
                Answer::Refused(error) => assert!(error.retryable, "{error:?}"),
            }
            sleep(Duration::from_millis(200)).await;
        }
    };
    last = tokio::time::timeout(AGAIN, again).await.expect("it goes on by itself");
    time_until_all_have(&mut readers, room, last).await;
    assert_streams_intact(&readers, room);
    assert_streams_intact(&[patient, late], room);
    let store = &server.state.store;
    let stored = store.events_after(room, 0, 5_000).await.unwrap();
    assert_eq!(stored.iter().filter(|it| it.canonical.contains("chat.sent")).count(), done + 1, "each once");
    verify_room(store, room).await.unwrap().expect("the record is whole");
}
