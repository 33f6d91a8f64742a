//! Clients that try to use up what the hub has: memory, connections, processor time.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use loadtest::client::Client;
use loadtest::target::Target;
use rooms::id::RoomId;
use rooms::role::Role;
use rooms::wire::SUBPROTOCOL;
use rooms::wire::client::{ClientFrame, Token};
use rooms::wire::close::Close;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
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
    const MAX_CONCURRENT_SIGN_INS: usize = 24;
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
            // Long enough that the hub has read the address and has begun to check the password.
            sleep(Duration::from_millis(150)).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_keep_a_signed_in_person_out() {
    const MAX_CONNECT_TIME: Duration = Duration::from_secs(1);
    let database = Database::sqlite();
    let mut hub = HubProcess::new("serve", &database.settings());
    hub.limit_open_files(400);
    let address = hub.start();
    let (base, http) = (format!("http://{address}"), crate::support::http());
    let account = json!({"email": "pat@example.org", "password": "an unusual sentence", "name": "Pat"});
    let registered = http.post(format!("{base}/v1/auth/register")).json(&account).send().await.unwrap();
    assert_eq!(registered.status(), 201);
    let sign_in = json!({"email": "pat@example.org", "password": "an unusual sentence", "transport": "bearer"});
    let signed_in = http.post(format!("{base}/v1/auth/sign-in")).json(&sign_in).send().await.unwrap();
    let signed_in: Value = signed_in.json().await.unwrap();
    let token = Token(signed_in["access_token"].as_str().unwrap().to_owned());

    let mut idle = Vec::new();
    for _ in 0..420 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    for _ in 0..5 {
        let mut client = Client::new(Target::new(address).unwrap(), token.clone());
        let start = Instant::now();
        timeout(CONDITION_TIMEOUT, client.connect()).await.expect("the hub answers").expect("the person gets in");
        let took = start.elapsed();
        println!("420 idle connections: in after {took:?}");
        assert!(took < MAX_CONNECT_TIME, "{took:?}");
        client.close().await;
    }
}

async fn one_person_cannot_use_up_all_connections(database: DatabaseSettings) {
    let server = TestServer::start_with(database, |config| config.limits.connections = 60).await;
    let (hoarder, other) =
        (server.person(Role::Patient, "Pat", None).await, server.person(Role::Patient, "Pam", None).await);
    let mut open = Vec::new();
    for at in 0..60 {
        let mut client = server.client(&hoarder);
        match client.connect().await {
            Ok(_) => open.push(client),
            Err(error) => assert_eq!(error.close(), Some(Close::Overloaded), "socket {at}"),
        }
    }
    assert_eq!(open.len(), 15, "a quarter of all");
    server.client(&other).connect().await.expect("another person gets in");
    // A closed connection makes room for the next.
    open.pop().unwrap().close().await;
    let again = async {
        while server.client(&hoarder).connect().await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(CONDITION_TIMEOUT, again).await.expect("there is room again");
}

async fn flood_of_pings_closes_the_connection(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let patient = server.person(Role::Patient, "Pat", None).await;
    let hello =
        serde_json::to_string(&ClientFrame::Hello { token: Some(server.token(&patient)), replaces: None }).unwrap();
    for (first, expected) in [(Some(hello), Close::Flood), (None, Close::NoHello)] {
        let mut request = format!("ws://{}/v1/ws", server.address).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        if let Some(hello) = first {
            socket.send(Message::text(hello)).await.unwrap();
        }
        let flood = async {
            loop {
                for _ in 0..20 {
                    // An error means that the hub has closed the connection.
                    let _ = socket.send(Message::Ping(Bytes::new())).await;
                }
                for _ in 0..20 {
                    match socket.next().await {
                        Some(Ok(Message::Close(Some(frame)))) => return u16::from(frame.code),
                        Some(Ok(_)) => {}
                        other => panic!("{other:?}"),
                    }
                }
            }
        };
        assert_eq!(timeout(CONDITION_TIMEOUT, flood).await.expect("the hub closes"), expected.code());
    }
}

both! {
    rooms_that_do_not_exist_stay_out_of_memory
    one_person_cannot_use_up_all_connections
    flood_of_pings_closes_the_connection
}
