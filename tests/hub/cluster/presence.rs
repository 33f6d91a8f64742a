//! Presence, revocation, feeds, and sign-in limits over several nodes.

use std::time::Duration;

use loadtest::client::Client;
use loadtest::target::Target;
use rooms::id::RoomId;
use rooms::role::{Actor, Role};
use rooms::state::ConsultationState;
use rooms::wire::client::Token;
use rooms::wire::close::Close;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use uuid::Uuid;
use wardroom::bus::BusState;

use crate::support::chat::wait_for_frame;
use crate::support::database::Database;
use crate::support::redis::Redis;
use crate::support::rest::RestClient;
use crate::support::stall_detector::running_time_since;
use crate::support::test_cluster::{TestCluster, wait_until};
use crate::support::test_server::TestServer;

/// The grace period of presence, and a little more.
const GRACE_PERIOD: Duration = Duration::from_secs(12);

fn presence(user: &Actor, here: bool) -> impl Fn(&Value) -> bool {
    let user = json!(user.user());
    move |frame| frame["type"] == "presence" && frame["presence"]["user"] == user && frame["presence"]["here"] == here
}

async fn state(node: &TestServer, room: RoomId, actor: &Actor) -> ConsultationState {
    node.state.hub.read(room, actor).await.unwrap().snapshot.consultation.unwrap().state
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_survives_a_change_of_node_and_ends_on_all_nodes() {
    let nodes = TestCluster::start(3).await;
    let case = nodes[0].case().await;
    let room = case.room;
    let mut doctor = nodes[1].joined(&case.doctor, room).await;
    nodes.wait_until_subscribed_except(room, 1).await;
    let mut patient = nodes[0].joined(&case.patient, room).await;
    let there = nodes[1].state.hub.read(room, &case.doctor).await.unwrap().snapshot.presence;
    assert_eq!(there.len(), 2, "{there:?}");

    // Signals and read receipts cross nodes, too.
    patient.queue_text(json!({"type": "signal", "room": room, "signal": {"kind": "typing", "data": {}}}).to_string());
    patient.queue_text(json!({"type": "mark", "room": room, "delivered": 3, "seen": 2}).to_string());
    patient.flush().await.unwrap();
    wait_for_frame(&mut doctor, |frame| frame["type"] == "signal").await;
    let mark = wait_for_frame(&mut doctor, |frame| frame["type"] == "mark").await;
    assert_eq!((&mark["mark"]["delivered"], &mark["mark"]["seen"]), (&json!(3), &json!(2)), "{mark}");

    nodes.move_to(&mut patient, 2);
    patient.cut();
    patient.connect().await.unwrap();
    patient.until_live().await.unwrap();
    // The same holds for one of two devices on two nodes.
    nodes[0].joined(&case.patient, room).await.close().await;
    let quiet = async { wait_for_frame(&mut doctor, presence(&case.patient, false)).await };
    assert!(timeout(GRACE_PERIOD, quiet).await.is_err(), "the patient never counts as absent");
    for node in nodes.iter() {
        assert_eq!(state(node, room, &case.doctor).await, ConsultationState::InProgress);
    }

    patient.close().await;
    wait_for_frame(&mut doctor, presence(&case.patient, false)).await;
    wait_until("the consultation is interrupted", async || {
        state(&nodes[1], room, &case.doctor).await == ConsultationState::Interrupted
    })
    .await;
    nodes.move_to(&mut patient, 0);
    patient.connect().await.unwrap();
    wait_for_frame(&mut doctor, presence(&case.patient, true)).await;
    wait_until("the consultation resumes", async || {
        state(&nodes[1], room, &case.doctor).await == ConsultationState::InProgress
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnect_to_another_node_closes_the_dead_connection() {
    let nodes = TestCluster::start(2).await;
    let patient = nodes[0].person(Role::Patient, "Pat", None).await;
    let mut client = nodes[0].client(&patient);
    client.connect().await.unwrap();
    let _stalled = client.half_open();
    nodes.move_to(&mut client, 1);
    client.connect().await.unwrap();
    wait_until("the dead connection is closed", async || nodes[0].state.hub.connections().is_empty()).await;
    assert_eq!(nodes[1].state.hub.connections().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn feed_updates_live_whichever_node_made_the_change() {
    let mut nodes = TestCluster::start(2).await;
    let doctor = nodes[0].person(Role::Doctor, "Doc", None).await;
    let patient = nodes[0].person(Role::Patient, "Pat", None).await;
    let mut client = nodes[1].client(&doctor);
    client.connect().await.unwrap();
    let feed = json!({"name": "lobby", "doctor": doctor.user()});
    client.queue_text(json!({"type": "subscribe", "feed": feed}).to_string());
    wait_for_frame(&mut client, |frame| frame["type"] == "feed").await;
    for (round, within) in
        [(0, Duration::from_millis(700)), (1, Duration::from_secs(4)), (2, Duration::from_millis(700))]
    {
        if round == 1 {
            nodes.redis.kill();
        } else if round == 2 {
            nodes.redis.restart();
            nodes.wait_until_connected().await;
        }
        let start = Instant::now();
        let room = nodes[0].waiting_room(&patient, &doctor).await;
        let shown = |frame: &Value| frame["type"] == "feed_change" && frame.to_string().contains(&room.to_string());
        wait_for_frame(&mut client, shown).await;
        assert!(running_time_since(start) < within, "round {round}: {:?}", start.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_on_one_node_closes_sockets_on_another() {
    let (mut redis, database) = (Redis::start(), Database::postgres());
    let settings = redis.settings();
    let rest = RestClient::start_with(database.settings(), |config| config.redis = Some(settings.clone())).await;
    let folder = rest.server.state.config.data_dir.clone();
    let other = TestServer::start_with(database.settings(), |config| {
        config.redis = Some(settings.clone());
        config.data_dir = folder;
    })
    .await;
    let admin = rest.token(Role::Admin).await;
    let connected = async || other.state.hub.bus().state() == BusState::Connected;
    wait_until("connected", connected).await;
    for (cause, within) in [
        ("sign-out", Duration::from_secs(2)),
        ("changed", Duration::from_secs(2)),
        ("sign-out without bus", Duration::from_secs(5)),
        ("changed without bus", Duration::from_secs(5)),
    ] {
        if cause == "sign-out without bus" {
            redis.kill();
        }
        let email = format!("{}@example.org", cause.replace(' ', "-"));
        rest.register(&email, "patient").await;
        let tokens = rest.sign_in(&email).await.ok();
        let token = tokens["access_token"].as_str().unwrap().to_owned();
        let mut client = Client::new(Target::new(other.address).expect("loopback"), Token(token.clone()));
        client.connect().await.expect("the nodes share their keys");
        let expected = if cause.starts_with("sign-out") {
            rest.call("post", "/v1/auth/sign-out").bearer(&token).send().await;
            Close::Revoked
        } else {
            let path = format!("/v1/users/{}", tokens["user"]["id"].as_str().unwrap());
            let key = Uuid::now_v7().to_string();
            rest.call("patch", &path).bearer(&admin).key(&key).json(json!({"role": "courier"})).send().await.ok();
            Close::TokenExpired
        };
        let end = async {
            loop {
                if let Err(error) = client.next().await {
                    return error.close();
                }
            }
        };
        assert_eq!(timeout(within, end).await.expect("the socket closes in time"), Some(expected), "{cause}");
        assert_eq!(client.connect().await.expect_err("the token is invalid everywhere").close(), Some(expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_in_limit_counts_attempts_over_all_nodes() {
    let (redis, database) = (Redis::start(), Database::postgres());
    let settings = redis.settings();
    let start = async |folder: Option<std::path::PathBuf>| {
        RestClient::start_with(database.settings(), |config| {
            config.redis = Some(settings.clone());
            config.limits.sign_ins_per_minute = 4;
            config.data_dir = folder.unwrap_or_else(|| config.data_dir.clone());
        })
        .await
    };
    let one = start(None).await;
    let other = start(Some(one.server.state.config.data_dir.clone())).await;
    for rest in [&one, &other] {
        wait_until("connected", async || rest.server.state.hub.bus().state() == BusState::Connected).await;
    }
    let guess = async |rest: &RestClient| {
        let body = json!({"email": "a@example.org", "password": "a wrong sentence", "transport": "bearer"});
        rest.call("post", "/v1/auth/sign-in").json(body).send().await.status.as_u16()
    };
    for rest in [&one, &other, &one, &other] {
        assert_eq!(guess(rest).await, 401);
    }
    assert_eq!((guess(&one).await, guess(&other).await), (429, 429));
}
