//! Metrics, as Prometheus reads them.

use std::net::SocketAddr;
use std::time::Duration;

use loadtest::client::Client;
use loadtest::target::Target;
use rooms::command::{Chat, Command};
use rooms::id::RoomId;
use rooms::party::Thread;
use rooms::text::Prose;
use rooms::wire::client::Token;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::database::Database;
use crate::support::hub_process::HubProcess;

async fn metrics_text(address: SocketAddr) -> String {
    reqwest::get(format!("http://{address}/metrics")).await.unwrap().error_for_status().unwrap().text().await.unwrap()
}

/// Returns the value of a metric, or 0 while it does not exist.
fn value(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(it, _)| it == name));
    line.map_or(0.0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

/// Signs in a patient of the demo clinic.
async fn signed_in(hub: &HubProcess, address: SocketAddr) -> (Client, String) {
    let link = hub.demo_link("Pia Lindqvist");
    let token = link.split("#demo=").nth(1).unwrap();
    let call = reqwest::Client::new().post(format!("http://{address}/v1/auth/demo")).json(&json!({"token": token}));
    let answer: Value = call.send().await.unwrap().json().await.unwrap();
    let token = answer["access_token"].as_str().unwrap().to_owned();
    let mut client = Client::new(Target::new(address).unwrap(), Token(token.clone()));
    client.connect().await.unwrap();
    (client, token)
}

/// Walks in to any doctor over REST.
async fn walk_in(address: SocketAddr, token: &str) -> RoomId {
    let http = reqwest::Client::new();
    let doctors: Value =
        http.get(format!("http://{address}/v1/doctors")).bearer_auth(token).send().await.unwrap().json().await.unwrap();
    let call = http.post(format!("http://{address}/v1/bookings")).bearer_auth(token);
    let call =
        call.header("idempotency-key", Uuid::now_v7().to_string()).json(&json!({"doctor": doctors["items"][0]["id"]}));
    let booked: Value = call.send().await.unwrap().json().await.unwrap();
    booked["room"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn timed_promises_have_histograms_and_the_relay_has_counters() {
    let database = Database::sqlite();
    let mut hub = HubProcess::new("demo", &database.settings());
    let address = hub.start();
    let (mut client, token) = signed_in(&hub, address).await;
    let room = walk_in(address, &token).await;
    client.join(room).await.unwrap();
    let before = metrics_text(address).await;
    for _ in 0..3 {
        let chat = Chat { text: Prose::parse("hello").unwrap(), thread: Thread::Care };
        client.command(room, Command::Chat(chat)).await.unwrap();
    }
    let after = metrics_text(address).await;
    let grew = |name: &str| value(&after, name) - value(&before, name);
    assert_eq!(grew("wardroom_ack_seconds_count"), 3.0, "{after}");
    assert!(grew("wardroom_commit_seconds_count") >= 1.0 && grew("wardroom_commit_appends_sum") == 3.0, "{after}");
    assert_eq!(grew("wardroom_fan_out_seconds_count"), 3.0, "{after}");
    assert!(value(&after, "wardroom_resume_seconds_count") >= 1.0, "{after}");
    assert_eq!((value(&after, "wardroom_connections"), value(&after, "wardroom_rooms")), (1.0, 1.0), "{after}");
    // A credential that the hub never issued.
    let relay = hub.config().turn.embedded.is_some();
    assert!(relay && after.contains(r#"wardroom_turn_total{what="forged"} 0"#), "{after}");
    assert!(!after.contains(&room.to_string()), "no label holds a room");
}

#[tokio::test(flavor = "multi_thread")]
async fn outbound_deliveries_have_metrics_per_sink() {
    let database = Database::sqlite();
    let mut hub = HubProcess::new("demo", &database.settings());
    hub.set("WARDROOM_POLICY_PRICE", 2500);
    let address = hub.start();
    let (_client, token) = signed_in(&hub, address).await;
    walk_in(address, &token).await;
    // The provider is asked to reserve the price; the reservation is recorded a moment later.
    let reserved = r#"wardroom_dispatches{sink="payment",state="done"} 1"#;
    let mut seen = metrics_text(address).await;
    for _ in 0..100 {
        if seen.contains(reserved) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        seen = metrics_text(address).await;
    }
    assert!(seen.contains(reserved), "{seen}");
    assert_eq!(value(&seen, r#"wardroom_dispatch_attempts_total{sink="payment",outcome="done"}"#), 1.0, "{seen}");
    assert_eq!(value(&seen, r#"wardroom_dispatch_seconds_count{sink="payment"}"#), 1.0, "{seen}");
    for nothing in [
        r#"wardroom_dispatches{sink="webhook",state="dead"} 0"#,
        r#"wardroom_breakers_open{sink="payment"} 0"#,
        r#"wardroom_dispatch_lag_seconds{sink="payment"} 0"#,
    ] {
        assert!(seen.contains(nothing), "{nothing}: {seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_require_their_token() {
    let database = Database::sqlite();
    let mut hub = HubProcess::new("serve", &database.settings());
    hub.set("WARDROOM_METRICS_TOKEN", "a token for the tests");
    let address = hub.start();
    let http = reqwest::Client::new();
    let get = || http.get(format!("http://{address}/metrics"));
    assert_eq!(get().send().await.unwrap().status(), 401);
    assert_eq!(get().bearer_auth("another token").send().await.unwrap().status(), 401);
    assert_eq!(get().bearer_auth("a token for the tests").send().await.unwrap().status(), 200);
}
