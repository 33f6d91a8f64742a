//! Registration, sign-in, refresh, sign-out, and tokens.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rooms::id::PharmacyId;
use rooms::role::Role;
use rooms::text::Text;
use serde_json::{Value, json};
use uuid::Uuid;
use wardroom::config::DatabaseSettings;

use crate::support::both;
use crate::support::rest::{PASSWORD, RestClient, RestResponse};

fn access(answer: &RestResponse) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json["access_token"].as_str().unwrap().to_owned()
}

fn refresh_token(answer: &RestResponse) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json["refresh_token"].as_str().unwrap().to_owned()
}

async fn me(rest: &RestClient, token: &str) -> RestResponse {
    rest.get("/v1/me").bearer(token).send().await
}

async fn patient_registers_and_signs_in(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let user = rest.register("Pat@Example.org", "patient").await;
    assert_eq!((&user["status"], &user["email"]), (&json!("active"), &json!("pat@example.org")));
    let signed_in = rest.sign_in(" PAT@example.ORG ").await;
    let known = me(&rest, &access(&signed_in)).await.ok();
    assert_eq!(known["id"], user["id"]);
    assert_eq!(signed_in.json["user"], known);
    let again = json!({"email": "pat@EXAMPLE.org", "password": PASSWORD, "name": "Other"});
    rest.call("post", "/v1/auth/register").json(again).send().await.assert_problem(409, "email_taken");
    for (body, field) in [
        (json!({"email": "nonsense", "password": PASSWORD, "name": "A"}), "email"),
        (json!({"email": "a@example.org", "password": "short", "name": "A"}), "password"),
        (json!({"email": "a@example.org", "password": "password123", "name": "A"}), "password"),
    ] {
        let answer = rest.call("post", "/v1/auth/register").json(body).send().await;
        answer.assert_problem(422, "invalid");
        assert_eq!(answer.json["field"], field);
    }
    for role in ["admin", "courier", "system", "support"] {
        let body = json!({"email": "b@example.org", "password": PASSWORD, "name": "A", "role": role});
        rest.call("post", "/v1/auth/register").json(body).send().await.assert_problem(400, "malformed");
    }
}

async fn sign_in_does_not_reveal_which_addresses_have_accounts(database: DatabaseSettings) {
    let rest = RestClient::start_with(database, |config| config.limits.sign_ins_per_minute = 1000).await;
    rest.register("known@example.org", "patient").await;
    let attempt = |email: &'static str| {
        let body = json!({"email": email, "password": "not the password"});
        rest.call("post", "/v1/auth/sign-in").json(body).send()
    };
    let (known, unknown) = (attempt("known@example.org").await, attempt("unknown@example.org").await);
    known.assert_problem(401, "bad_credentials");
    assert_eq!(known.text, unknown.text);
    // Compare the fastest attempt of each: noise only ever slows one down, so the two converge as attempts add up.
    // Without the same work for an unknown address they would stay more than tenfold apart.
    let mut fastest = [f64::INFINITY; 2];
    for round in 0..150 {
        // Alternate in pairs, so that neither is always the one that waits for a core.
        for at in [round % 4 / 2, 1 - round % 4 / 2] {
            let start = Instant::now();
            attempt(["known@example.org", "unknown@example.org"][at]).await;
            fastest[at] = fastest[at].min(start.elapsed().as_secs_f64());
        }
        if round >= 14 && (fastest[0] / fastest[1] - 1.0).abs() < 0.5 {
            return;
        }
    }
    panic!("known {} s, unknown {} s", fastest[0], fastest[1]);
}

async fn password_guessing_is_rate_limited(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    rest.register("target@example.org", "patient").await;
    let attempt = || {
        let body = json!({"email": "target@example.org", "password": "a wrong guess"});
        rest.call("post", "/v1/auth/sign-in").json(body).send()
    };
    for _ in 0..10 {
        attempt().await.assert_problem(401, "bad_credentials");
    }
    let limited = attempt().await;
    limited.assert_problem(429, "rate_limited");
    assert!(limited.json["retry_after_ms"].as_u64().unwrap() > 0);
    assert!(limited.header("retry-after").parse::<u64>().unwrap() > 0);
}

async fn staff_need_approval_and_lose_access_at_once(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let admin = rest.token(Role::Admin).await;
    let user = rest.register("doc@example.org", "doctor").await;
    assert_eq!(user["status"], "pending");
    rest.sign_in("doc@example.org").await.assert_problem(403, "account_inactive");
    let path = format!("/v1/users/{}", user["id"].as_str().unwrap());
    let change = |body: Value, version: Option<&str>| {
        let call = rest.call("patch", &path).bearer(&admin).key(&Uuid::now_v7().to_string()).json(body);
        match version {
            Some(version) => call.header("if-match", version).send(),
            None => call.send(),
        }
    };
    let approved = change(json!({"status": "active"}), None).await;
    assert_eq!(approved.json["status"], "active", "{}", approved.text);
    let old = approved.header("etag").to_owned();
    let signed_in = rest.sign_in("doc@example.org").await;
    let (token, refresh) = (access(&signed_in), refresh_token(&signed_in));
    me(&rest, &token).await.ok();

    // After a role change the old token is rejected, and a refresh returns one with the new role.
    let moved = change(json!({"role": "support"}), Some(&old)).await;
    assert_eq!(moved.json["role"], "support", "{}", moved.text);
    me(&rest, &token).await.assert_problem(401, "unauthenticated");
    change(json!({"role": "doctor"}), Some(&old)).await.assert_problem(412, "precondition_failed");
    let refreshed = rest.refresh(&refresh).await;
    let (token, refresh) = (access(&refreshed), refresh_token(&refreshed));
    assert_eq!(me(&rest, &token).await.ok()["role"], "support");

    // Nothing works for a disabled account.
    change(json!({"status": "disabled"}), None).await.ok();
    me(&rest, &token).await.assert_problem(401, "unauthenticated");
    rest.refresh(&refresh).await.assert_problem(401, "unauthenticated");
    rest.sign_in("doc@example.org").await.assert_problem(403, "account_inactive");
    let wrong = json!({"email": "doc@example.org", "password": "not the password"});
    rest.call("post", "/v1/auth/sign-in").json(wrong).send().await.assert_problem(401, "bad_credentials");
}

async fn active_pharmacist_needs_a_pharmacy_and_admins_cannot_change_their_own_rights(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let (admin, token) = rest.person_with_token(Role::Admin, None).await;
    let user = rest.register("phil@example.org", "pharmacist").await;
    let pharmacy = PharmacyId(Uuid::now_v7());
    let (name, address) = (Text::stored("Pharmacy").unwrap(), Text::stored("1 Street").unwrap());
    rest.server.state.store.insert_pharmacy(pharmacy, &name, &address).await.unwrap();
    let change = |id: String, body: Value| {
        let path = format!("/v1/users/{id}");
        rest.call("patch", &path).bearer(&token).key(&Uuid::now_v7().to_string()).json(body).send()
    };
    let id = user["id"].as_str().unwrap().to_owned();
    change(id.clone(), json!({"status": "active"})).await.assert_problem(422, "invalid");
    change(id.clone(), json!({"status": "active", "pharmacy": Uuid::now_v7()})).await.assert_problem(422, "invalid");
    let good = change(id, json!({"status": "active", "pharmacy": pharmacy})).await.ok();
    assert_eq!(good["pharmacy"], json!(pharmacy));
    let own = admin.user().unwrap().to_string();
    change(own.clone(), json!({"role": "patient"})).await.assert_problem(403, "forbidden");
    change(own, json!({"status": "disabled"})).await.assert_problem(403, "forbidden");
    change(Uuid::now_v7().to_string(), json!({"status": "active"})).await.assert_problem(404, "not_found");
}

async fn reuse_of_a_refresh_token_revokes_the_sign_in(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    rest.register("pat@example.org", "patient").await;
    let first = refresh_token(&rest.sign_in("pat@example.org").await);
    let answer = rest.refresh(&first).await;
    let (second, token) = (refresh_token(&answer), access(&answer));
    // The response was lost and the client repeats its request: for a while it gets the same successor.
    assert_eq!(refresh_token(&rest.refresh(&first).await), second);
    rest.server.state.clock.advance(Duration::from_secs(9));
    assert_eq!(refresh_token(&rest.refresh(&first).await), second);
    let third = refresh_token(&rest.refresh(&second).await);
    assert_ne!(third, second);
    me(&rest, &token).await.ok();
    // A token older than the immediate predecessor is a copy, so the holder of the newest is signed out, too.
    rest.refresh(&first).await.assert_problem(401, "unauthenticated");
    rest.refresh(&third).await.assert_problem(401, "unauthenticated");
    me(&rest, &token).await.assert_problem(401, "unauthenticated");

    let first = refresh_token(&rest.sign_in("pat@example.org").await);
    let second = refresh_token(&rest.refresh(&first).await);
    rest.server.state.clock.advance(Duration::from_secs(11));
    rest.refresh(&first).await.assert_problem(401, "unauthenticated");
    rest.refresh(&second).await.assert_problem(401, "unauthenticated");
    let access_token = access(&rest.sign_in("pat@example.org").await);
    for forged in ["", "nonsense", &first.replace('.', ".0"), &access_token] {
        rest.refresh(forged).await.assert_problem(401, "unauthenticated");
    }
    me(&rest, &first).await.assert_problem(401, "unauthenticated");
}

async fn concurrent_refreshes_get_the_same_successor(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    rest.register("pat@example.org", "patient").await;
    let mut token = refresh_token(&rest.sign_in("pat@example.org").await);
    for _ in 0..5 {
        let answers = futures_util::future::join_all((0..10).map(|_| rest.refresh(&token))).await;
        let mut successors: Vec<String> = answers.iter().map(refresh_token).collect();
        successors.dedup();
        assert_eq!(successors.len(), 1, "two tabs that refresh at once both stay signed in");
        token = successors.remove(0);
    }
}

async fn sign_in_expires_however_often_it_is_refreshed(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    rest.register("pat@example.org", "patient").await;
    let signed_in = rest.sign_in("pat@example.org").await;
    let (token, mut refresh) = (access(&signed_in), refresh_token(&signed_in));
    rest.server.state.clock.advance(Duration::from_secs(901));
    me(&rest, &token).await.assert_problem(401, "unauthenticated");
    for _ in 0..30 {
        rest.server.state.clock.advance(Duration::from_secs(86_400 - 60));
        refresh = refresh_token(&rest.refresh(&refresh).await);
    }
    rest.server.state.clock.advance(Duration::from_secs(3600));
    rest.refresh(&refresh).await.assert_problem(401, "unauthenticated");
}

async fn sign_out_ends_one_sign_in_or_all(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    rest.register("pat@example.org", "patient").await;
    let mut tokens = Vec::new();
    for _ in 0..4 {
        let answer = rest.sign_in("pat@example.org").await;
        tokens.push((access(&answer), refresh_token(&answer)));
    }
    let list = || async { rest.get("/v1/auth/sessions").bearer(&tokens[3].0).send().await.ok()["items"].clone() };
    let sessions = list().await;
    assert_eq!(sessions.as_array().unwrap().len(), 4);
    let current: Vec<bool> = sessions.as_array().unwrap().iter().map(|it| it["current"].as_bool().unwrap()).collect();
    assert_eq!(current, [true, false, false, false]);

    let other = sessions[1]["id"].as_str().unwrap();
    let end = rest.call("delete", &format!("/v1/auth/sessions/{other}")).bearer(&tokens[3].0).send().await;
    assert_eq!(end.status, 204);
    me(&rest, &tokens[2].0).await.assert_problem(401, "unauthenticated");
    rest.refresh(&tokens[2].1).await.assert_problem(401, "unauthenticated");
    let stranger = rest.token(Role::Patient).await;
    let foreign = format!("/v1/auth/sessions/{}", sessions[0]["id"].as_str().unwrap());
    rest.call("delete", &foreign).bearer(&stranger).send().await.assert_problem(404, "not_found");

    let out = rest.call("post", "/v1/auth/sign-out").json(json!({"refresh_token": tokens[1].1})).send().await;
    assert_eq!(out.status, 204);
    me(&rest, &tokens[1].0).await.assert_problem(401, "unauthenticated");
    assert_eq!(rest.call("post", "/v1/auth/sign-out").bearer(&tokens[0].0).send().await.status, 204);
    me(&rest, &tokens[0].0).await.assert_problem(401, "unauthenticated");
    assert_eq!(list().await.as_array().unwrap().len(), 1);

    let more = rest.sign_in("pat@example.org").await;
    let out = rest.call("post", "/v1/auth/sign-out-everywhere").bearer(&tokens[3].0).send().await;
    assert_eq!(out.status, 204);
    for token in [&tokens[3].0, &access(&more)] {
        me(&rest, token).await.assert_problem(401, "unauthenticated");
    }
    rest.refresh(&refresh_token(&more)).await.assert_problem(401, "unauthenticated");
}

async fn revoked_sign_ins_stay_revoked_after_a_restart(database: DatabaseSettings) {
    let data = tempfile::tempdir().unwrap();
    let (mut ended, mut remaining) = (String::new(), String::new());
    for restart in [false, true] {
        let folder = data.path().to_owned();
        let rest = RestClient::start_with(database.clone(), |config| config.data_dir = folder).await;
        if restart {
            me(&rest, &ended).await.assert_problem(401, "unauthenticated");
            me(&rest, &remaining).await.ok();
        } else {
            rest.register("pat@example.org", "patient").await;
            ended = access(&rest.sign_in("pat@example.org").await);
            remaining = access(&rest.sign_in("pat@example.org").await);
            rest.call("post", "/v1/auth/sign-out").bearer(&ended).send().await;
        }
    }
}

async fn forged_tokens_are_rejected(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    rest.register("pat@example.org", "patient").await;
    let good = access(&rest.sign_in("pat@example.org").await);
    me(&rest, &good).await.ok();
    let parts: Vec<&str> = good.split('.').collect();
    let decode = |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let (head, body) = (decode(parts[0]), decode(parts[1]));
    let with = |value: &Value, name: &str, new: Value| {
        let mut value = value.clone();
        value[name] = new;
        encode(&value)
    };
    let none = with(&head, "alg", json!("none"));
    let hs256 = with(&head, "alg", json!("HS256"));
    for forged in [
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{hs256}.{}.{}", parts[1], parts[2]),
        format!("{}.{}.{}", parts[0], with(&body, "role", json!("admin")), parts[2]),
        format!("{}.{}.{}", parts[0], with(&body, "exp", json!(9_999_999_999_u64)), parts[2]),
        format!("{}.{}.{}", parts[0], parts[1], "A".repeat(86)),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{good}x"),
        "a".repeat(10_000),
    ] {
        me(&rest, &forged).await.assert_problem(401, "unauthenticated");
    }
    for header in ["Basic dXNlcjpwYXNz", "Bearer", "bearer", "Token x"] {
        rest.get("/v1/me").header("authorization", header).send().await.assert_problem(401, "unauthenticated");
    }
    rest.get(&format!("/v1/me?access_token={good}")).send().await.assert_problem(401, "unauthenticated");
}

async fn tokens_verify_with_the_published_keys(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    rest.register("pat@example.org", "patient").await;
    let token = access(&rest.sign_in("pat@example.org").await);
    let keys = rest.get("/.well-known/jwks.json").send().await.ok();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let head: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(message.split('.').next().unwrap()).unwrap()).unwrap();
    let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == head["kid"]).unwrap();
    let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_FIXED, point);
    key.verify(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).expect("the token is genuine");
}

both! {
    patient_registers_and_signs_in
    sign_in_does_not_reveal_which_addresses_have_accounts
    password_guessing_is_rate_limited
    staff_need_approval_and_lose_access_at_once
    active_pharmacist_needs_a_pharmacy_and_admins_cannot_change_their_own_rights
    reuse_of_a_refresh_token_revokes_the_sign_in
    concurrent_refreshes_get_the_same_successor
    sign_in_expires_however_often_it_is_refreshed
    sign_out_ends_one_sign_in_or_all
    revoked_sign_ins_stay_revoked_after_a_restart
    forged_tokens_are_rejected
    tokens_verify_with_the_published_keys
}
