//! The embedded relay answers each request as RFC 8489 and RFC 8656 say, to clients that send raw messages.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;

use rooms::id::SessionId;
use secrecy::SecretString;
use stun::attributes::{ATTR_DONT_FRAGMENT, ATTR_LIFETIME, ATTR_NONCE, ATTR_REALM, AttrType};
use stun::message::Method;
use tokio::net::UdpSocket;
use uuid::Uuid;
use wardroom::clock::Clock;
use wardroom::config::{EmbeddedTurn, TurnSecretSource, TurnSettings};
use wardroom::turn::Relay;

use super::turn::servers;
use crate::support::stun::{
    ATTR_CHANNEL_NUMBER, ATTR_DATA, ATTR_EVEN_PORT, ATTR_REQUESTED_ADDRESS_FAMILY, ATTR_REQUESTED_TRANSPORT,
    ATTR_RESERVATION_TOKEN, ATTR_XOR_PEER_ADDRESS, METHOD_ALLOCATE, METHOD_BINDING, METHOD_CHANNEL_BIND,
    METHOD_CREATE_PERMISSION, METHOD_REFRESH, METHOD_SEND, RawClient, UDP, xor_peer,
};
use crate::support::turn::{Transport, credentials};

const BOTH: [Transport; 2] = [Transport::Udp, Transport::Tcp];
/// An attribute that requires comprehension and that no server knows.
const UNKNOWN: AttrType = AttrType(0x7ff0);

pub async fn relay(private_peers: bool) -> Relay {
    relay_at([127, 0, 0, 1], private_peers).await
}

/// Starts a relay that tells clients a public address.
pub async fn relay_at(public: [u8; 4], private_peers: bool) -> Relay {
    let embedded = EmbeddedTurn {
        listen: "127.0.0.1:0".parse().unwrap(),
        is_chosen: true,
        public: public.into(),
        relay_ports: (20_000, 60_000),
        private_peers,
        bytes_per_second: NonZeroU32::new(500_000).unwrap(),
    };
    let secret = TurnSecretSource::Given(SecretString::from("a secret of the tests".to_owned()));
    let settings = TurnSettings { embedded: Some(embedded), urls: Vec::new(), secret };
    Relay::start(&settings, Clock::system()).await.expect("the relay starts")
}

/// Connects a client of a session.
pub async fn client_of(relay: &Relay, session: SessionId, by: Transport) -> RawClient {
    let credentials = credentials(&servers(relay, session).ice_servers);
    RawClient::connect(relay.address().unwrap(), by, credentials).await
}

pub async fn new_client(relay: &Relay, by: Transport) -> RawClient {
    client_of(relay, SessionId(Uuid::now_v7()), by).await
}

pub async fn allocated(relay: &Relay, by: Transport) -> RawClient {
    let mut client = new_client(relay, by).await;
    assert_eq!(client.allocate(&[]).await.code, 0);
    client
}

fn channel(number: u16) -> [u8; 4] {
    let [high, low] = number.to_be_bytes();
    [high, low, 0, 0]
}

async fn bind_code(client: &mut RawClient, number: u16, peer: SocketAddr) -> u16 {
    let (number, peer) = (channel(number), xor_peer(peer));
    let attributes = [(ATTR_CHANNEL_NUMBER, &number[..]), (ATTR_XOR_PEER_ADDRESS, &peer[..])];
    client.request(METHOD_CHANNEL_BIND, &attributes).await.code
}

async fn permit_code(client: &mut RawClient, peer: SocketAddr) -> u16 {
    client.request(METHOD_CREATE_PERMISSION, &[(ATTR_XOR_PEER_ADDRESS, &xor_peer(peer))]).await.code
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_request_gets_the_same_response_and_has_no_second_effect() {
    let relay = relay(true).await;
    let mut client = new_client(&relay, Transport::Udp).await;
    client.challenge().await;
    let allocate = client.signed(METHOD_ALLOCATE, &[UDP]);
    let first = client.exchange(&allocate).await;
    assert_eq!(first.code, 0);
    for _ in 0..3 {
        assert_eq!(client.exchange(&allocate).await.message.raw, first.message.raw, "a lost response is sent again");
    }
    assert_eq!(relay.metrics().allocations.load(Relaxed), 1);
    // A new request is no repetition.
    assert_eq!(client.request(METHOD_ALLOCATE, &[UDP]).await.code, 437);
    let end = client.signed(METHOD_REFRESH, &[(ATTR_LIFETIME, &[0; 4])]);
    let ended = client.exchange(&end).await;
    assert_eq!((ended.code, ended.lifetime()), (0, 0));
    assert_eq!(client.exchange(&end).await.message.raw, ended.message.raw);
    assert_eq!(client.request(METHOD_REFRESH, &[(ATTR_LIFETIME, &[0; 4])]).await.code, 437);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_an_allocation_are_answered() {
    let relay = relay(true).await;
    for by in BOTH {
        let mut client = new_client(&relay, by).await;
        client.challenge().await;
        let peer = "127.0.0.1:5000".parse().unwrap();
        assert_eq!(client.request(METHOD_REFRESH, &[]).await.code, 437, "{by:?}");
        assert_eq!(permit_code(&mut client, peer).await, 437, "{by:?}");
        assert_eq!(bind_code(&mut client, 0x4000, peer).await, 437, "{by:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_attributes_that_require_comprehension_are_named() {
    let relay = relay(true).await;
    for by in BOTH {
        let mut client = new_client(&relay, by).await;
        let binding = client.exchange(&RawClient::plain(METHOD_BINDING, &[(UNKNOWN, &[1, 2, 3])])).await;
        assert_eq!((binding.code, binding.unknown()), (420, vec![UNKNOWN.0]), "{by:?}");
        let refused = client.allocate(&[(UNKNOWN, &[]), (ATTR_DONT_FRAGMENT, &[])]).await;
        assert_eq!((refused.code, refused.unknown()), (420, vec![UNKNOWN.0, ATTR_DONT_FRAGMENT.0]), "{by:?}");
        let optional = AttrType(0xfff0);
        assert_eq!(client.allocate(&[(optional, &[1])]).await.code, 0, "{by:?}");
        for method in [METHOD_REFRESH, METHOD_CREATE_PERMISSION, METHOD_CHANNEL_BIND] {
            assert_eq!(client.request(method, &[(UNKNOWN, &[])]).await.code, 420, "{by:?} {method}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_address_families_are_refused() {
    let relay = relay(true).await;
    let mut client = new_client(&relay, Transport::Udp).await;
    for family in [2, 9] {
        assert_eq!(client.allocate(&[(ATTR_REQUESTED_ADDRESS_FAMILY, &[family, 0, 0, 0])]).await.code, 440, "{family}");
    }
    let additional = AttrType(0x8000);
    assert_eq!(client.allocate(&[(additional, &[1, 0, 0, 0])]).await.code, 400);
    let both = client.allocate(&[(additional, &[2, 0, 0, 0])]).await;
    let error = both.message.get(AttrType(0x8001)).expect("ADDRESS-ERROR-CODE");
    assert_eq!((both.code, error), (0, vec![2, 0, 4, 40]), "IPv4 is allocated, IPv6 is not");
    let peer = "[2001:db8::1]:5000".parse().unwrap();
    assert_eq!(permit_code(&mut client, peer).await, 443);
    assert_eq!(bind_code(&mut client, 0x4000, peer).await, 443);
    let refreshed = client.request(METHOD_REFRESH, &[(ATTR_REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0])]).await;
    assert_eq!(refreshed.code, 443);
    let same = client.request(METHOD_REFRESH, &[(ATTR_REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0])]).await;
    assert_eq!(same.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn allocation_belongs_to_the_session_that_made_it() {
    let relay = relay(true).await;
    for by in BOTH {
        let mut client = allocated(&relay, by).await;
        let (name, password) = credentials(&servers(&relay, SessionId(Uuid::now_v7())).ice_servers);
        let (peer, number) = (xor_peer("127.0.0.1:5000".parse().unwrap()), channel(0x4000));
        let attributes: [(Method, &[_]); 3] = [
            (METHOD_REFRESH, &[(ATTR_LIFETIME, &[0; 4][..])]),
            (METHOD_CREATE_PERMISSION, &[(ATTR_XOR_PEER_ADDRESS, &peer[..])]),
            (METHOD_CHANNEL_BIND, &[(ATTR_CHANNEL_NUMBER, &number[..]), (ATTR_XOR_PEER_ADDRESS, &peer[..])]),
        ];
        for (method, attributes) in attributes {
            let foreign = client.signed_as(&name, &password, method, attributes);
            assert_eq!(client.exchange(&foreign).await.code, 441, "{by:?} {method}");
        }
        assert_eq!(client.request(METHOD_REFRESH, &[]).await.code, 0, "{by:?}: the allocation lives");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_credentials_are_challenged_again() {
    let relay = relay(true).await;
    for by in BOTH {
        let mut client = new_client(&relay, by).await;
        client.challenge().await;
        let name = client.username.clone();
        let wrong_password = client.signed_as(&name, "bm90IHRoaXMgb25l", METHOD_ALLOCATE, &[UDP]);
        let password = client.password.clone();
        let no_name_of_ours = client.signed_as("alice", &password, METHOD_ALLOCATE, &[UDP]);
        for packet in [wrong_password, no_name_of_ours] {
            let answer = client.exchange(&packet).await;
            assert_eq!(answer.code, 401, "{by:?}");
            assert!(answer.message.contains(ATTR_NONCE) && answer.message.contains(ATTR_REALM));
        }
        let mut stranger = new_client(&relay, by).await;
        let stale = stranger.request(METHOD_ALLOCATE, &[UDP]).await;
        assert_eq!((stale.code, stale.message.contains(ATTR_NONCE)), (438, true), "{by:?}: a nonce that is none");
    }
    assert_eq!((relay.metrics().forged.load(Relaxed), relay.metrics().allocations.load(Relaxed)), (4, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn forbidden_peers_are_refused() {
    let relay = relay(false).await;
    for by in BOTH {
        let mut client = allocated(&relay, by).await;
        for peer in ["127.0.0.1:8165", "10.0.0.1:53", "169.254.169.254:80", "224.0.0.1:5000", "0.0.0.0:1"] {
            let peer = peer.parse().unwrap();
            assert_eq!(permit_code(&mut client, peer).await, 403, "{by:?} {peer}");
            assert_eq!(bind_code(&mut client, 0x4000, peer).await, 403, "{by:?} {peer}");
        }
        assert_eq!(permit_code(&mut client, "8.8.8.8:53".parse().unwrap()).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn allocate_attributes_are_checked() {
    let relay = relay(true).await;
    let mut client = new_client(&relay, Transport::Udp).await;
    client.challenge().await;
    let token: &[u8] = &[7; 8];
    let cases: [(u16, &[_]); 8] = [
        (442, &[(ATTR_REQUESTED_TRANSPORT, &[6, 0, 0, 0][..])]),
        (400, &[(ATTR_REQUESTED_TRANSPORT, &[17])]),
        (400, &[]),
        (400, &[UDP, (ATTR_LIFETIME, &[1])]),
        (400, &[UDP, (ATTR_RESERVATION_TOKEN, token), (ATTR_EVEN_PORT, &[0])]),
        (508, &[UDP, (ATTR_RESERVATION_TOKEN, token)]),
        (508, &[UDP, (ATTR_EVEN_PORT, &[0x80])]),
        (400, &[UDP, (ATTR_EVEN_PORT, &[0, 0, 0, 0])]),
    ];
    for (code, attributes) in cases {
        assert_eq!(client.request(METHOD_ALLOCATE, attributes).await.code, code, "{attributes:?}");
    }
    let even = client.request(METHOD_ALLOCATE, &[UDP, (ATTR_EVEN_PORT, &[0])]).await;
    assert_eq!((even.code, even.relayed().port() % 2), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn lifetime_is_within_its_bounds() {
    let relay = relay(true).await;
    for (wanted, granted) in
        [(None, 600), (Some(0_u32), 600), (Some(10), 600), (Some(1_200), 1_200), (Some(9_999), 3_600)]
    {
        let mut client = new_client(&relay, Transport::Udp).await;
        let value = wanted.unwrap_or(0).to_be_bytes();
        let attributes: &[_] = if wanted.is_some() { &[(ATTR_LIFETIME, &value[..])] } else { &[] };
        assert_eq!(client.allocate(attributes).await.lifetime(), granted, "Allocate {wanted:?}");
        let refreshed = client.request(METHOD_REFRESH, attributes).await.lifetime();
        assert_eq!(refreshed, if wanted == Some(0) { 0 } else { granted }, "Refresh {wanted:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_are_checked() {
    let relay = relay(true).await;
    let mut client = allocated(&relay, Transport::Udp).await;
    let [one, two] = ["127.0.0.1:5000", "127.0.0.1:5001"].map(|peer| peer.parse().unwrap());
    for (number, peer, code) in [
        (0x3fff, one, 400),
        (0x5000, one, 400),
        (0x4000, one, 0),
        (0x4000, one, 0),
        (0x4000, two, 400),
        (0x4fff, one, 400),
        (0x4fff, two, 0),
    ] {
        assert_eq!(bind_code(&mut client, number, peer).await, code, "{number:x} {peer}");
    }
    assert_eq!(client.request(METHOD_CHANNEL_BIND, &[]).await.code, 400);
    assert_eq!(client.request(METHOD_CREATE_PERMISSION, &[]).await.code, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_passes_only_between_client_and_permitted_peers() {
    let relay = relay(true).await;
    for by in BOTH {
        let mut client = new_client(&relay, by).await;
        let relayed = client.allocate(&[]).await.relayed();
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = xor_peer(peer.local_addr().unwrap());
        let send = RawClient::plain(METHOD_SEND, &[(ATTR_XOR_PEER_ADDRESS, &address), (ATTR_DATA, b"hello")]);
        client.send(&send).await;
        peer.send_to(b"knock", relayed).await.unwrap();
        assert!(client.is_silent().await, "{by:?}: no permission, no data");
        assert_eq!(permit_code(&mut client, peer.local_addr().unwrap()).await, 0);
        client.send(&send).await;
        let mut buf = [0; 100];
        let (len, from) = peer.recv_from(&mut buf).await.unwrap();
        assert_eq!((&buf[..len], from), (&b"hello"[..], relayed), "{by:?}");
        peer.send_to(b"hello back", from).await.unwrap();
        let indication = client.receive().await;
        assert!(indication.windows(10).any(|part| part == b"hello back"), "{by:?}");
        assert_eq!(bind_code(&mut client, 0x4001, peer.local_addr().unwrap()).await, 0);
        peer.send_to(b"channel", from).await.unwrap();
        assert_eq!(client.receive().await[..11], *b"\x40\x01\x00\x07channel", "{by:?}");
        client.send(b"\x40\x01\x00\x03abc\0").await;
        let (len, _) = peer.recv_from(&mut buf).await.unwrap();
        assert_eq!(&buf[..len], b"abc", "{by:?}");
    }
}

/// Runs coturn's own client, which relays its packets through two allocations of one server.
fn run_coturn_client(relay: &Relay, options: &[&str]) -> String {
    let (name, password) = credentials(&servers(relay, SessionId(Uuid::now_v7())).ice_servers);
    let address = relay.address().unwrap();
    let mut command = Command::new("timeout");
    command.args(["60", "turnutils_uclient", "-u", &name, "-w", &password, "-p", &address.port().to_string()]);
    command.args(["-y", "-c", "-n", "20", "-m", "1", "-l", "200"]).args(options).arg(address.ip().to_string());
    let output = command.output().expect("coturn is installed (tests/run installs it)");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn coturn_client_relays_without_loss() {
    let relay = relay(true).await;
    // By Send indications: this client picks channel numbers of RFC 5766, most of which RFC 8656 no longer allows.
    for options in [&["-s"][..], &["-s", "-t"]] {
        let output = tokio::task::block_in_place(|| run_coturn_client(&relay, options));
        assert!(output.contains("Total lost packets 0 (0.000000%)"), "{options:?}: {output}");
    }
}
