//! Clients that try to use up what the hub has: memory, connections, processor time.

use std::net::SocketAddr;
use std::time::Duration;

use rooms::id::RoomId;
use rooms::role::Role;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use uuid::Uuid;
use wardroom::config::DatabaseSettings;

use crate::support::both;
use crate::support::database::Database;
use crate::support::hub_process::HubProcess;
use crate::support::test_server::TestServer;

/// Longer than any condition takes to become true.
const CONDITION_TIMEOUT: Duration = Duration::from_secs(20);

/// Sends this many sign-ins, each with a long address of its own, and gives each up before its answer.
async fn send_hostile_sign_ins(address: SocketAddr, count: usize) {
    const MAX_CONCURRENT_SIGN_INS: usize = 8;
    let mut all = JoinSet::new();
    for at in 0..count {
        if all.len() == MAX_CONCURRENT_SIGN_INS {
            all.join_next().await;
        }
        all.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let email = format!("{at}{}@example.org", "x".repeat(255 << 10));
            let body = format!("{{\"email\":\"{email}\",\"password\":\"a wrong guess\"}}");
            let head = format!(
                "POST /v1/auth/sign-in HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            sleep(Duration::from_millis(2)).await;
        });
    }
    all.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_sign_ins_grow_memory_by_less_than_8_mib() {
    const MAX_GROWTH_KIB: u64 = 8 * 1024;
    let database = Database::sqlite();
    let mut hub = HubProcess::new("serve", &database.settings());
    hub.set("WARDROOM_LIMITS_ANONYMOUS_PER_MINUTE", "1000000");
    let address = hub.start();
    send_hostile_sign_ins(address, 200).await;
    let before = hub.resident_kib();
    send_hostile_sign_ins(address, 1_500).await;
    sleep(Duration::from_millis(500)).await;
    let growth = hub.resident_kib().saturating_sub(before);
    println!("1,500 hostile sign-ins: {growth} KiB more than {before} KiB");
    assert!(growth < MAX_GROWTH_KIB, "{growth} KiB more than {before} KiB");
}

async fn rooms_that_do_not_exist_stay_out_of_memory(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let patient = server.person(Role::Patient, "Pat", None).await;
    let mut client = server.client(&patient);
    client.connect().await.unwrap();
    for _ in 0..100 {
        client.join(RoomId(Uuid::now_v7())).await.expect_err("there is no such room");
    }
    let empty = async {
        while server.state.hub.rooms() > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    // Rooms that exist stay for half a minute.
    timeout(CONDITION_TIMEOUT, empty).await.unwrap_or_else(|_| panic!("{} rooms", server.state.hub.rooms()));
}

both! {
    rooms_that_do_not_exist_stay_out_of_memory
}
