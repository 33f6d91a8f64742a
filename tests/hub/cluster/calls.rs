//! Calls whose members are connected to different nodes: one node owns the signalling, the others forward to it.

use std::time::Duration;

use loadtest::client::Client;
use loadtest::target::Target;
use rooms::wire::close::Close;
use serde_json::{Value, json};
use tokio::time::timeout;
use wardroom::bus::BusState;

use crate::support::call::{CallMember, HOST_CANDIDATE, sdp, start_and_answer};
use crate::support::hub_process::HubProcess;
use crate::support::test_cluster::{TestCluster, wait_until};
use crate::support::test_server::{Case, TestServer};

/// How soon a session learns that the owning node is gone.
const NODE_LOSS_TIMEOUT: Duration = Duration::from_secs(5);

/// Attaches both members and returns their epoch.
async fn attach(doctor: &mut CallMember, patient: &mut CallMember) -> u64 {
    doctor.attach(1, json!([])).await;
    patient.attach(2, json!([])).await;
    let (kind, peer) = patient.next_signal().await;
    assert_eq!(kind, "peer");
    let (_, same) = doctor.next_signal().await;
    assert_eq!(peer["epoch"], same["epoch"]);
    assert_ne!(peer["polite"], same["polite"]);
    peer["epoch"].as_u64().expect("an epoch")
}

/// Starts an attached call over two nodes: the doctor on the first, the patient on the second.
async fn start_attached(nodes: &TestCluster, case: &Case) -> (CallMember, CallMember, u64) {
    let doctor = nodes[0].joined(&case.doctor, case.room).await;
    let patient = nodes[1].joined(&case.patient, case.room).await;
    let (mut doctor, mut patient) = start_and_answer(&nodes[0], case, doctor, patient).await;
    let epoch = attach(&mut doctor, &mut patient).await;
    (doctor, patient, epoch)
}

/// Attaches, again for each `unavailable`, until the member has resumed with its peer.
async fn reattach(member: &mut CallMember, device: u128, peer: &rooms::role::Actor, epoch: u64) {
    let held = json!([{"peer": peer.user(), "epoch": epoch, "got": 0}]);
    member.signal("attach", json!({"device": uuid::Uuid::from_u128(device), "held": held}));
    loop {
        match member.next_signal().await {
            (kind, data) if kind == "peer" => {
                assert_eq!((&data["resumed"], &data["epoch"]), (&json!(true), &json!(epoch)));
                return;
            }
            (kind, _) if kind == "unavailable" => {
                member.signal("attach", json!({"device": uuid::Uuid::from_u128(device), "held": held}));
            }
            (kind, _) => assert!(kind == "attached" || kind == "away", "{kind}"),
        }
    }
}

fn offer(to: &rooms::role::Actor, epoch: u64) -> Value {
    json!({"to": to.user(), "epoch": epoch, "description": {"type": "offer", "sdp": sdp()}})
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_cross_nodes_in_order() {
    let nodes = TestCluster::start(3).await;
    let case = nodes[0].case().await;
    let (mut doctor, mut patient, epoch) = start_attached(&nodes, &case).await;
    doctor.signal("description", offer(&case.patient, epoch));
    patient.signal("description", offer(&case.doctor, epoch));
    for at in 0..50 {
        let candidate = |to: &rooms::role::Actor| json!({"to": to.user(), "epoch": epoch, "candidate": {"candidate": HOST_CANDIDATE, "sdp_m_line_index": at}});
        doctor.signal("candidate", candidate(&case.patient));
        patient.signal("candidate", candidate(&case.doctor));
    }
    doctor.client.flush().await.unwrap();
    patient.client.flush().await.unwrap();
    for member in [&mut doctor, &mut patient] {
        assert_eq!(member.next_signal().await.0, "description");
        for at in 0..50 {
            let (kind, data) = member.next_signal().await;
            assert_eq!((kind.as_str(), &data["candidate"]["sdp_m_line_index"]), ("candidate", &json!(at)));
            assert_eq!(data["n"], json!(at + 2));
        }
    }
    // The patient's socket breaks, and the patient reconnects to the third node.
    patient.client.cut();
    assert_eq!(doctor.next_signal().await.0, "away");
    doctor.signal("description", offer(&case.patient, epoch));
    doctor.client.flush().await.unwrap();
    nodes.move_to(&mut patient.client, 2);
    patient.client.connect().await.unwrap();
    patient.client.until_live().await.unwrap();
    patient.attach(2, json!([{"peer": case.doctor.user(), "epoch": epoch, "got": 51}])).await;
    let (kind, peer) = patient.next_signal().await;
    assert_eq!((kind.as_str(), &peer["resumed"], &peer["epoch"]), ("peer", &json!(true), &json!(epoch)));
    assert_eq!(patient.next_signal().await.0, "description", "the missed signal is sent again");
    assert_eq!(doctor.next_signal().await.1["resumed"], true);

    // Only one session of a person holds camera and microphone, whichever node it uses.
    let client = nodes[1].joined(&case.patient, case.room).await;
    let mut other = CallMember { client, room: case.room, call: patient.call };
    other.signal("attach", json!({"device": uuid::Uuid::from_u128(3)}));
    assert_eq!(other.next_signal().await.0, "media_taken");
    other.signal("attach", json!({"device": uuid::Uuid::from_u128(3), "take": true}));
    assert_eq!(other.next_signal().await.0, "attached");
    assert_eq!(patient.next_signal().await.0, "taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn call_survives_the_death_of_its_owning_node() {
    let nodes = TestCluster::start(2).await;
    let case = nodes[0].case().await;
    let mut process = HubProcess::new("serve", &nodes.database().settings());
    process.set("WARDROOM_DATA_DIR", nodes[0].state.config.data_dir.display());
    process.set("WARDROOM_REDIS_URL", nodes.redis.settings().url());
    let address = process.start();
    let mut doctor = Client::new(Target::new(address).expect("loopback"), nodes[0].token(&case.doctor));
    doctor.connect().await.unwrap();
    doctor.join(case.room).await.unwrap();
    let patient = nodes[1].joined(&case.patient, case.room).await;
    let (mut doctor, mut patient) = start_and_answer(&nodes[0], &case, doctor, patient).await;
    let epoch = attach(&mut doctor, &mut patient).await;

    process.kill();
    let close_code = async {
        loop {
            if let Err(end) = patient.client.next().await {
                return end.close();
            }
        }
    };
    assert_eq!(timeout(NODE_LOSS_TIMEOUT, close_code).await.expect("the outage is detected"), Some(Close::Restart));
    nodes.move_to(&mut doctor.client, 0);
    for member in [&mut doctor, &mut patient] {
        member.client.connect().await.unwrap();
        member.client.until_live().await.unwrap();
    }
    tokio::join!(reattach(&mut patient, 2, &case.doctor, epoch), reattach(&mut doctor, 1, &case.patient, epoch));
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_lost_with_a_redis_connection_are_recovered_by_reattaching() {
    let nodes = TestCluster::start(2).await;
    for kind in ["pubsub", "normal"] {
        let case = nodes[0].case().await;
        let (mut doctor, mut patient, epoch) = start_attached(&nodes, &case).await;
        nodes.redis.kill_connections(kind);
        // The node sends this unprompted, because it cannot know what it missed.
        assert_eq!(patient.next_signal().await.0, "unavailable", "{kind}");
        nodes.wait_until_subscribed(case.room).await;
        reattach(&mut patient, 2, &case.doctor, epoch).await;
        assert_eq!(doctor.next_signal().await.1["resumed"], true);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_attach_answer_is_recovered_by_reattaching() {
    // Started one after the other, so that the second node's connections are the newest.
    let nodes = TestCluster::start(1).await;
    let other = TestServer::start_with(nodes.database().settings(), |config| {
        config.redis = Some(nodes.redis.settings());
        config.data_dir = nodes[0].state.config.data_dir.clone();
    })
    .await;
    wait_until("the node is connected", async || other.state.hub.bus().state() == BusState::Connected).await;
    let case = nodes[0].case().await;
    let (doctor, patient) =
        (nodes[0].joined(&case.doctor, case.room).await, other.joined(&case.patient, case.room).await);
    let (mut doctor, mut patient) = start_and_answer(&nodes[0], &case, doctor, patient).await;
    doctor.attach(1, json!([])).await;
    // The second node can publish, and receives nothing until its subscriber has reconnected.
    nodes.redis.kill_newest_connection("pubsub");
    let attach = json!({"device": uuid::Uuid::from_u128(2), "held": []});
    patient.signal("attach", attach.clone());
    loop {
        match patient.next_signal().await.0.as_str() {
            "peer" => break,
            "unavailable" => patient.signal("attach", attach.clone()),
            kind => assert_eq!(kind, "attached"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn call_signals_during_a_redis_outage_are_retryable_and_the_call_resumes() {
    let mut nodes = TestCluster::start(2).await;
    let case = nodes[0].case().await;
    let (mut doctor, mut patient, epoch) = start_attached(&nodes, &case).await;
    nodes.redis.kill();
    wait_until("the outage is detected", async || {
        nodes.iter().all(|node| node.state.hub.bus().state() == BusState::Degraded)
    })
    .await;
    patient.signal("description", offer(&case.doctor, epoch));
    assert_eq!(patient.next_signal().await.0, "unavailable");
    nodes.redis.restart();
    nodes.wait_until_subscribed(case.room).await;
    // The same node may still own the call, or the session is sent back to attach again.
    reattach(&mut patient, 2, &case.doctor, epoch).await;
    patient.signal("description", offer(&case.doctor, epoch));
    patient.client.flush().await.unwrap();
    loop {
        // One frame for each time that the patient attached.
        match doctor.next_signal().await {
            (kind, data) if kind == "peer" => assert_eq!(data["resumed"], true),
            (kind, _) => break assert_eq!(kind, "description"),
        }
    }
}
