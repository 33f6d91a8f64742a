//! The echo call: people hear and see themselves, within their share of the capacity.

use std::net::SocketAddr;
use std::time::Duration;

use rooms::role::Role;
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use wardroom::echo::MAX_ECHOES;

use crate::support::browser::Driver;
use crate::support::database::Database;
use crate::support::hub_process::HubProcess;
use crate::support::pages::{DESKTOP_SIZE, room_id_in_url, sign_in, walk_in};
use crate::support::rest::{RestClient, RestResponse};

/// How long ICE has to send its first packets.
const PROBE_DURATION: Duration = Duration::from_secs(3);

/// Returns an audio offer of a browser that is unreachable: it is answered, and nobody connects.
fn offer(codec: &str) -> String {
    offer_with(codec, &["127.0.0.1:9".parse().unwrap()])
}

/// Returns an audio offer with these host candidates.
fn offer_with(codec: &str, candidates: &[SocketAddr]) -> String {
    let fingerprint = vec!["AB"; 32].join(":");
    format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
        c=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 {codec}\r\na=setup:actpass\r\n\
        {}a=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef0123456789\r\na=fingerprint:sha-256 {fingerprint}\r\n",
        candidates
            .iter()
            .map(|it| format!("a=candidate:1 1 udp 2122260223 {} {} typ host\r\n", it.ip(), it.port()))
            .collect::<String>()
    )
}

async fn echo(rest: &RestClient, token: &str, sdp: &str) -> RestResponse {
    rest.call("post", "/v1/echo").bearer(token).json(json!({"sdp": sdp})).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn echo_requires_sign_in_and_is_bounded_in_number() {
    let rest = RestClient::start(Database::sqlite().settings()).await;
    rest.call("post", "/v1/echo")
        .json(json!({"sdp": offer("opus/48000/2")}))
        .send()
        .await
        .assert_problem(401, "unauthenticated");
    let mut tokens = Vec::new();
    for _ in 0..=MAX_ECHOES {
        tokens.push(rest.token(Role::Patient).await);
    }
    for token in &tokens[..MAX_ECHOES] {
        let answer = echo(&rest, token, &offer("opus/48000/2")).await.ok();
        let sdp = answer["sdp"].as_str().expect("a description");
        assert!(sdp.contains("a=candidate:") && sdp.contains("opus/48000/2"), "{sdp}");
    }
    let refused = echo(&rest, &tokens[MAX_ECHOES], &offer("opus/48000/2")).await;
    refused.assert_problem(429, "rate_limited");
    assert!(refused.json["retry_after_ms"].as_u64().is_some_and(|wait| wait > 0), "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_starts_one_echo_a_minute() {
    let rest = RestClient::start(Database::sqlite().settings()).await;
    let (person, token) = rest.person_with_token(Role::Patient, None).await;
    echo(&rest, &token, &offer("G729/8000")).await.assert_problem(422, "invalid");
    echo(&rest, &token, &offer("opus/48000/2")).await.ok();
    // Another sign-in of the same person has no count of its own.
    for token in [token, rest.server.token(&person).0] {
        let refused = echo(&rest, &token, &offer("opus/48000/2")).await;
        refused.assert_problem(429, "rate_limited");
        let wait = refused.json["retry_after_ms"].as_u64().unwrap();
        assert!((30_000..=60_000).contains(&wait), "{wait}");
    }
    echo(&rest, &rest.token(Role::Patient).await, &offer("opus/48000/2")).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn guest_gets_no_echo() {
    let rest = RestClient::start(Database::sqlite().settings()).await;
    let guest = rest.token(Role::Guest).await;
    echo(&rest, &guest, &offer("opus/48000/2")).await.assert_problem(403, "forbidden");
}

/// Returns how many of these sockets receive something soon.
async fn reached(sockets: &[UdpSocket]) -> usize {
    let receive = async |socket: &UdpSocket| {
        let mut buf = [0; 1500];
        tokio::time::timeout(PROBE_DURATION, socket.recv_from(&mut buf)).await.is_ok()
    };
    futures_util::future::join_all(sockets.iter().map(receive))
        .await
        .into_iter()
        .filter(|is_reached| *is_reached)
        .count()
}

async fn candidates(count: usize) -> (Vec<UdpSocket>, Vec<SocketAddr>) {
    let mut sockets = Vec::new();
    for _ in 0..count {
        sockets.push(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    }
    let addresses = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
    (sockets, addresses)
}

#[tokio::test(flavor = "multi_thread")]
async fn echo_sends_nothing_to_private_addresses_that_an_offer_names() {
    let rest = RestClient::start(Database::sqlite().settings()).await;
    let (sockets, addresses) = candidates(3).await;
    echo(&rest, &rest.token(Role::Patient).await, &offer_with("opus/48000/2", &addresses)).await.ok();
    assert_eq!(reached(&sockets).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn echo_probes_a_handful_of_many_candidates() {
    let rest = RestClient::start_with(Database::sqlite().settings(), |config| {
        config.turn.embedded.as_mut().expect("a relay beside a hub on loopback").private_peers = true;
    })
    .await;
    let (sockets, addresses) = candidates(60).await;
    echo(&rest, &rest.token(Role::Patient).await, &offer_with("opus/48000/2", &addresses)).await.ok();
    let reached = reached(&sockets).await;
    assert!((1..=8).contains(&reached), "{reached} of 60 candidates were sent packets");
}

#[tokio::test(flavor = "multi_thread")]
async fn unconnected_echo_releases_its_capacity() {
    let rest = RestClient::start(Database::sqlite().settings()).await;
    let mut tokens = Vec::new();
    for _ in 0..=MAX_ECHOES {
        tokens.push(rest.token(Role::Doctor).await);
    }
    for token in &tokens[..MAX_ECHOES] {
        echo(&rest, token, &offer("opus/48000/2")).await.ok();
    }
    let given_back = async {
        while echo(&rest, &tokens[MAX_ECHOES], &offer("opus/48000/2")).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), given_back).await.expect("capacity is released");
}

#[tokio::test(flavor = "multi_thread")]
async fn unanswerable_offers_are_rejected_without_using_capacity() {
    let rest = RestClient::start(Database::sqlite().settings()).await;
    let token = rest.token(Role::Patient).await;
    for _ in 0..=MAX_ECHOES {
        for sdp in
            ["", "v=0", &offer("opus/48000/2").replace("a=candidate:1", "a=candidate:x y"), &"v=0\r\n".repeat(20_000)]
        {
            let refused = echo(&rest, &token, sdp).await;
            assert!((400..500).contains(&refused.status.as_u16()), "{}", refused.text);
        }
        echo(&rest, &token, &offer("G729/8000")).await.assert_problem(422, "invalid");
    }
    echo(&rest, &token, &offer("opus/48000/2")).await.ok();
}

/// Returned video frames that were shown, and the loudness of the returned sound.
const ECHO_RECEIVED_JS: &str = "const picture = document.querySelector('[data-testid=echo-picture]');
    if (!picture) return null;
    window.loudest ??= 0;
    if (!window.ear) {
        const audio = new AudioContext();
        window.ear = audio.createAnalyser();
        audio.createMediaStreamSource(picture.srcObject).connect(window.ear);
    }
    const samples = new Float32Array(window.ear.fftSize);
    window.ear.getFloatTimeDomainData(samples);
    window.loudest = Math.max(window.loudest, ...samples);
    return picture.getVideoPlaybackQuality().totalVideoFrames > 10 && window.loudest > 0.01";

#[tokio::test(flavor = "multi_thread")]
async fn echo_returns_own_sound_and_video() {
    let database = Database::sqlite();
    let mut hub = HubProcess::new("demo", &database.settings());
    hub.start();
    let driver = Driver::start();
    let patient = sign_in(&driver, &hub, "Pia Lindqvist", DESKTOP_SIZE).await;
    walk_in(&patient).await;
    let room = room_id_in_url(&patient).await;
    patient.run(&format!("location.hash = '#/check/{room}'")).await;
    patient.wait_until("the check has finished", "return document.querySelector('[data-testid=check-verdict]')?.innerText.includes('ready for a video call')").await;
    patient.run("window.loudest = 0; window.ear = null").await;
    patient.click("echo-call").await;
    patient.wait_until("own video and sound", ECHO_RECEIVED_JS).await;
    let status = patient
        .wait_until("the echo's status", "return document.querySelector('[data-testid=echo-state]').innerText")
        .await;
    assert_ne!(status, Value::Null);
    patient.click("echo-stop").await;
    patient.wait_until("the echo has ended", "return !document.querySelector('[data-testid=echo-picture]')").await;
    patient.assert_no_errors().await;
}
