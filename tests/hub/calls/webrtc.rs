//! Calls with a native WebRTC stack: between two of them, and with a browser.

use std::time::Duration;

use loadtest::client::Client;
use loadtest::target::Target;
use loadtest::webrtc::{MediaState, WebRtcPeer};
use rooms::media::Media;
use rooms::wire::client::Token;
use serde_json::{Value, json};
use wardroom::config::DatabaseSettings;

use crate::support::both;
use crate::support::browser::Driver;
use crate::support::database::Database;
use crate::support::hub_process::HubProcess;
use crate::support::pages::{DESKTOP_SIZE, room_id_in_url, sign_in, walk_in};
use crate::support::test_server::{Case, TestServer};

/// Longer than any condition takes to become true.
const CONDITION_TIMEOUT: Duration = Duration::from_secs(60);

/// Returns doctor and patient of this case in a call, both connected.
async fn connected(server: &TestServer, case: &Case) -> (WebRtcPeer, WebRtcPeer) {
    let doctor = server.joined(&case.doctor, case.room).await;
    let patient = server.joined(&case.patient, case.room).await;
    let (doctor, patient) =
        tokio::join!(WebRtcPeer::ring(doctor, case.room, Media::Audio), WebRtcPeer::answer(patient, case.room));
    let (mut doctor, mut patient) = (doctor.expect("the call rings"), patient.expect("the call is answered"));
    assert_media_flows(&mut doctor, &mut patient).await;
    (doctor, patient)
}

/// Asserts that from now on media and messages flow both ways.
async fn assert_media_flows(doctor: &mut WebRtcPeer, patient: &mut WebRtcPeer) {
    let more = |peer: &WebRtcPeer| peer.progress().packets + 25;
    let (doctors, patients) = (more(doctor), more(patient));
    let (one, other) = tokio::join!(
        doctor.run_until(CONDITION_TIMEOUT, |now| now.connected.is_some()
            && now.packets >= doctors
            && now.state.is_some()),
        patient.run_until(CONDITION_TIMEOUT, |now| now.connected.is_some()
            && now.packets >= patients
            && now.state.is_some()),
    );
    one.expect("the doctor receives the patient's media");
    other.expect("the patient receives the doctor's media");
}

async fn two_peers_exchange_media_and_data(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let case = server.case().await;
    let (mut doctor, mut patient) = connected(&server, &case).await;
    doctor.send_text("good morning").await.unwrap();
    patient.send_text("good morning to you").await.unwrap();
    let (one, other) = tokio::join!(
        patient.run_until(CONDITION_TIMEOUT, |now| now.received == ["good morning"]),
        doctor.run_until(CONDITION_TIMEOUT, |now| now.received == ["good morning to you"]),
    );
    assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
    patient.leave().await.unwrap();
}

async fn call_survives_broken_sockets_to_the_hub(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let case = server.case().await;
    let (mut doctor, mut patient) = connected(&server, &case).await;
    for _ in 0..3 {
        let (one, other) = tokio::join!(doctor.reconnect(), patient.reconnect());
        assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
        assert_media_flows(&mut doctor, &mut patient).await;
    }
    assert_eq!((doctor.progress().connections, patient.progress().connections), (1, 1), "on the existing connection");
}

async fn relayed_call_connects_peers_through_the_relay_only(database: DatabaseSettings) {
    let server = TestServer::start_with(database, |config| {
        config.policy.relay_only = true;
        config.turn.embedded.as_mut().expect("the relay is enabled beside a hub on loopback").private_peers = true;
    })
    .await;
    let case = server.case().await;
    let (doctor, _patient) = connected(&server, &case).await;
    let relayed = server.relay.metrics().bytes.load(std::sync::atomic::Ordering::Relaxed);
    assert!(relayed > 1_000, "{relayed} bytes went through the relay");
    doctor.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn browser_and_native_peer_interoperate() {
    let database = Database::sqlite();
    let mut hub = HubProcess::new("demo", &database.settings());
    let address = hub.start();
    let driver = Driver::start();
    let patient = sign_in(&driver, &hub, "Pia Lindqvist", DESKTOP_SIZE).await;
    walk_in(&patient).await;
    let room = room_id_in_url(&patient).await.parse().unwrap();
    // The doctor uses the native client.
    let link = hub.demo_link("Dana Okafor");
    let token = link.split("#demo=").nth(1).unwrap();
    let sign_in = crate::support::http().post(format!("http://{address}/v1/auth/demo")).json(&json!({"token": token}));
    let answer: Value = sign_in.send().await.unwrap().json().await.unwrap();
    let token = Token(answer["access_token"].as_str().unwrap().to_owned());
    let mut doctor = Client::new(Target::new(address).unwrap(), token);
    doctor.connect().await.unwrap();
    doctor.join(room).await.unwrap();
    doctor.command(room, rooms::command::Command::Admit(rooms::command::Nothing {})).await.unwrap();
    patient.click("enter-call").await;
    patient.wait_for_state("consultation", "in_progress").await;
    let mut doctor = WebRtcPeer::ring(doctor, room, Media::Audio).await.expect("the call rings");
    patient.click("call-accept-audio").await;
    let heard = doctor.run_until(CONDITION_TIMEOUT, |now| now.connected.is_some() && now.packets > 50).await;
    heard.expect("the browser's media arrives");
    let arrives = "const { app } = await import('/app.js'); const [peer] = app.calls.session.peers.values();
        const all = [...(await peer.negotiator.pc.getStats()).values()];
        return all.some(it => it.type === 'inbound-rtp' && it.packetsReceived > 50)";
    let (_, _) = tokio::join!(
        patient.wait_until("sound from the peer", arrives),
        doctor.run_until(CONDITION_TIMEOUT, |now| now.packets > 400)
    );
    // The page reports its microphone over the pre-negotiated data channel.
    let channel_state = doctor
        .run_until(CONDITION_TIMEOUT, |now| now.state.is_some())
        .await
        .expect("the page reports its state when the channel opens");
    assert_eq!(channel_state.state, Some(MediaState { microphone: true, camera: false }));
    let heard = "const [peer] = (await import('/app.js')).app.calls.session.peers.values();
        return peer.remoteState?.microphone === true && peer.remoteState.camera === false";
    patient.wait_until("the peer's message", heard).await;
    doctor.leave().await.unwrap();
    patient.wait_until_gone("[data-testid=call-stage]").await;
    patient.assert_no_errors().await;
}

both! {
    two_peers_exchange_media_and_data
    call_survives_broken_sockets_to_the_hub
    relayed_call_connects_peers_through_the_relay_only
}
