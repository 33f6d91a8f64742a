//! Sign-outs and changes by REST reach open sockets within a second.

use std::time::Duration;

use loadtest::client::Client;
use loadtest::target::Target;
use rooms::role::Role;
use rooms::wire::client::Token;
use rooms::wire::close::Close;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use uuid::Uuid;
use wardroom::config::DatabaseSettings;

use crate::support::both;
use crate::support::rest::RestClient;
use crate::support::stall_detector::running_time_since;

/// Longer than the hub takes to close a socket.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);

/// Registers a patient who signs in twice; returns both sign-ins and an open socket of the first.
async fn signed_in_twice(rest: &RestClient, email: &str) -> (Value, Value, Client) {
    rest.register(email, "patient").await;
    let (one, other) = (rest.sign_in(email).await.ok(), rest.sign_in(email).await.ok());
    let token = Token(one["access_token"].as_str().unwrap().to_owned());
    let mut client = Client::new(Target::new(rest.server.address).expect("loopback"), token);
    client.connect().await.expect("the hub welcomes the client");
    (one, other, client)
}

async fn await_close(client: &mut Client) -> Option<Close> {
    let end = async {
        loop {
            if let Err(error) = client.next().await {
                return error.close();
            }
        }
    };
    let begin = Instant::now();
    let close = timeout(CLOSE_TIMEOUT, end).await.expect("the hub closes the socket");
    assert!(running_time_since(begin) < Duration::from_secs(1), "{:?}", begin.elapsed());
    close
}

async fn revocation_closes_the_sockets_of_a_sign_in(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let admin = rest.token(Role::Admin).await;
    for cause in ["sign-out", "everywhere", "from another device", "copied token", "changed", "disabled"] {
        let (one, other, mut client) =
            signed_in_twice(&rest, &format!("{}@example.org", cause.replace(' ', "-"))).await;
        let text = |value: &Value, name: &str| value[name].as_str().unwrap().to_owned();
        let (token, device) = (text(&one, "access_token"), text(&other, "access_token"));
        let change = |body: Value| {
            let path = format!("/v1/users/{}", one["user"]["id"].as_str().unwrap());
            rest.call("patch", &path).bearer(&admin).key(&Uuid::now_v7().to_string()).json(body).send()
        };
        let expected = match cause {
            "sign-out" => {
                rest.call("post", "/v1/auth/sign-out").bearer(&token).send().await;
                Close::Revoked
            }
            "everywhere" => {
                rest.call("post", "/v1/auth/sign-out-everywhere").bearer(&device).send().await;
                Close::Revoked
            }
            "from another device" => {
                let sessions = rest.get("/v1/auth/sessions").bearer(&device).send().await.ok();
                let id = sessions["items"][1]["id"].as_str().unwrap();
                rest.call("delete", &format!("/v1/auth/sessions/{id}")).bearer(&device).send().await;
                Close::Revoked
            }
            "copied token" => {
                let first = text(&one, "refresh_token");
                let second = text(&rest.refresh(&first).await.ok(), "refresh_token");
                rest.refresh(&second).await.ok();
                rest.refresh(&first).await.assert_problem(401, "unauthenticated");
                Close::Revoked
            }
            "changed" => {
                change(json!({"role": "courier"})).await.ok();
                Close::TokenExpired
            }
            _ => {
                change(json!({"status": "disabled"})).await.ok();
                Close::Revoked
            }
        };
        assert_eq!(await_close(&mut client).await, Some(expected), "{cause}");
        let again = client.connect().await.expect_err("the token is invalid for new connections");
        assert_eq!(again.close(), Some(expected), "{cause}");
    }
}

async fn revocation_does_not_affect_other_people(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let (_, _, mut client) = signed_in_twice(&rest, "stays@example.org").await;
    let (_, other, mut ended) = signed_in_twice(&rest, "goes@example.org").await;
    let token = other["access_token"].as_str().unwrap();
    rest.call("post", "/v1/auth/sign-out-everywhere").bearer(token).send().await;
    await_close(&mut ended).await;
    assert!(client.is_connected());
    let absent = rooms::id::RoomId(Uuid::now_v7());
    let hi = serde_json::from_value(json!({"kind": "chat.send", "data": {"text": "hi"}})).unwrap();
    client.command(absent, hi).await.expect("the hub still answers on this socket");
}

both! {
    revocation_closes_the_sockets_of_a_sign_in
    revocation_does_not_affect_other_people
}
