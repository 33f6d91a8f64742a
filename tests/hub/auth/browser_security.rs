//! Protection of browsers: cookies, origins, and security headers.

use serde_json::json;
use wardroom::config::{BaseUrl, Config, Origin};

use crate::support::database::Database;
use crate::support::rest::{PASSWORD, RestClient, RestResponse, document};

const HUB_ORIGIN: &str = "https://hub.example.org";
const SIBLING_ORIGIN: &str = "https://portal.example.org";

/// Settings as behind a TLS proxy, with a sibling service on another subdomain.
fn behind_tls_proxy(config: &mut Config) {
    config.public_url = Some(BaseUrl::parse(HUB_ORIGIN).unwrap());
    config.behind_proxy = true;
    config.cookie_domain = Some("example.org".to_owned());
    config.allowed_origins = vec![Origin::parse(SIBLING_ORIGIN).unwrap()];
}

/// Returns a cookie that was set, as `name=value` and its attributes.
fn cookie(answer: &RestResponse, name: &str) -> (String, String) {
    let all = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    let one = all.into_iter().find(|text| text.starts_with(&format!("{name}="))).expect("the cookie is set");
    let (pair, rest) = one.split_once(';').unwrap();
    (pair.to_owned(), rest.to_owned())
}

async fn sign_in_with_cookies(rest: &RestClient) -> RestResponse {
    rest.register("pat@example.org", "patient").await;
    let body = json!({"email": "pat@example.org", "password": PASSWORD, "transport": "cookie"});
    let answer = rest.call("post", "/v1/auth/sign-in").header("origin", HUB_ORIGIN).json(body).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_are_unreachable_for_scripts_other_sites_and_plain_http() {
    let database = Database::sqlite();
    let rest = RestClient::start_with(database.settings(), behind_tls_proxy).await;
    let answer = sign_in_with_cookies(&rest).await;
    assert!(answer.json["refresh_token"].is_null(), "the refresh token is only in the cookie");
    let (_, refresh) = cookie(&answer, "wardroom_refresh");
    let (_, access) = cookie(&answer, "wardroom_access");
    for attributes in [&refresh, &access] {
        for attribute in ["HttpOnly", "Secure", "SameSite=Strict"] {
            assert!(attributes.contains(attribute), "{attributes}");
        }
    }
    assert!(
        refresh.contains("Path=/v1/auth") && !refresh.contains("Domain"),
        "the refresh cookie is for this host only: {refresh}"
    );
    assert!(access.contains("Domain=example.org"), "{access}");

    let database = Database::sqlite();
    let local = RestClient::start(database.settings()).await;
    local.register("pat@example.org", "patient").await;
    let body = json!({"email": "pat@example.org", "password": PASSWORD, "transport": "cookie"});
    let answer = local.call("post", "/v1/auth/sign-in").json(body).send().await;
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies.len(), 1, "without a parent domain the access token has no cookie");
    assert!(!cookies[0].to_str().unwrap().contains("Secure"), "plain HTTP is allowed on this machine only");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_cannot_use_cookies() {
    let database = Database::sqlite();
    let rest = RestClient::start_with(database.settings(), behind_tls_proxy).await;
    let answer = sign_in_with_cookies(&rest).await;
    let (refresh, _) = cookie(&answer, "wardroom_refresh");
    let (access, _) = cookie(&answer, "wardroom_access");
    let hostile = [
        "null",
        "https://evil.example",
        "http://hub.example.org",
        "https://hub.example.org.evil.example",
        "https://hub.example.org:8443",
        "https://HUB.example.org",
    ];
    for origin in hostile {
        let call = rest.call("post", "/v1/auth/refresh").header("cookie", &refresh).header("origin", origin);
        call.send().await.assert_problem(403, "forbidden");
        let call = rest.post("/v1/bookings").header("cookie", &access).header("origin", origin).json(json!({}));
        call.send().await.assert_problem(403, "forbidden");
        let body = json!({"email": "pat@example.org", "password": PASSWORD});
        let call = rest.call("post", "/v1/auth/sign-in").header("origin", origin).json(body);
        call.send().await.assert_problem(403, "forbidden");
        let preflight = rest.call("options", "/v1/bookings").header("origin", origin);
        let preflight = preflight.header("access-control-request-method", "POST").send_unchecked().await;
        preflight.assert_problem(403, "forbidden");
        assert_eq!(preflight.header("access-control-allow-origin"), "");
    }
    let call = rest.call("post", "/v1/auth/refresh").header("cookie", &refresh);
    call.send().await.assert_problem(403, "forbidden");
    let call = rest.post("/v1/bookings").header("cookie", &access).json(json!({}));
    call.send().await.assert_problem(403, "forbidden");

    // The hub's own page and the sibling's are allowed.
    for origin in [HUB_ORIGIN, SIBLING_ORIGIN] {
        let read = rest.get("/v1/me").header("cookie", &access).header("origin", origin).send().await;
        assert_eq!(read.status, 200, "{}", read.text);
        let call = rest.post("/v1/bookings").header("cookie", &access).header("origin", origin).json(json!({}));
        assert_ne!(call.send().await.status, 403);
    }
    let fresh =
        rest.call("post", "/v1/auth/refresh").header("cookie", &refresh).header("origin", HUB_ORIGIN).send().await;
    assert_eq!(fresh.status, 200, "{}", fresh.text);
    assert_ne!(cookie(&fresh, "wardroom_refresh").0, refresh);
    let preflight = rest.call("options", "/v1/bookings").header("origin", SIBLING_ORIGIN);
    let preflight = preflight.header("access-control-request-method", "POST").send_unchecked().await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), SIBLING_ORIGIN);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_response_has_security_headers() {
    let database = Database::sqlite();
    let rest = RestClient::start_with(database.settings(), behind_tls_proxy).await;
    let paths = document()["paths"].as_object().unwrap().keys().map(String::as_str);
    for path in paths.chain(["/", "/docs.js", "/nothing"]) {
        if path == "/v1/ws" {
            continue;
        }
        let answer = rest.get(path).send_unchecked().await;
        let policy = answer.header("content-security-policy");
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "wss://hub.example.org"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin", "{path}");
        assert!(answer.header("strict-transport-security").contains("max-age=63072000"), "{path}");
        assert!(!answer.header("cache-control").is_empty(), "{path}");
        assert!(!answer.header("x-request-id").is_empty(), "{path}");
        assert_eq!(answer.header("server"), "", "{path} reveals the server software");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_content_types_and_are_not_sent_twice() {
    let database = Database::sqlite();
    let rest = RestClient::start(database.settings()).await;
    for (path, kind) in [("/docs", "text/html; charset=utf-8"), ("/docs.js", "text/javascript; charset=utf-8")] {
        let first = rest.get(path).send_unchecked().await;
        assert_eq!((first.status.as_u16(), first.header("content-type")), (200, kind), "{path}");
        let again = rest.get(path).header("if-none-match", first.header("etag")).send_unchecked().await;
        assert_eq!((again.status.as_u16(), again.text.len()), (304, 0), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_links_work_in_demo_mode_only() {
    let database = Database::sqlite();
    let rest = RestClient::start_with(database.settings(), |config| config.demo = true).await;
    wardroom::demo::prepare(&rest.server.state).await.unwrap();
    wardroom::demo::prepare(&rest.server.state).await.expect("a second start reuses what the first one created");
    let text = wardroom::demo::welcome(&rest.server.state, rest.server.address);
    let tokens: Vec<&str> = text.lines().filter_map(|line| line.split_once("#demo=").map(|(_, token)| token)).collect();
    assert_eq!(tokens.len(), 8, "{text}");
    let mut roles = Vec::new();
    for token in &tokens {
        let answer = rest.call("post", "/v1/auth/demo").json(json!({"token": token})).send().await.ok();
        roles.push(answer["user"]["role"].as_str().unwrap().to_owned());
        assert!(answer["refresh_token"].is_string());
    }
    assert_eq!(roles, ["admin", "doctor", "doctor", "pharmacist", "pharmacist", "patient", "patient", "courier"]);
    rest.call("post", "/v1/auth/demo")
        .json(json!({"token": "guess"}))
        .send()
        .await
        .assert_problem(401, "bad_credentials");
    let (_, patient) = rest.person_with_token(rooms::role::Role::Patient, None).await;
    let doctors = rest.get("/v1/doctors").bearer(&patient).send().await.ok();
    for doctor in doctors["items"].as_array().unwrap() {
        assert!(doctor["next_free"].is_string(), "{doctor}");
    }

    let database = Database::sqlite();
    let serve = RestClient::start(database.settings()).await;
    assert!(!wardroom::demo::welcome(&serve.server.state, serve.server.address).contains("#demo="));
    let answer = serve.call("post", "/v1/auth/demo").json(json!({"token": tokens[0]})).send().await;
    answer.assert_problem(401, "bad_credentials");
}
