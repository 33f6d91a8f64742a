//! Secrecy of the log at its most verbose: it never holds a password, a token, or anything a patient wrote.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn log_holds_no_secrets_and_no_patient_data() {
    let data = tempfile::tempdir().unwrap();
    let mut hub = Command::new(env!("CARGO_BIN_EXE_wardroom"))
        .arg("serve")
        .env_clear()
        .env("WARDROOM_LISTEN", "127.0.0.1:0")
        .env("WARDROOM_DATA_DIR", data.path())
        .env("WARDROOM_LOG_FILTER", "trace")
        .env("WARDROOM_LOG_FORMAT", "json")
        .current_dir(data.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut errors = hub.stderr.take().unwrap();
    let log = tokio::spawn(async move {
        let mut text = String::new();
        errors.read_to_string(&mut text).await.map(|_| text)
    });
    let mut lines = BufReader::new(hub.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await.unwrap().unwrap().unwrap();
    let base =
        line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().trim_end_matches('/').to_owned();
    let client = crate::support::http();
    let post = async |path: &str, token: Option<&str>, body: Value| -> Value {
        let mut call = client.post(format!("{base}{path}")).header("idempotency-key", "canary-key").json(&body);
        if let Some(token) = token {
            call = call.bearer_auth(token);
        }
        call.send().await.unwrap().json().await.unwrap_or_default()
    };
    let person = json!({"email": "canary-address@example.org", "password": "canary-password", "name": "Canary-Name"});
    post("/v1/auth/register", None, person).await;
    let sign_in = json!({"email": "canary-address@example.org", "password": "canary-password"});
    let signed_in = post("/v1/auth/sign-in", None, sign_in.clone()).await;
    let wrong = json!({"email": "canary-address@example.org", "password": "canary-guess"});
    post("/v1/auth/sign-in", None, wrong).await;
    let (access, refresh) = (signed_in["access_token"].as_str().unwrap(), signed_in["refresh_token"].as_str().unwrap());
    let refreshed = post("/v1/auth/refresh", None, json!({"refresh_token": refresh})).await;
    post("/v1/auth/refresh", None, json!({"refresh_token": "canary-token"})).await;
    let reason = json!({"doctor": uuid::Uuid::now_v7(), "reason": "canary-reason"});
    post("/v1/bookings", Some(access), reason).await;
    post("/v1/bookings", Some("canary-bearer"), json!({"canary-field": "canary-value"})).await;
    let pid = hub.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(hub.wait().await.unwrap().success());
    let log = log.await.unwrap().unwrap();
    assert!(log.contains("sign_in.succeeded") && log.contains("sign_in.failed"), "the log was read: {log}");
    let secrets = [access, refresh, refreshed["access_token"].as_str().unwrap(), "$argon2id", "PRIVATE KEY"];
    // Parts of tokens are secret, too: the last part is the signature.
    let parts = secrets.iter().filter_map(|secret| secret.rsplit('.').next());
    for secret in secrets.into_iter().chain(parts).chain(["canary-", "Canary-"]) {
        let place = log.lines().find(|line| line.contains(secret));
        assert!(place.is_none(), "{secret} is in the log: {}", place.unwrap_or_default());
    }
}
