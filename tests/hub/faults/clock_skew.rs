//! Nodes whose clocks are ten minutes ahead and ten minutes behind: tokens, holds, and timers behave as if all clocks
//! were right.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command as Program;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use loadtest::client::Client;
use loadtest::target::Target;
use rooms::id::{RoomId, SlotId};
use rooms::role::Role;
use serde_json::{Value, json};
use uuid::Uuid;
use wardroom::store::slots::{Published, PublishedSlot};

use crate::support::chat_load::ChatLoad;
use crate::support::http;
use crate::support::hub_process::HubProcess;
use crate::support::redis::Redis;
use crate::support::rest::PASSWORD;
use crate::support::test_cluster::{TestCluster, wait_until};

/// How far a node's time may deviate, in microseconds.
const MAX_DEVIATION_US: i64 = 2_000_000;
/// How long a slot is held, in seconds.
const HOLD_S: u32 = 6;

/// Prepares a process whose clock deviates by the seconds in its file.
fn skewed_process(nodes: &TestCluster, library: &Path, seconds: i64) -> HubProcess {
    let mut process = nodes.process();
    let file = process.data().join("skew");
    process.set("LD_PRELOAD", library.display());
    process.set("WARDROOM_TEST_SKEW", file.display());
    process.set("WARDROOM_POLICY_HOLD_S", HOLD_S);
    set_skew(&process, seconds);
    process
}

fn set_skew(process: &HubProcess, seconds: i64) {
    std::fs::write(process.data().join("skew"), seconds.to_string()).unwrap();
}

async fn post(at: SocketAddr, path: &str, token: Option<&str>, body: Value) -> Value {
    let mut call = http().post(format!("http://{at}{path}")).json(&body);
    call = call.header("Idempotency-Key", Uuid::now_v7().to_string());
    if let Some(token) = token {
        call = call.bearer_auth(token);
    }
    let answer = call.send().await.unwrap();
    assert!(answer.status().is_success(), "{path} at {at}: {} {}", answer.status(), answer.text().await.unwrap());
    answer.json().await.unwrap()
}

/// Registers a patient at this node and returns the access token with its claims.
async fn sign_in(at: SocketAddr) -> (String, Value) {
    let email = format!("{}@example.org", Uuid::now_v7());
    let account = json!({"email": email, "password": PASSWORD, "name": "Some One", "role": "patient"});
    post(at, "/v1/auth/register", None, account).await;
    let credentials = json!({"email": email, "password": PASSWORD, "transport": "bearer"});
    let token = post(at, "/v1/auth/sign-in", None, credentials).await["access_token"].as_str().unwrap().to_owned();
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    (token, serde_json::from_slice(&payload).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn skewed_clocks_do_not_affect_tokens_or_holds() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("skew.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hub/support/clock_shim.c");
    let built = Program::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
    assert!(built.expect("a C compiler is installed (tests/run does that)").success());

    let nodes = TestCluster::start_with(Redis::start(), 1, |_, config| config.policy.hold_s = HOLD_S).await;
    let reference = &nodes[0];
    let now = || reference.state.clock.now().micros();
    let mut others = [skewed_process(&nodes, &library, 600), skewed_process(&nodes, &library, -600)];
    let addresses = [reference.address, others[0].start(), others[1].start()];
    let load = ChatLoad::start(reference, &addresses, 2).await;
    let somebody = reference.person(Role::Patient, "Pat", None).await;
    for jump in [false, true] {
        if jump {
            // Swap the clocks while the nodes run: the one ahead falls behind, and vice versa.
            set_skew(&others[0], -600);
            set_skew(&others[1], 600);
        }
        for address in &addresses {
            wait_until("the node follows the cluster's time", async || {
                let mut client = Client::new(Target::new(*address).expect("loopback"), reference.token(&somebody));
                client.connect().await.is_ok_and(|welcome| (welcome.now.micros() - now()).abs() < MAX_DEVIATION_US)
            })
            .await;
        }
        let mut held = Vec::new();
        for from in &addresses {
            // A token is valid on every node until it expires.
            let (token, claims) = sign_in(*from).await;
            let left = claims["exp"].as_i64().unwrap() - now() / 1_000_000;
            assert!((897..=901).contains(&left), "a token of {from} expires in {left} s");
            for to in &addresses {
                let me = http().get(format!("http://{to}/v1/me")).bearer_auth(&token).send().await.unwrap();
                assert_eq!(me.status(), 200, "a token of {from} used at {to}");
            }
            let doctor = reference.person(Role::Doctor, "Doc", None).await.user().unwrap();
            let later = |seconds| reference.state.clock.now().plus(Duration::from_secs(seconds));
            let id = SlotId(Uuid::now_v7());
            let slot = PublishedSlot { id, starts_at: later(86_400), ends_at: later(87_000), room: None };
            assert_eq!(reference.state.store.publish_slots(doctor, &[slot]).await.unwrap(), Published::All);
            let booking = post(*from, "/v1/bookings", Some(&token), json!({"slot": id})).await;
            held.push((RoomId(booking["room"].as_str().unwrap().parse().unwrap()), now()));
        }
        // A hold ends when the policy says, whichever node made it and whichever ends it.
        for (room, made) in held {
            let events = async || reference.state.store.events_after(room, 0, 10).await.unwrap();
            wait_until("the hold expires", async || events().await.len() > 1).await;
            let lasted = (now() - made) / 1_000;
            let all = events().await;
            let at = |seq: usize| serde_json::from_str::<rooms::record::Record>(&all[seq].canonical).unwrap().at;
            assert!((at(0).micros() - made).abs() < MAX_DEVIATION_US, "the hold's time is {}", at(0));
            let recorded = at(1).since(at(0)).as_millis();
            println!("held for {lasted} ms, {recorded} ms by the record");
            assert!(
                (5_800..=9_000).contains(&recorded) && lasted >= 4_000,
                "held for {lasted} ms, {recorded} ms by the record"
            );
        }
    }
    load.finish(&reference.state.store).await;
}
