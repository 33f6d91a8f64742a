//! REST requests to a running hub, as a client makes them. Every response is checked against the OpenAPI document: an
//! undocumented response fails the test, whatever its subject.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, StatusCode};
use rooms::id::PharmacyId;
use rooms::role::{Actor, Role};
use serde_json::{Value, json};
use uuid::Uuid;
use wardroom::config::{Config, DatabaseSettings};
use wardroom::http::openapi;

use super::test_server::TestServer;

/// A running hub and an HTTP client for it.
pub struct RestClient {
    pub server: TestServer,
    client: Client,
}

/// A request under construction.
pub struct RestRequest<'a> {
    rest: &'a RestClient,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
}

/// A received response.
pub struct RestResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    /// Null if the body is not JSON.
    pub json: Value,
}

pub fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| serde_json::from_str(&openapi::document_text()).unwrap())
}

impl RestClient {
    pub async fn start(database: DatabaseSettings) -> Self {
        Self::start_with(database, |_| {}).await
    }

    pub async fn start_with(database: DatabaseSettings, change: impl FnOnce(&mut Config)) -> Self {
        let server = TestServer::start_with(database, change).await;
        Self { server, client: Client::builder().timeout(Duration::from_secs(30)).build().unwrap() }
    }

    pub fn call(&self, method: &str, path: &str) -> RestRequest<'_> {
        let method = method.to_uppercase().parse().unwrap();
        RestRequest { rest: self, method, path: path.to_owned(), headers: HeaderMap::new(), body: None }
    }

    pub fn get(&self, path: &str) -> RestRequest<'_> {
        self.call("get", path)
    }

    /// A POST request with a fresh idempotency key.
    pub fn post(&self, path: &str) -> RestRequest<'_> {
        self.call("post", path).key(&Uuid::now_v7().to_string())
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }

    /// Returns a token of a new person with this role.
    pub async fn token(&self, role: Role) -> String {
        self.person_with_token(role, None).await.1
    }

    /// Creates a person and returns them with a token.
    pub async fn person_with_token(&self, role: Role, pharmacy: Option<PharmacyId>) -> (Actor, String) {
        let person = self.server.person(role, &format!("A {}", role.as_str()), pharmacy).await;
        let token = self.server.token(&person).0;
        (person, token)
    }

    /// Registers an account over REST; all accounts share one password.
    pub async fn register(&self, email: &str, role: &str) -> Value {
        let body = json!({"email": email, "password": PASSWORD, "name": "Some One", "role": role});
        let answer = self.call("post", "/v1/auth/register").json(body).send().await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json["user"].clone()
    }

    /// Signs in with bearer tokens in the response.
    pub async fn sign_in(&self, email: &str) -> RestResponse {
        let body = json!({"email": email, "password": PASSWORD, "transport": "bearer"});
        self.call("post", "/v1/auth/sign-in").json(body).send().await
    }

    pub async fn refresh(&self, token: &str) -> RestResponse {
        self.call("post", "/v1/auth/refresh").json(json!({"refresh_token": token})).send().await
    }
}

pub const PASSWORD: &str = "an unusual sentence";

impl RestRequest<'_> {
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
        self
    }

    pub fn json(self, body: Value) -> Self {
        self.raw(body.to_string()).header("content-type", "application/json")
    }

    pub fn raw(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sends the request and checks the response against the OpenAPI document.
    pub async fn send(self) -> RestResponse {
        let (method, path) = (self.method.clone(), self.path.clone());
        let answer = self.send_unchecked().await;
        let bare = path.split('?').next().unwrap();
        if let Some(operation) = find(&method, bare) {
            assert_documented(operation, &answer, &format!("{method} {bare}"));
        }
        answer
    }

    /// Sends the request without checking the response against the document.
    pub async fn send_unchecked(self) -> RestResponse {
        let mut request = self.rest.client.request(self.method, self.rest.url(&self.path)).headers(self.headers);
        if let Some(body) = self.body {
            request = request.body(body);
        }
        let response = request.send().await.expect("the hub responds");
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or_default();
        RestResponse { status, headers, text, json }
    }
}

impl RestResponse {
    /// Returns the problem's code, or an empty string if the response is no problem.
    pub fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Returns the body; fails if the response is an error.
    pub fn ok(self) -> Value {
        assert!(self.status.is_success(), "{} {}", self.status, self.text);
        self.json
    }

    /// Asserts that the response is this problem, with all its fields.
    pub fn assert_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), self.code()), (status, code), "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.json["status"], status);
        for field in ["type", "title", "detail"] {
            assert!(!self.json[field].as_str().unwrap().is_empty(), "{}", self.text);
        }
        assert!(self.json["retryable"].is_boolean());
    }
}

/// Finds the operation at a path, with its parameters filled in.
fn find(method: &Method, path: &str) -> Option<&'static Value> {
    let paths = document()["paths"].as_object().unwrap();
    let fits = |template: &str| {
        let (one, other): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a.starts_with('{') || *a == b)
    };
    // A literal path is a better match than a template.
    let best =
        paths.iter().filter(|(template, _)| fits(template)).min_by_key(|(template, _)| template.matches('{').count());
    best.and_then(|(_, item)| item.get(method.as_str().to_lowercase()))
}

fn assert_documented(operation: &Value, answer: &RestResponse, what: &str) {
    let status = answer.status.as_str();
    let described = &operation["responses"][status];
    assert!(!described.is_null(), "{what} answered {status}, which is undocumented: {}", answer.text);
    let described = match described["$ref"].as_str() {
        Some(reference) => document().pointer(reference.strip_prefix('#').unwrap()).unwrap(),
        None => described,
    };
    if let Some(codes) = described["x-codes"].as_array() {
        assert!(codes.contains(&answer.json["code"]), "{what}: undocumented code: {}", answer.text);
    }
}
