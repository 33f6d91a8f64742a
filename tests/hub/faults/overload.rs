//! Load beyond the hub's capacity: it rejects commands that waited too long, so that new ones are answered in time.

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

/// Longer than a command may wait in its room's inbox (3 s), shorter than the store's time-out (5 s).
const BLOCK_PERIOD: Duration = Duration::from_secs(4);
/// Longer than any answer takes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How soon all commands are answered once the store resumes.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(2);

/// Blocks all appends for this long, and reports when the block has begun.
async fn block_appends(database: &DatabaseSettings, time: Duration, started: oneshot::Sender<()>) {
    let url = database.url();
    if url.starts_with("sqlite:") {
        let mut other = SqliteConnection::connect(url).await.unwrap();
        sqlx::raw_sql("begin immediate").execute(&mut other).await.unwrap();
        started.send(()).unwrap();
        sleep(time).await;
        sqlx::raw_sql("rollback").execute(&mut other).await.unwrap();
    } else {
        let mut other = PgConnection::connect(url).await.unwrap();
        sqlx::raw_sql("begin; lock table events in exclusive mode").execute(&mut other).await.unwrap();
        started.send(()).unwrap();
        sleep(time).await;
        sqlx::raw_sql("rollback").execute(&mut other).await.unwrap();
    }
}

async fn overload_rejects_commands_that_waited_too_long_and_serves_new_ones(database: DatabaseSettings) {
    let server = TestServer::start(database.clone()).await;
    let case = server.case().await;
    let room = case.room;
    let mut patient = server.joined(&case.patient, room).await;
    send_chat(&mut patient, room, "before").await;

    let (started, has_started) = oneshot::channel();
    let blocker = tokio::spawn(async move { block_appends(&database, BLOCK_PERIOD, started).await });
    has_started.await.unwrap();
    let ids: Vec<CommandId> = (0..30).map(|_| patient.send(room, chat_command("again and again"))).collect();
    patient.flush().await.unwrap();
    blocker.await.unwrap();

    let begin = Instant::now();
    let (mut rejected, mut retry_delays) = (Vec::new(), BTreeSet::new());
    for id in &ids {
        let answer = timeout(ANSWER_TIMEOUT, patient.answer(*id)).await.expect("the command is answered").unwrap();
        if let Answer::Refused(error) = answer {
            assert_eq!((error.code, error.retryable), (Code::Unavailable, true), "{error:?}");
            let after = error.detail.retry_after_ms.expect("the error names a retry delay");
            assert!((2_000..=10_000).contains(&after), "{after}");
            retry_delays.insert(after);
            rejected.push(*id);
        }
    }
    println!("{} of {} rejected, {:?} after the block ended", rejected.len(), ids.len(), begin.elapsed());
    assert!(running_time_since(begin) < RECOVERY_TIMEOUT, "{:?}", begin.elapsed());
    assert!(rejected.len() >= ids.len() - 2, "only commands already at the store proceed: {}", rejected.len());
    assert!(retry_delays.len() > rejected.len() / 2, "retries are spread out: {retry_delays:?}");
    send_chat(&mut patient, room, "now").await;

    // No rejected command took effect, and each succeeds when sent again.
    for id in rejected {
        patient.send_as(id, room, None, chat_command("again and again"));
        assert!(matches!(patient.answer(id).await.unwrap(), Answer::Done { .. }));
    }
    let log = server.state.store.events_after(room, 0, 1_000).await.unwrap();
    for id in ids {
        let found = log.iter().filter(|event| event.canonical.contains(&id.0.to_string())).count();
        assert_eq!(found, 1, "the command is in the log once");
    }
    verify_room(&server.state.store, room).await.unwrap().expect("the record is intact");
}

both!(overload_rejects_commands_that_waited_too_long_and_serves_new_ones);
