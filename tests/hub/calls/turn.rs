//! The relay: authentication, lifetime, quotas, and peer policy.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use rooms::id::{SessionId, UserId};
use rooms::time::Timestamp;
use rooms::wire::call::Servers;
use secrecy::SecretString;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use turn::client::Client;
use uuid::Uuid;
use wardroom::clock::Clock;
use wardroom::config::{EmbeddedTurn, TurnSecretSource, TurnSettings};
use wardroom::turn::credentials::{AllocationOwner, CREDENTIAL_LIFETIME, OwnerTag, RelaySecret};
use wardroom::turn::{Relay, RelayUser};
use webrtc_util::Conn;

use crate::support::turn::{Coturn, TURN_TIMEOUT, Transport, client, credentials, echoes};

/// Long enough for a busy machine.
const CONDITION_TIMEOUT: Duration = Duration::from_secs(30);
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
    TurnSettings { embedded: Some(embedded), urls: Vec::new(), secret: turn_secret(SECRET) }
}

fn turn_secret(secret: &str) -> TurnSecretSource {
    TurnSecretSource::Given(SecretString::from(secret.to_owned()))
}

async fn relay(change: impl FnOnce(&mut EmbeddedTurn)) -> (Relay, SocketAddr) {
    let relay = Relay::start(&settings(change), Clock::system()).await.expect("the relay starts");
    let address = relay.address().expect("the relay is embedded");
    (relay, address)
}

/// Returns the servers for a session of a person of its own, outside a call.
pub fn servers(relay: &Relay, session: SessionId) -> Servers {
    relay.servers(RelayUser { session, user: UserId(session.0), room: None })
}

/// Connects a client with credentials of a new session.
async fn guest(relay: &Relay, by: Transport) -> Client {
    let (username, password) = credentials(&servers(relay, SessionId(Uuid::now_v7())).ice_servers);
    client(relay.address().unwrap(), by, &username, &password).await
}

async fn peer() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn session_reaches_its_peer_over_udp_and_tcp() {
    let (relay, address) = relay(|_| {}).await;
    for by in [Transport::Udp, Transport::Tcp] {
        let guest = guest(&relay, by).await;
        assert!(guest.send_binding_request().await.is_ok(), "{by:?}: STUN answers");
        let allocation = guest.allocate().await.expect("a relay address");
        let peer = peer().await;
        for _ in 0..50 {
            assert!(echoes(&allocation, &peer).await, "{by:?}");
        }
        guest.close().await.unwrap();
    }
    assert_eq!(relay.metrics().allocations.load(Relaxed), 2);
    assert!(relay.metrics().bytes.load(Relaxed) >= 2 * 100 * 14);
    let servers = servers(&relay, SessionId(Uuid::nil())).ice_servers;
    assert_eq!(servers[0].urls, [format!("stun:{address}")]);
    assert_eq!(servers[1].urls, [format!("turn:{address}?transport=udp"), format!("turn:{address}?transport=tcp")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_and_forged_credentials_are_rejected_and_counted() {
    let (relay, address) = relay(|_| {}).await;
    let (username, password) = credentials(&servers(&relay, SessionId(Uuid::now_v7())).ice_servers);
    let own = RelaySecret::open(&turn_secret(SECRET)).unwrap();
    let foreign = RelaySecret::open(&turn_secret("another hub's secret")).unwrap();
    let tag = OwnerTag::of(Uuid::nil());
    let owner = AllocationOwner { session: tag, person: tag, room: None };
    let ended = own.issue(owner, 1, Timestamp::from_micros(1_600_000_000_000_000)).username;
    let name_of_other = own.issue(owner, 1, Timestamp::from_micros(1_999_999_999_000_000)).username;
    let cases = [
        ("forged password", username.clone(), "bm90IHRoaXMgb25l".to_owned()),
        ("another hub's", username.clone(), foreign.password(&username)),
        ("somebody else's", name_of_other, password.clone()),
        ("no name of ours", "alice".to_owned(), own.password("alice")),
        ("ended", ended.clone(), own.password(&ended)),
    ];
    for (what, username, password) in cases {
        for by in [Transport::Udp, Transport::Tcp] {
            let guest = client(address, by, &username, &password).await;
            assert!(guest.allocate().await.is_err(), "{what}, {by:?}");
        }
    }
    let metrics = relay.metrics();
    assert_eq!((metrics.forged.load(Relaxed), metrics.expired.load(Relaxed)), (8, 2));
    assert_eq!(metrics.allocations.load(Relaxed), 0);
    assert!(
        client(address, Transport::Udp, &username, &password).await.allocate().await.is_ok(),
        "valid credentials are accepted"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn allocation_outlives_its_five_minute_credentials() {
    let clock = Clock::system();
    let relay = Relay::start(&settings(|_| {}), clock.clone()).await.unwrap();
    let session = SessionId(Uuid::now_v7());
    let servers = servers(&relay, session);
    let (username, password) = credentials(&servers.ice_servers);
    assert_eq!(servers.expires_at.unwrap().since(clock.now()).as_secs(), CREDENTIAL_LIFETIME.as_secs() - 1);
    clock.advance(CREDENTIAL_LIFETIME.checked_sub(Duration::from_secs(5)).unwrap());
    let address = relay.address().unwrap();
    let early = client(address, Transport::Udp, &username, &password).await;
    let allocation = early.allocate().await.expect("the credentials are valid");
    clock.advance(Duration::from_secs(5));
    assert!(
        client(address, Transport::Udp, &username, &password).await.allocate().await.is_err(),
        "the credentials have expired"
    );
    // A browser keeps its allocation by its original credentials, and asks for new peers with them.
    assert!(echoes(&allocation, &peer().await).await, "the allocation stays");
    assert!(echoes(&allocation, &peer().await).await, "also for a new peer");
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_does_not_reach_its_own_machine() {
    let (relay, _) = relay(|embedded| embedded.private_peers = false).await;
    let guest = guest(&relay, Transport::Udp).await;
    let allocation = guest.allocate().await.unwrap();
    let peer = peer().await;
    assert!(
        allocation.send_to(b"are you there?", peer.local_addr().unwrap()).await.is_err(),
        "no permission is granted"
    );
    assert!(relay.metrics().forbidden_peers.load(Relaxed) > 0);
    // Traffic from there does not reach the client either.
    let mut buf = [0; 100];
    peer.send_to(b"knock", allocation.local_addr().unwrap()).await.unwrap();
    assert!(tokio::time::timeout(TURN_TIMEOUT / 3, allocation.recv_from(&mut buf)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn allocation_is_limited_to_its_bandwidth() {
    let (relay, _) = relay(|embedded| embedded.bytes_per_second = NonZeroU32::new(8_000).unwrap()).await;
    let guest = guest(&relay, Transport::Udp).await;
    let allocation = guest.allocate().await.unwrap();
    let peer = peer().await;
    let (started, mut sent, mut arrived) = (Instant::now(), 0, 0);
    let mut buf = [0; 1500];
    while relay.metrics().over_bandwidth.load(Relaxed) < 100 {
        assert!(started.elapsed() < CONDITION_TIMEOUT, "all {sent} packets of 1,000 bytes got through");
        for _ in 0..10 {
            allocation.send_to(&[7; 1_000], peer.local_addr().unwrap()).await.unwrap();
            sent += 1;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    while tokio::time::timeout(TURN_TIMEOUT / 3, peer.recv_from(&mut buf)).await.is_ok() {
        arrived += 1;
    }
    let most = 8 + 8 * (started.elapsed().as_secs() + 1);
    assert!((1..=most).contains(&arrived), "{arrived} of {sent} packets, expected at most {most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_over_udp_and_tcp_affects_nobody() {
    let (relay, address) = relay(|_| {}).await;
    let guest = guest(&relay, Transport::Tcp).await;
    let allocation = guest.allocate().await.unwrap();
    let peer = peer().await;
    let mut random = StdRng::seed_from_u64(1);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for round in 0..3_000 {
        let mut packet = vec![0; random.random_range(0..600)];
        random.fill_bytes(&mut packet);
        // Mostly datagrams that look like messages at first: a known method, the right length, the cookie.
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
    assert!(echoes(&allocation, &peer).await, "existing clients are served");
    let newcomer = client_once_admitted(&relay).await;
    assert!(echoes(&newcomer.1, &peer).await, "new clients are served");
}

/// Connects a client, waiting if a flood from this very address has used up its rate.
async fn client_once_admitted(relay: &Relay) -> (Client, impl Conn) {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let guest = guest(relay, Transport::Udp).await;
        match guest.allocate().await {
            Ok(allocation) => return (guest, allocation),
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unauthenticated_traffic_is_limited_by_address_and_blocks_nobody_else() {
    let (relay, address) = relay(|_| {}).await;
    let mut request = vec![0, 3, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    request.extend([5; 12]);
    let mut buf = [0; 1500];
    // Many addresses, each below the rate of one: Linux accepts all of 127/8 as its own.
    for at in 0..200_u8 {
        let socket = UdpSocket::bind((std::net::Ipv4Addr::new(127, 0, 1, at), 0)).await.unwrap();
        for _ in 0..20 {
            socket.send_to(&request, address).await.unwrap();
            tokio::time::timeout(CONDITION_TIMEOUT, socket.recv_from(&mut buf)).await.expect("a response").unwrap();
            assert_eq!(buf[..2], [1, 0x13], "an error response with a nonce");
        }
    }
    // An address above the rate is limited while others are served.
    let socket = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    let end = Instant::now() + CONDITION_TIMEOUT;
    let mut sent = 0;
    while relay.metrics().flood.load(Relaxed) < 500 {
        assert!(Instant::now() < end, "{} of {sent} were limited", relay.metrics().flood.load(Relaxed));
        // In small batches: datagrams that exceed the relay's socket buffer are lost before anybody can count them.
        for _ in 0..50 {
            socket.send_to(&request, address).await.unwrap();
            sent += 1;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    client_once_admitted(&relay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn coturn_accepts_the_same_credentials_with_the_shipped_configuration() {
    let coturn = Coturn::start(SECRET).await;
    let urls = vec![format!("turn:{}?transport=udp", coturn.address)];
    let settings = TurnSettings { embedded: None, urls, secret: turn_secret(SECRET) };
    let relay = Relay::start(&settings, Clock::system()).await.unwrap();
    let (username, password) = credentials(&servers(&relay, SessionId(Uuid::now_v7())).ice_servers);
    for by in [Transport::Udp, Transport::Tcp] {
        let guest = client(coturn.address, by, &username, &password).await;
        let allocation = guest.allocate().await.expect("coturn accepts the credentials");
        assert!(echoes(&allocation, &peer().await).await, "{by:?}");
    }
    let forged = client(coturn.address, Transport::Udp, &username, "bm90IHRoaXMgb25l").await;
    assert!(forged.allocate().await.is_err());
}
