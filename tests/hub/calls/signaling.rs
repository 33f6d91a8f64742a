//! Signalling as sessions observe it: ringing, attaching, relaying, resuming, taking over, and permissions.

use rooms::command::{Command, Nothing};
use rooms::command::{LeaveCall, StartCall};
use rooms::id::CallId;
use rooms::media::Media;
use rooms::reason::LeaveReason;
use rooms::wire::client::ClientFrame;
use serde_json::json;
use uuid::Uuid;
use wardroom::config::DatabaseSettings;

use crate::support::both;
use crate::support::call::{CallMember, HOST_CANDIDATE, must_succeed, sdp, start_and_answer, text};
use crate::support::test_server::{Case, TestServer};

/// Returns a call that the patient has answered: the doctor's and the patient's session, not yet attached.
async fn answered(server: &TestServer, case: &Case) -> (CallMember, CallMember) {
    let doctor = server.joined(&case.doctor, case.room).await;
    let patient = server.joined(&case.patient, case.room).await;
    start_and_answer(server, case, doctor, patient).await
}

/// Returns the two sessions attached, and their epoch.
async fn attached(server: &TestServer, case: &Case) -> (CallMember, CallMember, u64) {
    let (mut doctor, mut patient) = answered(server, case).await;
    doctor.attach(1, json!([])).await;
    patient.attach(2, json!([])).await;
    let (_, peer) = patient.next_signal().await;
    let (_, same) = doctor.next_signal().await;
    assert_eq!(peer["epoch"], same["epoch"]);
    assert_ne!(peer["polite"], same["polite"]);
    (doctor, patient, peer["epoch"].as_u64().expect("an epoch"))
}

async fn offers_answers_and_candidates_arrive_in_order(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let case = server.case().await;
    let (mut doctor, mut patient, epoch) = attached(&server, &case).await;
    let (to_doctor, to_patient) = (case.doctor.user(), case.patient.user());
    let offer = json!({"type": "offer", "sdp": sdp()});
    doctor.signal("description", json!({"to": to_patient, "epoch": epoch, "description": offer}));
    for at in 0..50 {
        let candidate = json!({"candidate": HOST_CANDIDATE, "sdp_m_line_index": at});
        doctor.signal("candidate", json!({"to": to_patient, "epoch": epoch, "candidate": candidate}));
    }
    doctor.client.flush().await.unwrap();
    let (kind, data) = patient.next_signal().await;
    assert_eq!((kind.as_str(), &data["description"], &data["from"]), ("description", &offer, &json!(to_doctor)));
    for at in 0..50 {
        let (kind, data) = patient.next_signal().await;
        assert_eq!((kind.as_str(), &data["candidate"]["sdp_m_line_index"]), ("candidate", &json!(at)));
        assert_eq!(data["n"], json!(at + 2));
    }
    patient.signal(
        "description",
        json!({"to": to_doctor, "epoch": epoch, "description": {"type": "answer", "sdp": sdp()}}),
    );
    patient.client.flush().await.unwrap();
    assert_eq!(doctor.next_signal().await.1["description"]["type"], "answer");
}

async fn session_resumes_after_a_broken_socket(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let case = server.case().await;
    let (mut doctor, mut patient, epoch) = attached(&server, &case).await;
    patient.client.cut();
    assert_eq!(doctor.next_signal().await.0, "away");
    let offer = json!({"to": case.patient.user(), "epoch": epoch, "description": {"type": "offer", "sdp": sdp()}});
    doctor.signal("description", offer);
    doctor.client.flush().await.unwrap();
    patient.client.connect().await.unwrap();
    patient.client.until_live().await.unwrap();
    patient.attach(2, json!([{"peer": case.doctor.user(), "epoch": epoch, "got": 0}])).await;
    let (kind, peer) = patient.next_signal().await;
    assert_eq!((kind.as_str(), &peer["resumed"], &peer["epoch"]), ("peer", &json!(true), &json!(epoch)));
    assert_eq!(patient.next_signal().await.0, "description", "the missed signal is sent again");
    let (kind, peer) = doctor.next_signal().await;
    assert_eq!((kind.as_str(), &peer["resumed"]), ("peer", &json!(true)));
}

async fn one_session_owns_a_persons_media_and_another_can_take_over(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let case = server.case().await;
    let (mut doctor, mut first, epoch) = attached(&server, &case).await;
    let client = server.joined(&case.patient, case.room).await;
    let mut second = CallMember { client, room: case.room, call: first.call };
    second.signal("attach", json!({"device": Uuid::from_u128(3)}));
    assert_eq!(second.next_signal().await.0, "media_taken");
    second.signal("attach", json!({"device": Uuid::from_u128(3), "take": true}));
    assert_eq!(second.next_signal().await.0, "attached");
    assert_eq!(first.next_signal().await.0, "taken");
    let (_, peer) = doctor.next_signal().await;
    assert!(peer["epoch"].as_u64().unwrap() > epoch && peer["resumed"] == false, "{peer}");
    let offer = json!({"to": case.doctor.user(), "epoch": epoch, "description": {"type": "offer", "sdp": sdp()}});
    first.signal("description", offer);
    assert_eq!(first.next_signal().await.0, "not_in_call");
}

async fn outsiders_and_malformed_signals_change_nothing(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let case = server.case().await;
    let (mut doctor, mut patient, epoch) = attached(&server, &case).await;
    let client = server.joined(&case.pharmacist, case.room).await;
    let mut pharmacist = CallMember { client, room: case.room, call: doctor.call };
    let offer =
        |sdp: &str| json!({"to": case.patient.user(), "epoch": epoch, "description": {"type": "offer", "sdp": sdp}});
    for (kind, data) in [
        ("attach", json!({"device": Uuid::nil()})),
        ("description", offer(&sdp())),
        ("servers", json!({})),
        ("detach", json!({})),
    ] {
        pharmacist.signal(kind, data);
        assert_eq!(pharmacist.next_signal().await.0, "not_in_call", "{kind}");
    }
    let candidate =
        |raw: &str| json!({"to": case.patient.user(), "epoch": epoch, "candidate": {"candidate": raw, "sdp_mid": "0"}});
    for (kind, data, code) in [
        ("description", offer(&"x".repeat(40_000)), "invalid"),
        ("description", offer("v=0\r\n"), "invalid"),
        ("candidate", candidate("candidate:evil"), "invalid"),
        ("candidate", candidate(&"y".repeat(2_000)), "invalid"),
        ("description", json!({"to": case.patient.user(), "epoch": epoch}), "malformed"),
        ("shout", json!({}), "malformed"),
        ("servers", json!({"extra": 1}), "malformed"),
    ] {
        doctor.signal(kind, data);
        assert_eq!(doctor.next_signal().await.0, code, "{kind}");
    }
    let mut other_call = CallMember { client: doctor.client, room: case.room, call: CallId(Uuid::nil()) };
    other_call.signal("servers", json!({}));
    assert_eq!(other_call.next_signal().await.0, "not_in_call");
    let mut doctor = CallMember { call: patient.call, ..other_call };
    // Stale and misaddressed signals are dropped silently; the call goes on.
    doctor.signal(
        "description",
        json!({"to": case.patient.user(), "epoch": 1, "description": {"type": "offer", "sdp": sdp()}}),
    );
    doctor.signal(
        "candidate",
        json!({"to": case.pharmacist.user(), "epoch": epoch, "candidate": {"candidate": HOST_CANDIDATE}}),
    );
    doctor.signal("candidate", candidate(HOST_CANDIDATE));
    doctor.client.flush().await.unwrap();
    let (kind, data) = patient.next_signal().await;
    assert_eq!((kind.as_str(), &data["n"]), ("candidate", &json!(1)), "the first signal that the patient receives");
}

async fn relayed_call_passes_no_addresses_through_the_hub(database: DatabaseSettings) {
    let server = TestServer::start_with(database, |config| config.policy.relay_only = true).await;
    let case = server.case().await;
    let (mut doctor, mut patient) = answered(&server, &case).await;
    assert_eq!(doctor.attach(1, json!([])).await["relay_only"], true);
    patient.attach(2, json!([])).await;
    let (_, peer) = patient.next_signal().await;
    let relay = "candidate:2 1 udp 41885439 198.51.100.9 60000 typ relay raddr 192.0.2.7 rport 54400";
    for raw in [HOST_CANDIDATE, relay] {
        let candidate = json!({"to": case.patient.user(), "epoch": peer["epoch"], "candidate": {"candidate": raw}});
        doctor.signal("candidate", candidate);
    }
    doctor.client.flush().await.unwrap();
    let (_, data) = patient.next_signal().await;
    let passed = text(&data["candidate"]["candidate"]);
    assert!(passed.contains("198.51.100.9") && !passed.contains("192.0.2.7"), "{passed}");
}

async fn ended_call_accepts_no_signals(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let case = server.case().await;
    let (mut doctor, mut patient, _) = attached(&server, &case).await;
    let (room, call) = (doctor.room, doctor.call);
    let leave = Command::LeaveCall(LeaveCall { call, why: LeaveReason::Hangup });
    must_succeed(&mut patient.client, room, leave).await;
    doctor.signal("servers", json!({}));
    assert_eq!(doctor.next_signal().await.0, "not_in_call");
    must_succeed(&mut doctor.client, room, Command::StartCall(StartCall { media: Media::Audio })).await;
    must_succeed(&mut doctor.client, room, Command::End(Nothing {})).await;
    let view = server.state.hub.read(room, &case.doctor).await.unwrap();
    assert_eq!(view.snapshot.call.expect("the newest").state.as_str(), "ended");
    doctor.client.queue(&ClientFrame::Leave { room });
    doctor.signal("detach", json!({}));
    assert_eq!(doctor.next_signal().await.0, "not_joined");
}

both! {
    offers_answers_and_candidates_arrive_in_order
    session_resumes_after_a_broken_socket
    one_session_owns_a_persons_media_and_another_can_take_over
    outsiders_and_malformed_signals_change_nothing
    relayed_call_passes_no_addresses_through_the_hub
    ended_call_accepts_no_signals
}
