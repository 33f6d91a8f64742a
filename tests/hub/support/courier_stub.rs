//! A stub of a courier partner, over real HTTP.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use wardroom::config::{BaseUrl, CourierProvider, CourierSettings};

/// The secret that the partner signs webhooks with.
pub const SECRET: &str = "courier_secret_of_the_tests";

/// A recorded request.
#[derive(Clone, Debug)]
pub struct Call {
    pub what: String,
    pub key: String,
    pub authorization: String,
    pub body: String,
}

#[derive(Default)]
struct Inner {
    is_down: bool,
    calls: Vec<Call>,
    /// Order ids by idempotency key.
    orders: HashMap<String, String>,
}

/// The stub; clones share its state.
#[derive(Clone)]
pub struct CourierStub {
    pub address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
}

impl CourierStub {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let courier = Self { address: listener.local_addr().unwrap(), inner: Arc::default() };
        let router = Router::new().fallback(answer).with_state(courier.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        courier
    }

    pub fn settings(&self, assign: bool) -> CourierSettings {
        let url = BaseUrl::parse(&format!("http://{}", self.address)).unwrap();
        CourierSettings {
            provider: Some(CourierProvider::Http { url, key: "ck_test".into() }),
            webhook_secret: Some(SECRET.into()),
            name: rooms::text::Name::parse("Swift Parcels").unwrap(),
            assign,
        }
    }

    pub fn is_down(&self, is_down: bool) {
        self.inner.lock().unwrap().is_down = is_down;
    }

    pub fn calls(&self) -> Vec<Call> {
        self.inner.lock().unwrap().calls.clone()
    }

    /// Returns the number of orders created.
    pub fn orders(&self) -> usize {
        self.inner.lock().unwrap().orders.len()
    }
}

async fn answer(
    State(courier): State<CourierStub>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers.get(name).map_or("", |it| it.to_str().unwrap()).to_owned();
    let call = Call {
        what: format!("{method} {}", uri.path()),
        key: header("idempotency-key"),
        authorization: header("authorization"),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let mut inner = courier.inner.lock().unwrap();
    inner.calls.push(call.clone());
    if inner.is_down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if call.what == "POST /v1/orders" {
        let next = format!("ord_{}", inner.orders.len() + 1);
        let id = inner.orders.entry(call.key).or_insert(next).clone();
        return axum::Json(json!({"id": id, "status": "accepted"})).into_response();
    }
    if uri.path().ends_with("/cancel") {
        axum::Json(Value::Null).into_response()
    } else {
        StatusCode::NOT_FOUND.into_response()
    }
}
