//! The frame rate, and what a client that keeps to docs/protocol.md can send.

use std::collections::VecDeque;
use std::time::Duration;

use rooms::command::{Chat, Command};
use rooms::id::CommandId;
use rooms::party::Thread;
use rooms::text::Prose;
use serde_json::Value;
use tokio::time::{Instant, timeout};
use uuid::Uuid;
use wardroom::config::DatabaseSettings;

use crate::support::both;
use crate::support::test_server::TestServer;

fn written_offline() -> Command {
    Command::Chat(Chat { text: Prose::parse("written offline").unwrap(), thread: Thread::Care })
}

async fn returning_client_catches_up_with_600_commands_without_being_cut(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let case = server.case().await;
    let mut client = server.joined(&case.doctor, case.room).await;
    // As docs/protocol.md says: few commands in flight, and none for a while after `rate_limited`.
    let mut waiting: VecDeque<CommandId> = (0..600).map(|_| CommandId(Uuid::now_v7())).collect();
    let (mut in_flight, mut next_send_at, end) = (0, Instant::now(), Instant::now() + Duration::from_secs(60));
    while in_flight > 0 || !waiting.is_empty() {
        while in_flight < 16
            && Instant::now() >= next_send_at
            && let Some(id) = waiting.pop_front()
        {
            client.send_as(id, case.room, None, written_offline());
            in_flight += 1;
        }
        let Ok(frame) = timeout(Duration::from_millis(100), client.next()).await else {
            assert!(Instant::now() < end, "{} commands are left", waiting.len());
            continue;
        };
        let frame: Value = serde_json::from_str(&frame.expect("the connection stays open").text).unwrap();
        match (frame["type"].as_str(), frame["code"].as_str()) {
            (Some("ack"), _) => in_flight -= 1,
            (Some("error"), Some("rate_limited")) => {
                in_flight -= 1;
                waiting.push_front(frame["id"].as_str().unwrap().parse().unwrap());
                let delay = frame["detail"]["retry_after_ms"].as_u64().expect("a delay");
                next_send_at = Instant::now() + Duration::from_millis(delay);
            }
            (Some("error"), code) => panic!("{code:?}"),
            _ => {}
        }
    }
    assert_eq!(client.delivery_check(case.room).unwrap().gaps(), 0);
}

both! {
    returning_client_catches_up_with_600_commands_without_being_cut
}
