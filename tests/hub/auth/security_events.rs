//! The log of security events: who, from where, with which outcome; and no names or addresses of people.

use serde_json::{Value, json};
use wardroom::telemetry::security::SecurityEvent;

use crate::support::database::Database;
use crate::support::hub_process::HubProcess;

#[test]
fn every_security_event_is_documented() {
    let page = include_str!("../../../docs/operations.md");
    for event in SecurityEvent::ALL {
        assert!(page.contains(&format!("`{}`", event.as_str())), "docs/operations.md lacks {}", event.as_str());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_requests_leave_a_line_each() {
    let database = Database::sqlite();
    let mut hub = HubProcess::new("serve", &database.settings());
    let log = hub.data().join("hub.log");
    hub.log_to(log.clone());
    hub.set("WARDROOM_LOG_FORMAT", "json");
    hub.set("WARDROOM_LOG_FILTER", "info");
    let base = format!("http://{}", hub.start());
    let client = crate::support::http();
    let post = async |path: &str, token: Option<&str>, body: Value| {
        let mut call = client.post(format!("{base}{path}")).header("idempotency-key", "some-key").json(&body);
        if let Some(token) = token {
            call = call.bearer_auth(token);
        }
        let response = call.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap_or_default())
    };
    let account = json!({"email": "pat@example.org", "password": "an unusual sentence", "name": "Pat"});
    let (_, registered) = post("/v1/auth/register", None, account).await;
    let user = registered["user"]["id"].as_str().unwrap().to_owned();
    let sign_in = |password: &str| json!({"email": "pat@example.org", "password": password, "transport": "bearer"});
    let (_, signed_in) = post("/v1/auth/sign-in", None, sign_in("an unusual sentence")).await;
    let token = signed_in["access_token"].as_str().unwrap().to_owned();
    for _ in 0..10 {
        post("/v1/auth/sign-in", None, sign_in("a wrong guess")).await;
    }
    assert_eq!(post("/v1/bookings", Some("no token"), json!({})).await.0, 401);
    assert_eq!(post("/v1/pharmacies", Some(&token), json!({"name": "P", "address": "A"})).await.0, 403);

    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of = |event: &str| -> Vec<&Value> { lines.iter().filter(|line| line["event"] == event).collect() };
    let failed = of("sign_in.failed");
    assert_eq!(failed.len(), 9, "{text}");
    for (line, outcome) in
        [(failed[0], "rejected"), (of("sign_in.succeeded")[0], "allowed"), (of("access.denied")[0], "rejected")]
    {
        assert_eq!(
            (&line["user"], &line["address"], &line["outcome"]),
            (&json!(user), &json!("127.0.0.1"), &json!(outcome))
        );
        assert_eq!(line["target"], "wardroom::security");
    }
    assert_eq!(of("sign_in.limited").len(), 1, "{text}");
    assert_eq!(of("token.rejected")[0]["about"], "book", "{text}");
    assert!(!text.contains("pat@example.org") && !text.contains("wrong guess"), "{text}");
}
