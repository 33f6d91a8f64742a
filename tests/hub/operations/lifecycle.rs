//! How many may connect, and how a hub ends.

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

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

async fn a_socket_keeps_its_place_as_long_as_it_is_open(database: DatabaseSettings) {
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
    // The request waits in the kernel. Nothing tells that it will go on waiting, so it gets a while to be wrong.
    sleep(Duration::from_millis(300)).await;
    assert!(!third.is_finished(), "both places are taken");
    let [first, _second] = &mut sockets;
    first.close().await;
    let answer = timeout(PATIENCE, third).await.expect("a place is free again").unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    stop.cancel();
}

async fn a_hub_that_stops_says_so_until_its_last_socket_is_closed(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let patient = server.person(Role::Patient, "Pat", None).await;
    let (mut gone, mut there) = (server.client(&patient), server.client(&patient));
    gone.connect().await.unwrap();
    there.connect().await.unwrap();
    // It will not answer the hub's goodbye, so that the hub waits for it for a while.
    let _stalled = gone.half_open();
    let ready = format!("http://{}/readyz", server.address);
    assert_eq!(reqwest::get(&ready).await.unwrap().status(), 200);

    server.stop_token().cancel();
    let told = async {
        loop {
            match there.next().await {
                Ok(_) => {}
                Err(end) => return end.close(),
            }
        }
    };
    assert_eq!(timeout(PATIENCE, told).await.unwrap(), Some(Close::Restart));
    let refused = reqwest::get(&ready).await.unwrap();
    assert_eq!(refused.status(), 503);
    let socket = there.connect().await.unwrap_err().to_string();
    assert!(socket.contains("503"), "{socket}");
    let end = async {
        while reqwest::get(&ready).await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, end).await.expect("then it listens no more");
}

both! {
    a_socket_keeps_its_place_as_long_as_it_is_open
    a_hub_that_stops_says_so_until_its_last_socket_is_closed
}

/// Asks for a room when it is dropped, as what a runtime ends does that is in the middle of something.
struct LastWord(Hub, RoomId);

impl Drop for LastWord {
    fn drop(&mut self) {
        self.0.wake(self.1);
    }
}

#[test]
fn a_runtime_that_ends_is_not_kept_by_somebody_who_asks_for_a_room() {
    let (ended, end) = std::sync::mpsc::channel();
    // In a thread of its own, which this test does not wait for.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let database = Database::sqlite();
            let server = TestServer::start(database.settings()).await;
            let word = LastWord(server.state.hub.clone(), RoomId(Uuid::now_v7()));
            tokio::spawn(async move {
                let _word = word;
                std::future::pending::<()>().await;
            });
        });
        drop(runtime);
        ended.send(()).unwrap();
    });
    end.recv_timeout(PATIENCE).expect("the runtime ends");
}
