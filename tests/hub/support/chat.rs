//! Chat messages of load-test clients, and checks of what those clients received.

use std::time::Duration;

use loadtest::client::{Answer, Client};
use rooms::command::{Chat, Command};
use rooms::id::RoomId;
use rooms::party::Thread;
use rooms::text::Prose;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::stall_detector::running_time_since;

/// Longer than any frame takes to arrive.
const FRAME_TIMEOUT: Duration = Duration::from_secs(30);

pub fn chat_command(text: impl AsRef<str>) -> Command {
    Command::Chat(Chat { text: Prose::parse(text.as_ref()).unwrap(), thread: Thread::Care })
}

/// Sends a chat message and returns its sequence number.
pub async fn send_chat(client: &mut Client, room: RoomId, text: impl AsRef<str>) -> u64 {
    match client.command(room, chat_command(text)).await.expect("the command is answered") {
        Answer::Done { last, .. } => last,
        Answer::Refused(error) => panic!("command refused: {error:?}"),
    }
}

/// Returns how long it takes until every client has all events up to `seq`.
pub async fn time_until_all_have(clients: &mut [Client], room: RoomId, seq: u64) -> Duration {
    let start = Instant::now();
    for client in clients.iter_mut() {
        timeout(FRAME_TIMEOUT, client.until_seq(room, seq))
            .await
            .expect("the frame arrives in time")
            .expect("the connection stays open");
    }
    running_time_since(start)
}

pub fn assert_streams_intact(clients: &[Client], room: RoomId) {
    for client in clients {
        let check = client.delivery_check(room).expect("the client has joined the room");
        assert_eq!((check.gaps(), check.repeated(), check.out_of_order()), (0, 0, 0));
    }
}

/// Returns the next frame that satisfies the predicate.
pub async fn wait_for_frame(client: &mut Client, wanted: impl Fn(&Value) -> bool) -> Value {
    let search = async {
        loop {
            let heard = client.next().await.expect("the connection stays open");
            let frame = serde_json::from_str(&heard.text).expect("a frame is JSON");
            if wanted(&frame) {
                return frame;
            }
        }
    };
    timeout(FRAME_TIMEOUT, search).await.expect("the frame arrives in time")
}
