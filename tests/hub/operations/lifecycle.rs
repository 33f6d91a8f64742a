//! Connection limits and shutdown.

use std::time::Duration;

use rooms::id::RoomId;
use rooms::role::Role;
use rooms::wire::close::Close;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wardroom::config::DatabaseSettings;
use wardroom::http;
use wardroom::hub::Hub;
use wardroom::lifecycle::{Server, listen};

use crate::support::both;
use crate::support::database::Database;
use crate::support::test_server::TestServer;

/// Longer than any condition takes to become true.
const CONDITION_TIMEOUT: Duration = Duration::from_secs(20);

async fn open_socket_counts_against_the_connection_limit(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let state = server.state.clone();
    let hub = state.hub.clone();
    tokio::spawn(Server::new(http::router(state), hub, 2, stop.clone()).run(listener));

    let patient = server.person(Role::Patient, "Pat", None).await;
    let mut sockets = [server.client(&patient), server.client(&patient)];
    for socket in &mut sockets {
        socket.retarget(loadtest::target::Target::new(address).unwrap());
        socket.connect().await.unwrap();
    }
    let third = tokio::spawn(reqwest::get(format!("http://{address}/healthz")));
    // The request waits in the kernel's queue. Nothing can prove that it keeps waiting, so give it time to be
    // admitted wrongly.
    sleep(Duration::from_millis(300)).await;
    assert!(!third.is_finished(), "both connections are in use");
    let [first, _second] = &mut sockets;
    first.close().await;
    let answer = timeout(CONDITION_TIMEOUT, third).await.expect("a connection is free again").unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    stop.cancel();
}

async fn stopping_hub_reports_draining_until_the_last_socket_closes(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let patient = server.person(Role::Patient, "Pat", None).await;
    let (mut stalled_client, mut open_client) = (server.client(&patient), server.client(&patient));
    stalled_client.connect().await.unwrap();
    open_client.connect().await.unwrap();
    // A client that does not answer the hub's close frame, so that the hub waits for it.
    let _stalled = stalled_client.half_open();
    let ready = format!("http://{}/readyz", server.address);
    assert_eq!(reqwest::get(&ready).await.unwrap().status(), 200);

    server.stop_token().cancel();
    let close_frame = async {
        loop {
            match open_client.next().await {
                Ok(_) => {}
                Err(end) => return end.close(),
            }
        }
    };
    assert_eq!(timeout(CONDITION_TIMEOUT, close_frame).await.unwrap(), Some(Close::Restart));
    let refused = reqwest::get(&ready).await.unwrap();
    assert_eq!(refused.status(), 503);
    let socket = open_client.connect().await.unwrap_err().to_string();
    assert!(socket.contains("503"), "{socket}");
    let end = async {
        while reqwest::get(&ready).await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(CONDITION_TIMEOUT, end).await.expect("the listener is closed");
}

both! {
    open_socket_counts_against_the_connection_limit
    stopping_hub_reports_draining_until_the_last_socket_closes
}

/// Opens a room when dropped, as a task may that a runtime drops midway.
struct OpensRoomOnDrop(Hub, RoomId);

impl Drop for OpensRoomOnDrop {
    fn drop(&mut self) {
        self.0.wake(self.1);
    }
}

#[test]
fn runtime_shutdown_is_not_blocked_by_room_requests() {
    let (ended, end) = std::sync::mpsc::channel();
    // In a thread of its own, for which this test does not wait.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let database = Database::sqlite();
            let server = TestServer::start(database.settings()).await;
            let opens_room = OpensRoomOnDrop(server.state.hub.clone(), RoomId(Uuid::now_v7()));
            tokio::spawn(async move {
                let _word = opens_room;
                std::future::pending::<()>().await;
            });
        });
        drop(runtime);
        ended.send(()).unwrap();
    });
    end.recv_timeout(CONDITION_TIMEOUT).expect("the runtime ends");
}
