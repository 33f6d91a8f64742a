//! Actions outside the page, by its user or by a push service, over the DevTools protocol.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// How long the browser may take to respond.
const BROWSER_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection to a browser's DevTools port.
pub struct DevTools {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next: u64,
    /// Events received while waiting for something else, oldest first.
    events: Vec<Value>,
}

impl DevTools {
    /// Connects to `address`, the `debuggerAddress` of the browser's capabilities.
    pub async fn connect(address: &str) -> Self {
        let version = reqwest::get(format!("http://{address}/json/version")).await.expect("the browser responds");
        let version: Value = version.json().await.unwrap();
        let url = version["webSocketDebuggerUrl"].as_str().expect("a WebSocket URL");
        let (socket, _) = connect_async(url).await.expect("the browser accepts the connection");
        Self { socket, next: 0, events: Vec::new() }
    }

    async fn receive(&mut self) -> Value {
        loop {
            let message =
                tokio::time::timeout(BROWSER_TIMEOUT, self.socket.next()).await.expect("the browser responds");
            if let Message::Text(text) = message.expect("the connection is open").unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// Calls a method of the browser, or of the target that a session is attached to.
    pub async fn call(&mut self, session: Option<&str>, method: &str, parameters: Value) -> Value {
        self.next += 1;
        let mut call = json!({"id": self.next, "method": method, "params": parameters});
        if let Some(session) = session {
            call["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(call.to_string())).await.unwrap();
        loop {
            let message = self.receive().await;
            if message["id"] == self.next {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    /// Waits for an event of this name in which `find` finds something, and removes it.
    pub async fn event<T>(&mut self, name: &str, find: impl Fn(&Value) -> Option<T>) -> T {
        let known = |event: &Value| if event["method"] == name { find(&event["params"]) } else { None };
        let message = self.events.iter().enumerate().find_map(|(at, event)| Some((at, known(event)?)));
        if let Some((at, found)) = message {
            self.events.remove(at);
            return found;
        }
        loop {
            let message = self.receive().await;
            if let Some(found) = known(&message) {
                return found;
            }
            self.events.push(message);
        }
    }

    /// Attaches to the first target of this type, such as `page` or `service_worker`, and returns the session.
    pub async fn attach(&mut self, kind: &str) -> String {
        let end = Instant::now() + BROWSER_TIMEOUT;
        loop {
            let targets = self.call(None, "Target.getTargets", json!({})).await;
            let targets = targets["targetInfos"].as_array().unwrap().clone();
            if let Some(target) = targets.iter().find(|it| it["type"] == kind) {
                let parameters_json = json!({"targetId": target["targetId"], "flatten": true});
                let attached = self.call(None, "Target.attachToTarget", parameters_json).await;
                return attached["sessionId"].as_str().unwrap().to_owned();
            }
            assert!(Instant::now() < end, "no {kind}: {targets:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Evaluates an expression in a target and returns what its promise resolves to.
    pub async fn evaluate(&mut self, session: &str, expression: &str) -> Value {
        let parameters_json = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.call(Some(session), "Runtime.evaluate", parameters_json).await;
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }
}
