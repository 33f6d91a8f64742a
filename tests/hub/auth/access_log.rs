//! The audit log has an entry for each view of a room that somebody receives, whatever the transport.

use std::time::Duration;

use rooms::id::RoomId;
use rooms::role::Role;
use serde_json::json;
use tokio::time::{sleep, timeout};
use uuid::Uuid;
use wardroom::config::DatabaseSettings;
use wardroom::store::page::PageRequest;

use crate::support::both;
use crate::support::test_server::TestServer;

/// Longer than an entry takes to be stored.
const ENTRY_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns who did what in a room, newest first.
async fn entries(server: &TestServer, room: RoomId) -> Vec<(Uuid, String)> {
    let page = server.state.store.accesses(Some(room), PageRequest { after: None, limit: 200 }).await.unwrap();
    page.items.into_iter().map(|access| (access.user.0, access.action)).collect()
}

async fn room_read_by_socket_or_stream_is_recorded(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let case = server.case().await;
    let joined = |actor: &rooms::role::Actor| (actor.user().unwrap().0, "room.joined".to_owned());
    assert_eq!(entries(&server, case.room).await, []);

    let mut client = server.joined(&case.doctor, case.room).await;
    assert_eq!(entries(&server, case.room).await, [joined(&case.doctor)], "recorded before the room was sent");

    let request = json!({"rooms": [{"room": case.room, "after": 0}]});
    let url = format!("http://{}/v1/stream", server.address);
    let token = server.token(&case.patient).0;
    let stream = crate::support::http().post(url).bearer_auth(token).json(&request).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    let recorded = async {
        while entries(&server, case.room).await.len() < 2 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(ENTRY_TIMEOUT, recorded).await.expect("the stream's view is recorded");
    assert_eq!(entries(&server, case.room).await, [joined(&case.patient), joined(&case.doctor)]);

    // Somebody without a part in the case receives nothing, which is no access.
    let stranger = server.person(Role::Patient, "Stranger", None).await;
    let mut other = server.client(&stranger);
    other.connect().await.unwrap();
    other.join(case.room).await.expect_err("a stranger may not join");
    assert_eq!(entries(&server, case.room).await.len(), 2);
    client.close().await;
}

both! {
    room_read_by_socket_or_stream_is_recorded
}
