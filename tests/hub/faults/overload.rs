//! More than the hub can do: what waited too long is refused at once, so that what comes now is answered in time.

use std::collections::BTreeSet;
use std::time::Duration;

use loadtest::client::Answer;
use rooms::id::CommandId;
use rooms::wire::code::Code;
use sqlx::{Connection, PgConnection, SqliteConnection};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use wardroom::archive::verify_room;
use wardroom::config::DatabaseSettings;

use crate::support::both;
use crate::support::chat::{chat_command, send_chat};
use crate::support::stall_detector::running_time_since;
use crate::support::test_server::TestServer;

/// Longer than a command may wait in its room's inbox (3 s), shorter than the store is waited for (5 s).
const STANDSTILL: Duration = Duration::from_secs(4);
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// How soon everything is answered when the store goes on.
const SOON: Duration = Duration::from_secs(2);

/// Keeps everybody from appending for so long, and says when that has begun.
async fn stand_still(database: &DatabaseSettings, time: Duration, begun: oneshot::Sender<()>) {
    let url = database.url();
    if url.starts_with("sqlite:") {
        let mut other = SqliteConnection::connect(url).await.unwrap();
        sqlx::raw_sql("begin immediate").execute(&mut other).await.unwrap();
        begun.send(()).unwrap();
        sleep(time).await;
        sqlx::raw_sql("rollback").execute(&mut other).await.unwrap();
    } else {
        let mut other = PgConnection::connect(url).await.unwrap();
        sqlx::raw_sql("begin; lock table events in exclusive mode").execute(&mut other).await.unwrap();
        begun.send(()).unwrap();
        sleep(time).await;
        sqlx::raw_sql("rollback").execute(&mut other).await.unwrap();
    }
}

async fn what_waited_too_long_is_refused_and_what_comes_now_is_done(database: DatabaseSettings) {
    let server = TestServer::start(database.clone()).await;
    let case = server.case().await;
    let room = case.room;
    let mut patient = server.joined(&case.patient, room).await;
    send_chat(&mut patient, room, "before").await;

    let (begun, begins) = oneshot::channel();
    let still = tokio::spawn(async move { stand_still(&database, STANDSTILL, begun).await });
    begins.await.unwrap();
    let ids: Vec<CommandId> = (0..30).map(|_| patient.send(room, chat_command("again and again"))).collect();
    patient.flush().await.unwrap();
    still.await.unwrap();

    let begin = Instant::now();
    let (mut refused, mut moments) = (Vec::new(), BTreeSet::new());
    for id in &ids {
        let answer = timeout(PATIENCE, patient.answer(*id)).await.expect("it is answered").unwrap();
        if let Answer::Refused(error) = answer {
            assert_eq!((error.code, error.retryable), (Code::Unavailable, true), "{error:?}");
            let after = error.detail.retry_after_ms.expect("it says when it may be sent again");
            assert!((2_000..=10_000).contains(&after), "{after}");
            moments.insert(after);
            refused.push(*id);
        }
    }
    println!("{} of {} refused, {:?} after the standstill", refused.len(), ids.len(), begin.elapsed());
    assert!(running_time_since(begin) < SOON, "{:?}", begin.elapsed());
    assert!(refused.len() >= ids.len() - 2, "only what was at the store goes on: {}", refused.len());
    assert!(moments.len() > refused.len() / 2, "not all at once again: {moments:?}");
    send_chat(&mut patient, room, "now").await;

    // Nothing of it was done, and all of it can be done.
    for id in refused {
        patient.send_as(id, room, None, chat_command("again and again"));
        assert!(matches!(patient.answer(id).await.unwrap(), Answer::Done { .. }));
    }
    let log = server.state.store.events_after(room, 0, 1_000).await.unwrap();
    for id in ids {
        let found = log.iter().filter(|event| event.canonical.contains(&id.0.to_string())).count();
        assert_eq!(found, 1, "once in the log");
    }
    verify_room(&server.state.store, room).await.unwrap().expect("the record is whole");
}

both!(what_waited_too_long_is_refused_and_what_comes_now_is_done);
