//! Calls between real browsers through the pages: video keeps arriving on both sides, whatever breaks.

use std::time::{Duration, Instant};

use rooms::event::Event;
use rooms::media::MediaPath;
use rooms::reason::EndReason;
use serde_json::Value;

use crate::support::browser::{Browser, Driver};
use crate::support::database::Database;
use crate::support::hub_process::HubProcess;
use crate::support::pages::{DESKTOP_SIZE, PHONE_SIZE, room_id_in_url, sign_in, stored_log, walk_in};
use crate::support::turn::Coturn;

const SECRET: &str = "a secret of the tests";
/// The peer connection of the page.
const PEER_CONNECTION_JS: &str = "const { app } = await import('/app.js'); const [peer] = app.calls.session.peers.values(); const { pc } = peer.negotiator;";

/// A hub, and a patient and a doctor in a consultation.
struct Consultation {
    hub: HubProcess,
    database: Database,
    driver: Driver,
    patient: Browser,
    doctor: Browser,
}

impl Consultation {
    async fn start(settings: &[(&str, String)]) -> Self {
        let database = Database::sqlite();
        let mut hub = HubProcess::new("demo", &database.settings());
        for (name, value) in settings {
            hub.set(name, value);
        }
        hub.start();
        let driver = Driver::start();
        let patient = sign_in(&driver, &hub, "Pia Lindqvist", PHONE_SIZE).await;
        let doctor = sign_in(&driver, &hub, "Dana Okafor", DESKTOP_SIZE).await;
        walk_in(&patient).await;
        doctor.click("lobby-admit").await;
        patient.click("enter-call").await;
        Self { hub, database, driver, patient, doctor }
    }

    /// Starts a call as the doctor and answers it as the patient, until both have video.
    async fn call(&self) {
        self.doctor.click("call-video").await;
        self.patient.click("call-accept").await;
        self.wait_for_video().await;
    }

    /// Waits until video arrives on both sides.
    async fn wait_for_video(&self) {
        for browser in [&self.patient, &self.doctor] {
            let before = frames(browser).await;
            while frames(browser).await < before + 5 {
                let body = format!("return {} >= {}", DECODED_FRAMES_JS, before + 5);
                browser.wait_until("video arrives", &body).await;
            }
        }
    }

    async fn both_clean(&self) {
        self.patient.assert_no_errors().await;
        self.doctor.assert_no_errors().await;
    }
}

/// The number of decoded video frames from the other side.
const DECODED_FRAMES_JS: &str =
    "(document.querySelector('[data-testid=call-remote]')?.getVideoPlaybackQuality().totalVideoFrames ?? 0)";

async fn frames(browser: &Browser) -> u64 {
    browser.run(&format!("return {DECODED_FRAMES_JS}")).await.as_u64().unwrap_or(0)
}

/// Returns the ICE user name fragment of the page's own side, which identifies the ICE generation.
async fn ufrag(browser: &Browser) -> Value {
    browser.run(&format!("{PEER_CONNECTION_JS} return pc.localDescription.sdp.match(/ice-ufrag:(\\S+)/)[1]")).await
}

/// Returns the types of the selected candidates, local and remote.
async fn candidates(browser: &Browser) -> Value {
    let body = format!(
        "{PEER_CONNECTION_JS} const stats = await pc.getStats(); const all = [...stats.values()];
        const pair = stats.get(all.find(it => it.type === 'transport').selectedCandidatePairId);
        return [stats.get(pair.localCandidateId).candidateType, stats.get(pair.remoteCandidateId).candidateType];"
    );
    browser.run(&body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn call_survives_a_hub_restart_and_moves_to_another_device() {
    let mut consultation = Consultation::start(&[]).await;
    let room = room_id_in_url(&consultation.patient).await;
    // The check before the call, whose result is in the log.
    consultation.patient.click("check-open").await;
    consultation.patient.wait_until("the check has finished", "return document.querySelector('[data-testid=check-verdict]')?.innerText.includes('ready for a video call')").await;
    consultation.patient.click("check-save").await;
    consultation.doctor.css("[data-testid=timeline-item][data-kind='call.checked']").await;
    consultation.call().await;
    consultation.doctor.css("[data-testid=timeline-item][data-kind='call.connected']").await;

    let before = ufrag(&consultation.doctor).await;
    consultation.hub.kill();
    consultation.doctor.css("[data-testid=connection-state]:not([data-state=live])").await;
    consultation.wait_for_video().await;
    consultation.hub.start();
    for browser in [&consultation.patient, &consultation.doctor] {
        browser.css("[data-testid=connection-state][data-state=live]").await;
    }
    let changed = format!(
        "{PEER_CONNECTION_JS} return pc.connectionState === 'connected' && !pc.localDescription.sdp.includes('ice-ufrag:{}')",
        before.as_str().unwrap()
    );
    consultation.doctor.wait_until("a new ICE generation after the restart of the hub", &changed).await;
    consultation.wait_for_video().await;

    // A second device of the patient takes over: the first one says so and stops sending.
    let tablet = sign_in(&consultation.driver, &consultation.hub, "Pia Lindqvist", DESKTOP_SIZE).await;
    tablet.click("consultation-row").await;
    tablet.click("call-take").await;
    consultation.patient.wait_for("call-elsewhere").await;
    let stopped =
        "const { app } = await import('/app.js'); return !app.calls.stream && app.calls.session.peers.size === 0";
    assert_eq!(consultation.patient.run(stopped).await, true, "camera and microphone are released");
    let consultation = Consultation { patient: tablet, ..consultation };
    consultation.wait_for_video().await;

    consultation.patient.click("call-hangup").await;
    consultation.doctor.wait_until_gone("[data-testid=call-stage]").await;
    consultation.doctor.css("[data-testid=timeline-item][data-kind='call.reported']").await;
    consultation.both_clean().await;
    let log = stored_log(&consultation.database.settings(), &room).await;
    let ended: Vec<_> = log
        .iter()
        .filter_map(|record| match &record.event {
            Event::CallEnded(ended) => Some(ended.why),
            _ => None,
        })
        .collect();
    assert_eq!(ended, [EndReason::Hangup], "one call, from the first ring to the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn relayed_call_reveals_neither_sides_address() {
    let consultation = Consultation::start(&[("WARDROOM_POLICY_RELAY_ONLY", "true".to_owned())]).await;
    let room = room_id_in_url(&consultation.patient).await;
    consultation.call().await;
    for browser in [&consultation.patient, &consultation.doctor] {
        assert_eq!(candidates(browser).await, serde_json::json!(["relay", "relay"]));
        let remote_sdp = browser.run(&format!("{PEER_CONNECTION_JS} return pc.remoteDescription.sdp")).await;
        let remote_sdp = remote_sdp.as_str().unwrap();
        let other = remote_sdp.lines().any(|line| line.contains("typ ") && !line.contains("typ relay"));
        assert!(!other && !remote_sdp.contains("raddr 1"), "{remote_sdp}");
    }
    consultation.doctor.click("call-hangup").await;
    consultation.patient.css("[data-testid=timeline-item][data-kind='call.reported']").await;
    consultation.both_clean().await;
    let log = stored_log(&consultation.database.settings(), &room).await;
    let paths = log.iter().filter_map(|record| match &record.event {
        Event::CallReported(report) => Some(report.quality.path),
        _ => None,
    });
    assert!(paths.clone().count() >= 1 && paths.into_iter().all(|path| path == MediaPath::Relay));
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_relay_is_replaced_within_seconds() {
    let (first, second) = (Coturn::start(SECRET).await, Coturn::start(SECRET).await);
    let url = |coturn: &Coturn| format!("turn:{}?transport=udp", coturn.address);
    let consultation = Consultation::start(&[
        ("WARDROOM_POLICY_RELAY_ONLY", "true".to_owned()),
        ("WARDROOM_TURN_URLS", format!("{},{}", url(&first), url(&second))),
        ("WARDROOM_TURN_SECRET", SECRET.to_owned()),
    ])
    .await;
    consultation.call().await;
    assert_eq!(candidates(&consultation.doctor).await, serde_json::json!(["relay", "relay"]));
    // Stop the relay that carries the doctor's media, and thereby drops the pair.
    let body = format!(
        "{PEER_CONNECTION_JS} const stats = await pc.getStats(); const all = [...stats.values()];
        const pair = stats.get(all.find(it => it.type === 'transport').selectedCandidatePairId);
        return stats.get(pair.localCandidateId).url;"
    );
    let carries = consultation.doctor.run(&body).await;
    let is_first = carries.as_str().unwrap().contains(&first.address.port().to_string());
    let (dies, stays) = if is_first { (first, second) } else { (second, first) };
    drop(dies);
    let started = Instant::now();
    consultation.wait_for_video_after_stall().await;
    let took = started.elapsed();
    println!("{took:?} without video");
    // Alone this takes less than five seconds; here other tests share the cores.
    assert!(took < Duration::from_secs(15), "{took:?} without video");
    drop(stays);
}

impl Consultation {
    /// Waits until video stalls on both sides, if it does, and arrives again.
    async fn wait_for_video_after_stall(&self) {
        // Signals in flight still arrive.
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.wait_for_video().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn call_survives_200_simultaneous_renegotiations() {
    // Few candidates, so that the hub's rate limit does not prolong the test.
    let consultation = Consultation::start(&[("WARDROOM_TURN_LISTEN", "off".to_owned())]).await;
    consultation.call().await;
    let settle = format!(
        "{PEER_CONNECTION_JS} if (pc.signalingState !== 'stable') return false;
        return pc.localDescription.sdp.match(/ice-ufrag:(\\S+)/)[1] !== window.last;"
    );
    let glare = format!(
        "{PEER_CONNECTION_JS} window.last = pc.localDescription.sdp.match(/ice-ufrag:(\\S+)/)[1]; pc.restartIce();"
    );
    for _ in 0..200 {
        tokio::join!(consultation.patient.run(&glare), consultation.doctor.run(&glare));
        tokio::join!(
            consultation.patient.wait_until("the patient's side is stable", &settle),
            consultation.doctor.wait_until("the doctor's side is stable", &settle)
        );
    }
    // The quality ladder may have paused video, so check received packets.
    let arrives = format!(
        "{PEER_CONNECTION_JS} if (pc.connectionState !== 'connected') return false;
        const now = [...(await pc.getStats()).values()].find(it => it.type === 'transport').packetsReceived;
        const grows = now > (window.arrived ?? now); window.arrived = now; return grows;"
    );
    consultation.patient.wait_until("media from the doctor", &arrives).await;
    consultation.doctor.wait_until("media from the patient", &arrives).await;
    consultation.both_clean().await;
    let toasts = consultation.doctor.run("return document.querySelectorAll('.toast.bad').length").await;
    assert_eq!(toasts, 0, "no error is shown");
}

/// Restricts a page to TURN over TCP, as a network does that allows nothing else.
const TCP_ONLY_JS: &str = "const Own = globalThis.RTCPeerConnection;
    const left = (c) => ({ ...c, iceTransportPolicy: 'relay', iceServers: (c.iceServers ?? []).map((it) =>
        ({ ...it, urls: [it.urls].flat().filter((url) => url.includes('transport=tcp')) })).filter((it) => it.urls.length) });
    globalThis.RTCPeerConnection = class extends Own {
        constructor(c) { super(left(c)); }
        setConfiguration(c) { super.setConfiguration(left(c)); }
    };";

#[tokio::test(flavor = "multi_thread")]
async fn call_uses_the_relay_over_tcp_where_only_tcp_is_open() {
    let consultation = Consultation::start(&[]).await;
    for browser in [&consultation.patient, &consultation.doctor] {
        browser.run(TCP_ONLY_JS).await;
    }
    consultation.call().await;
    let body = format!(
        "{PEER_CONNECTION_JS} const all = [...(await pc.getStats()).values()];
        return [...new Set(all.filter(it => it.type === 'local-candidate').map(it => it.relayProtocol))];"
    );
    for browser in [&consultation.patient, &consultation.doctor] {
        assert_eq!(browser.run(&body).await, serde_json::json!(["tcp"]));
        assert_eq!(candidates(browser).await, serde_json::json!(["relay", "relay"]));
    }
    consultation.both_clean().await;
}
