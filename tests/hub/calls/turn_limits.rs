//! The relay's quotas, what ends an allocation early, and which services a relay does not reach.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rooms::id::{RoomId, SessionId, UserId};
use tokio::net::UdpSocket;
use uuid::Uuid;
use wardroom::turn::{Relay, RelayUser};

use super::turn_protocol::{client_of, new_client, relay, relay_at};
use crate::support::stun::{
    ATTR_CHANNEL_NUMBER, ATTR_DATA, ATTR_XOR_PEER_ADDRESS, METHOD_CHANNEL_BIND, METHOD_CREATE_PERMISSION,
    METHOD_REFRESH, METHOD_SEND, RawClient, xor_peer,
};
use crate::support::turn::{Transport, credentials};

/// Long enough for a busy machine.
const END_TIMEOUT: Duration = Duration::from_secs(10);

fn user(person: u128, session: u128, room: Option<u128>) -> RelayUser {
    RelayUser {
        session: SessionId(Uuid::from_u128(session)),
        user: UserId(Uuid::from_u128(person)),
        room: room.map(|room| RoomId(Uuid::from_u128(room))),
    }
}

async fn connect(relay: &Relay, user: RelayUser, by: Transport) -> RawClient {
    RawClient::connect(relay.address().unwrap(), by, credentials(&relay.servers(user).ice_servers)).await
}

/// Connects a client and makes an allocation; returns the code of the response, too.
async fn allocate(relay: &Relay, user: RelayUser) -> (RawClient, u16) {
    let mut client = connect(relay, user, Transport::Udp).await;
    let code = client.allocate(&[]).await.code;
    (client, code)
}

async fn refresh_code(client: &mut RawClient) -> u16 {
    client.request(METHOD_REFRESH, &[]).await.code
}

#[tokio::test(flavor = "multi_thread")]
async fn device_that_changes_networks_thirty_times_is_always_served() {
    let relay = relay(true).await;
    let call = user(1, 1, Some(1));
    let mut other = allocate(&relay, user(2, 2, Some(1))).await.0;
    let mut last = Vec::new();
    for change in 0..30 {
        let started = Instant::now();
        last.clear();
        for by in [Transport::Udp, Transport::Tcp] {
            let mut client = connect(&relay, call, by).await;
            assert_eq!(client.allocate(&[]).await.code, 0, "change {change}, {by:?}");
            last.push(client);
        }
        assert!(started.elapsed() < Duration::from_secs(5));
    }
    for client in &mut last {
        assert_eq!(refresh_code(client).await, 0, "the newest allocations live");
    }
    assert_eq!(refresh_code(&mut other).await, 0, "the other side keeps its allocation");
    assert!(relay.metrics().replaced.load(Relaxed) > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn person_has_one_quota_over_all_sessions_and_devices() {
    let relay = relay(true).await;
    let mut clients = Vec::new();
    for device in 0..40 {
        let (client, code) = allocate(&relay, user(1, 100 + device, Some(1))).await;
        assert_eq!(code, 0, "device {device}");
        clients.push(client);
    }
    let mut alive = 0;
    for client in &mut clients {
        alive += usize::from(refresh_code(client).await == 0);
    }
    assert_eq!(alive, 24, "an older one ends for each newer one");
    assert_eq!(allocate(&relay, user(2, 2, Some(1))).await.1, 0, "another person is served");
}

#[tokio::test(flavor = "multi_thread")]
async fn person_cannot_make_allocations_without_pause() {
    let relay = relay(true).await;
    let mut refused = 0;
    for _ in 0..80 {
        refused += usize::from(allocate(&relay, user(1, 1, None)).await.1 == 486);
    }
    assert!((1..=20).contains(&refused), "{refused} of 80");
}

#[tokio::test(flavor = "multi_thread")]
async fn room_is_limited_and_its_members_keep_theirs() {
    let relay = relay(true).await;
    let mut kept = Vec::new();
    for person in 1..=4_u128 {
        for _ in 0..12 {
            let (client, code) = allocate(&relay, user(person, person, Some(1))).await;
            assert_eq!(code, 0);
            kept.push(client);
        }
    }
    assert_eq!(allocate(&relay, user(5, 5, Some(1))).await.1, 486);
    assert_eq!(relay.metrics().over_quota.load(Relaxed), 1);
    assert_eq!(allocate(&relay, user(5, 5, Some(2))).await.1, 0, "another room");
    assert_eq!(allocate(&relay, user(1, 1, Some(1))).await.1, 0, "a member replaces their own");
    assert_eq!(refresh_code(&mut kept[47]).await, 0, "others keep theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn end_of_session_person_guest_and_call_ends_allocations_and_credentials() {
    let relay = relay(true).await;
    type Ends = fn(&Relay);
    let ends: [(&str, Ends, bool); 4] = [
        ("sign-out", |relay| relay.end_session(SessionId(Uuid::from_u128(1))), false),
        ("disabled account", |relay| relay.end_person(UserId(Uuid::from_u128(1))), true),
        ("end of the call", |relay| relay.end_call(RoomId(Uuid::from_u128(1))), true),
        ("dismissal", |relay| relay.dismiss_guest(UserId(Uuid::from_u128(1))), false),
    ];
    for (what, end, has_fresh_credentials) in ends {
        let person = if what == "sign-out" { user(3, 1, Some(3)) } else { user(1, 2, Some(1)) };
        let (mut client, code) = allocate(&relay, person).await;
        assert_eq!(code, 0, "{what}");
        let mut other = allocate(&relay, user(9, 9, Some(9))).await.0;
        let mut early = connect(&relay, person, Transport::Tcp).await;
        end(&relay);
        assert_eq!(refresh_code(&mut client).await, 401, "{what}: the allocation has ended");
        assert_eq!(early.allocate(&[]).await.code, 401, "{what}: earlier credentials are revoked");
        let later = allocate(&relay, person).await.1;
        if has_fresh_credentials {
            assert_eq!(later, 0, "{what}: later credentials are valid");
        } else if what == "dismissal" {
            assert_eq!(later, 401, "{what}: no credentials are valid");
        }
        assert_eq!(refresh_code(&mut other).await, 0, "{what}: nobody else is concerned");
    }
    assert!(relay.metrics().revoked.load(Relaxed) >= 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn allocation_ends_with_its_stream() {
    let relay = relay(true).await;
    let mut client = new_client(&relay, Transport::Tcp).await;
    let relayed = client.allocate(&[]).await.relayed();
    assert!(UdpSocket::bind(relayed).await.is_err(), "the port is in use");
    drop(client);
    let end = Instant::now() + END_TIMEOUT;
    while UdpSocket::bind(relayed).await.is_err() {
        assert!(Instant::now() < end, "the port is released");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn permit(client: &mut RawClient, peer: SocketAddr) -> u16 {
    client.request(METHOD_CREATE_PERMISSION, &[(ATTR_XOR_PEER_ADDRESS, &xor_peer(peer))]).await.code
}

fn send(peer: SocketAddr, data: &[u8]) -> Vec<u8> {
    RawClient::plain(METHOD_SEND, &[(ATTR_XOR_PEER_ADDRESS, &xor_peer(peer)), (ATTR_DATA, data)])
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_reaches_its_own_address_only_where_an_allocation_lives() {
    // The public address of a relay behind a router that does not send packets back.
    let relay = relay_at([8, 8, 8, 8], false).await;
    let mut one = new_client(&relay, Transport::Udp).await;
    let mut two = client_of(&relay, SessionId(Uuid::nil()), Transport::Tcp).await;
    let (at_one, at_two) = (one.allocate(&[]).await.relayed(), two.allocate(&[]).await.relayed());
    assert_eq!((permit(&mut one, at_two).await, permit(&mut two, at_one).await), (0, 0));
    one.send(&send(at_two, b"to the other")).await;
    let received = two.receive().await;
    assert!(received.windows(12).any(|part| part == b"to the other"));
    // A service on the same address, on a port that relays could use.
    let port = (20_000..60_000).find(|port| *port != at_one.port() && *port != at_two.port()).unwrap();
    let service = xor_peer(SocketAddr::new(at_two.ip(), port));
    let attributes = [(ATTR_CHANNEL_NUMBER, &[0x40, 0, 0, 0][..]), (ATTR_XOR_PEER_ADDRESS, &service[..])];
    assert_eq!(one.request(METHOD_CHANNEL_BIND, &attributes).await.code, 403);
    let before = relay.metrics().forbidden_peers.load(Relaxed);
    one.send(&send(SocketAddr::new(at_two.ip(), port), b"to a service")).await;
    assert!(one.is_silent().await);
    assert_eq!(relay.metrics().forbidden_peers.load(Relaxed), before + 1);
}
