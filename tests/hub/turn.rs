//! The relay: who may use it, for how long, how much of it, and to reach whom.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use rooms::id::SessionId;
use secrecy::SecretString;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use turn::client::Client;
use uuid::Uuid;
use wardroom::clock::Clock;
use wardroom::config::{EmbeddedTurn, TurnSecret, TurnSettings};
use wardroom::turn::Relay;
use wardroom::turn::credentials::{LIFETIME, Secret};
use webrtc_util::Conn;

use crate::support::turn::{By, SOON, client, credentials, echoes};

const SECRET: &str = "a secret of the tests";

fn settings(change: impl FnOnce(&mut EmbeddedTurn)) -> TurnSettings {
    let mut embedded = EmbeddedTurn {
        listen: "127.0.0.1:0".parse().unwrap(),
        is_chosen: true,
        public: [127, 0, 0, 1].into(),
        relay_ports: (20_000, 60_000),
        private_peers: true,
        bytes_per_second: NonZeroU32::new(500_000).unwrap(),
    };
    change(&mut embedded);
    TurnSettings { embedded: Some(embedded), urls: Vec::new(), secret: given(SECRET) }
}

fn given(secret: &str) -> TurnSecret {
    TurnSecret::Given(SecretString::from(secret.to_owned()))
}

async fn relay(change: impl FnOnce(&mut EmbeddedTurn)) -> (Relay, SocketAddr) {
    let relay = Relay::start(&settings(change), Clock::system()).await.expect("it starts");
    let address = relay.address().expect("it is embedded");
    (relay, address)
}

/// A client with credentials of a fresh session.
async fn guest(relay: &Relay, by: By) -> Client {
    let (username, password) = credentials(&relay.servers(SessionId(Uuid::now_v7())).ice_servers);
    client(relay.address().unwrap(), by, &username, &password).await
}

async fn peer() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_reaches_its_peer_by_udp_and_by_tcp() {
    let (relay, address) = relay(|_| {}).await;
    for by in [By::Udp, By::Tcp] {
        let guest = guest(&relay, by).await;
        assert!(guest.send_binding_request().await.is_ok(), "{by:?}: STUN answers");
        let allocation = guest.allocate().await.expect("an address");
        let peer = peer().await;
        for _ in 0..50 {
            assert!(echoes(&allocation, &peer).await, "{by:?}");
        }
        guest.close().await.unwrap();
    }
    assert_eq!(relay.figures().allocations.load(Relaxed), 2);
    assert!(relay.figures().bytes.load(Relaxed) >= 2 * 100 * 14);
    let servers = relay.servers(SessionId(Uuid::nil())).ice_servers;
    assert_eq!(servers[0].urls, [format!("stun:{address}")]);
    assert_eq!(servers[1].urls, [format!("turn:{address}?transport=udp"), format!("turn:{address}?transport=tcp")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_ended_or_that_the_hub_never_gave_are_refused_and_counted() {
    let (relay, address) = relay(|_| {}).await;
    let (username, password) = credentials(&relay.servers(SessionId(Uuid::now_v7())).ice_servers);
    let own = Secret::open(&given(SECRET)).unwrap();
    let foreign = Secret::open(&given("another hub's secret")).unwrap();
    let ended = "1600000000:0123456789abcdef".to_owned();
    let cases = [
        ("forged password", username.clone(), "bm90IHRoaXMgb25l".to_owned()),
        ("another hub's", username.clone(), foreign.password(&username)),
        ("somebody else's", "1999999999:0123456789abcdef".to_owned(), password.clone()),
        ("no name of ours", "alice".to_owned(), own.password("alice")),
        ("ended", ended.clone(), own.password(&ended)),
    ];
    for (what, username, password) in cases {
        for by in [By::Udp, By::Tcp] {
            let guest = client(address, by, &username, &password).await;
            assert!(guest.allocate().await.is_err(), "{what}, {by:?}");
        }
    }
    let figures = relay.figures();
    assert_eq!((figures.forged.load(Relaxed), figures.expired.load(Relaxed)), (8, 2));
    assert_eq!(figures.allocations.load(Relaxed), 0);
    assert!(client(address, By::Udp, &username, &password).await.allocate().await.is_ok(), "the right ones are good");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_last_five_minutes() {
    let clock = Clock::system();
    let relay = Relay::start(&settings(|_| {}), clock.clone()).await.unwrap();
    let servers = relay.servers(SessionId(Uuid::now_v7()));
    let (username, password) = credentials(&servers.ice_servers);
    assert_eq!(servers.expires_at.unwrap().since(clock.now()).as_secs(), LIFETIME.as_secs() - 1);
    clock.advance(LIFETIME - Duration::from_secs(5));
    let address = relay.address().unwrap();
    assert!(client(address, By::Udp, &username, &password).await.allocate().await.is_ok());
    clock.advance(Duration::from_secs(5));
    assert!(client(address, By::Udp, &username, &password).await.allocate().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_credential_has_twelve_allocations_and_others_are_not_touched() {
    let (relay, address) = relay(|_| {}).await;
    let (username, password) = credentials(&relay.servers(SessionId(Uuid::now_v7())).ice_servers);
    let mut kept = Vec::new();
    for at in 0..12 {
        let guest = client(address, if at % 2 == 0 { By::Udp } else { By::Tcp }, &username, &password).await;
        let allocation = guest.allocate().await.expect("one of twelve");
        kept.push((guest, allocation));
    }
    assert!(client(address, By::Udp, &username, &password).await.allocate().await.is_err());
    assert_eq!(relay.figures().over_quota.load(Relaxed), 1);
    assert!(guest(&relay, By::Tcp).await.allocate().await.is_ok(), "another session's are its own");
    let (_guest, allocation) = kept.pop().unwrap();
    allocation.close().await.unwrap();
    let again = Instant::now() + SOON;
    while client(address, By::Udp, &username, &password).await.allocate().await.is_err() {
        assert!(Instant::now() < again, "what was given back can be had again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_on_the_relays_own_machine_is_reached_through_it() {
    let (relay, _) = relay(|embedded| embedded.private_peers = false).await;
    let guest = guest(&relay, By::Udp).await;
    let allocation = guest.allocate().await.unwrap();
    let peer = peer().await;
    assert!(!echoes(&allocation, &peer).await, "it must not arrive");
    assert!(relay.figures().forbidden_peers.load(Relaxed) > 0);
    // And what knocks from there is not let through to the client.
    let mut buf = [0; 100];
    peer.send_to(b"knock", allocation.local_addr().unwrap()).await.unwrap();
    assert!(tokio::time::timeout(SOON / 3, allocation.recv_from(&mut buf)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allocation_relays_no_more_than_its_share() {
    let (relay, _) = relay(|embedded| embedded.bytes_per_second = NonZeroU32::new(8_000).unwrap()).await;
    let guest = guest(&relay, By::Udp).await;
    let allocation = guest.allocate().await.unwrap();
    let peer = peer().await;
    let started = Instant::now();
    for _ in 0..200 {
        allocation.send_to(&[7; 1_000], peer.local_addr().unwrap()).await.unwrap();
    }
    let mut buf = [0; 1500];
    let mut arrived = 0;
    while tokio::time::timeout(SOON / 3, peer.recv_from(&mut buf)).await.is_ok() {
        arrived += 1;
    }
    let most = 8 + 8 * (started.elapsed().as_secs() + 1);
    assert!((4..=most).contains(&arrived), "{arrived} of 200 packets, at most {most}");
    assert!(relay.figures().over_bandwidth.load(Relaxed) > 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_by_udp_and_tcp_harms_nobody() {
    let (relay, address) = relay(|_| {}).await;
    let guest = guest(&relay, By::Tcp).await;
    let allocation = guest.allocate().await.unwrap();
    let peer = peer().await;
    let mut random = StdRng::seed_from_u64(1);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for round in 0..3_000 {
        let mut packet = vec![0; random.random_range(0..600)];
        random.fill_bytes(&mut packet);
        // Mostly what looks like a message at first: a known method, the right length, the cookie.
        if packet.len() >= 20 && round % 4 != 0 {
            let length = u16::try_from(packet.len() - 20).unwrap().to_be_bytes();
            packet[..2].copy_from_slice(&[0, [1, 3, 4, 6, 8, 9, 0x16, 0x17][round % 8]]);
            packet[2..4].copy_from_slice(&length);
            packet[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
        }
        socket.send_to(&packet, address).await.unwrap();
        if round % 100 == 0 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let _ = stream.write_all(&packet).await;
            let _ = stream.write_all(&[0, 1, 0xff, 0xff]).await;
            let _ = stream.write_all(&vec![9; 10_000]).await;
        }
    }
    assert!(echoes(&allocation, &peer).await, "who was there goes on");
    let newcomer = guest_when_there_is_room(&relay).await;
    assert!(echoes(&newcomer.1, &peer).await, "who comes is served");
}

/// After a flood from this very address one waits a little.
async fn guest_when_there_is_room(relay: &Relay) -> (Client, impl Conn) {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let guest = guest(relay, By::Udp).await;
        match guest.allocate().await {
            Ok(allocation) => return (guest, allocation),
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_cannot_make_the_relay_remember_without_bound() {
    let (relay, address) = relay(|_| {}).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut request = vec![0, 3, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    request.extend([5; 12]);
    for _ in 0..2_000 {
        socket.send_to(&request, address).await.unwrap();
    }
    let end = Instant::now() + SOON;
    while relay.figures().flood.load(Relaxed) < 1_000 {
        assert!(Instant::now() < end, "{} of 2,000 were held back", relay.figures().flood.load(Relaxed));
        tokio::task::yield_now().await;
    }
}

/// coturn with the project's own configuration, on loopback.
struct Coturn {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Coturn {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/coturn.conf")).unwrap();
        // The peers of this test are on loopback, and the file's secret is nobody's.
        let text = text.replace("CHANGE-ME", SECRET).replace("denied-peer-ip=127.0.0.0-127.255.255.255\n", "");
        let text = text.replace("listening-port=3478", &format!("listening-port={port}"));
        let file = folder.path().join("coturn.conf");
        let loopback = "listening-ip=127.0.0.1\nrelay-ip=127.0.0.1\nallow-loopback-peers\nallowed-peer-ip=127.0.0.1\n";
        let paths = format!("pidfile={0}/pid\nuserdb={0}/db\n", folder.path().display());
        std::fs::write(&file, format!("{text}\n{loopback}{paths}")).unwrap();
        let mut command = Command::new("turnserver");
        command.arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
        let child = command.spawn().expect("coturn is installed: tests/run installs it");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).await.is_err() {
            assert!(Instant::now() < end, "coturn did not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self { child, address, _folder: folder }
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn coturn_takes_the_same_credentials_by_the_configuration_in_deploy() {
    let coturn = Coturn::start().await;
    let urls = vec![format!("turn:{}?transport=udp", coturn.address)];
    let settings = TurnSettings { embedded: None, urls, secret: given(SECRET) };
    let relay = Relay::start(&settings, Clock::system()).await.unwrap();
    let (username, password) = credentials(&relay.servers(SessionId(Uuid::now_v7())).ice_servers);
    for by in [By::Udp, By::Tcp] {
        let guest = client(coturn.address, by, &username, &password).await;
        let allocation = guest.allocate().await.expect("coturn takes them");
        assert!(echoes(&allocation, &peer().await).await, "{by:?}");
    }
    let forged = client(coturn.address, By::Udp, &username, "bm90IHRoaXMgb25l").await;
    assert!(forged.allocate().await.is_err());
}
