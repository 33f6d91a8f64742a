//! The client against a scripted hub.

#![allow(clippy::disallowed_methods, reason = "tests make their own times and ids")]

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use loadtest::client::{Answer, Client, ClientError};
use loadtest::delivery_check::EventOrder;
use loadtest::frame::FrameSummary;
use loadtest::target::Target;
use rooms::command::{Command, Nothing};
use rooms::id::{RoomId, SessionId, UserId};
use rooms::role::Role;
use rooms::time::Timestamp;
use rooms::wire::client::{ClientFrame, Token};
use rooms::wire::close::Close;
use rooms::wire::server::{Head, ServerFrame, Welcome, event_frame};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use uuid::Uuid;

struct FakeHub(TcpListener);

impl FakeHub {
    async fn start() -> (Self, Target) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::new(listener.local_addr().unwrap()).unwrap();
        (Self(listener), target)
    }

    /// Accepts a connection and sends `welcome`. Returns `hello.replaces`.
    async fn welcome(&self, connection: &str) -> (HubSide, Option<String>) {
        let stream = self.0.accept().await.unwrap().0;
        #[allow(clippy::result_large_err)]
        let choose = |_: &Request, mut response: Response| {
            response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("wardroom.v1"));
            Ok(response)
        };
        let mut hub_side = HubSide(tokio_tungstenite::accept_hdr_async(stream, choose).await.unwrap());
        let Some(ClientFrame::Hello { token: Some(_), replaces }) = hub_side.receive().await else {
            panic!("no hello")
        };
        hub_side
            .send(&ServerFrame::Welcome(Welcome {
                connection: connection.into(),
                session: SessionId(Uuid::now_v7()),
                user: UserId(Uuid::now_v7()),
                name: "P".into(),
                role: Role::Patient,
                now: Timestamp::from_micros(0),
                token_expires_at: Timestamp::from_micros(1),
                beat_ms: 15_000,
                max_frame: 65_536,
            }))
            .await;
        (hub_side, replaces.map(|text| text.as_str().to_owned()))
    }
}

struct HubSide(WebSocketStream<TcpStream>);

impl HubSide {
    async fn receive(&mut self) -> Option<ClientFrame> {
        match timeout(Duration::from_secs(10), self.0.next()).await.expect("a frame in time") {
            Some(Ok(Message::Text(text))) => Some(serde_json::from_str(&text).unwrap()),
            _ => None,
        }
    }

    async fn send(&mut self, frame: &ServerFrame) {
        self.0.send(Message::text(frame.encode())).await.unwrap();
    }

    async fn event(&mut self, room: RoomId, prev: u64, seq: u64) {
        self.0.send(Message::text(event_frame(room, prev, &format!(r#"{{"seq":{seq}}}"#)))).await.unwrap();
    }

    async fn joined(&mut self, room: RoomId, head: u64) {
        let text = format!(r#"{{"type":"joined","room":"{room}","head":{head},"snapshot":{{}}}}"#);
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// Answers a `join` of `room` with the events from the client's cursor to `head`.
    async fn replay(&mut self, room: RoomId, head: u64) -> u64 {
        let Some(ClientFrame::Join { room: asked, after }) = self.receive().await else { panic!("no join") };
        assert_eq!(asked, room);
        self.joined(room, head).await;
        for seq in after + 1..=head {
            self.event(room, seq - 1, seq).await;
        }
        self.send(&ServerFrame::Live { room, head }).await;
        after
    }
}

fn room() -> RoomId {
    RoomId(Uuid::now_v7())
}

fn client(target: Target) -> Client {
    Client::new(target, Token("t".into()))
}

const COMMAND: Command = Command::Admit(Nothing {});

#[tokio::test]
async fn cut_client_resumes_at_its_cursor_and_resends_unanswered_commands() {
    let (hub_listener, target) = FakeHub::start().await;
    let room = room();
    let mut client = client(target);
    let hub = async {
        let (mut hub_side, replaces) = hub_listener.welcome("one").await;
        assert_eq!(replaces, None);
        assert_eq!(hub_side.replay(room, 3).await, 0);
        let Some(ClientFrame::Command { id, .. }) = hub_side.receive().await else { panic!("no command") };
        let (mut hub_side, replaces) = hub_listener.welcome("two").await;
        assert_eq!(replaces.as_deref(), Some("one"));
        assert_eq!(hub_side.replay(room, 5).await, 3);
        let Some(ClientFrame::Command { id: again, .. }) = hub_side.receive().await else { panic!("no command") };
        assert_eq!(again, id);
        hub_side.send(&ServerFrame::Ack { id, room, first: 5, last: 5 }).await;
        hub_side
    };
    let test = async {
        client.connect().await.unwrap();
        assert_eq!(client.join(room).await.unwrap(), 3);
        let id = client.send(room, COMMAND);
        client.flush().await.unwrap();
        client.cut();
        assert!(!client.is_connected());
        assert!(matches!(client.flush().await, Err(ClientError::NotConnected)));
        client.connect().await.unwrap();
        client.until_live().await.unwrap();
        assert_eq!(client.answer(id).await.unwrap(), Answer::Done { first: 5, last: 5 });
        assert_eq!(client.unanswered().len(), 0);
    };
    tokio::join!(hub, test);
    let check = client.delivery_check(room).unwrap();
    assert_eq!((check.cursor(), check.delivered(), check.repeated(), check.gaps()), (5, 5, 0, 0));
}

#[tokio::test]
async fn gap_is_counted_and_healed_by_a_rejoin() {
    let (hub_listener, target) = FakeHub::start().await;
    let room = room();
    let mut client = client(target);
    let hub = async {
        let (mut hub_side, _) = hub_listener.welcome("one").await;
        hub_side.replay(room, 1).await;
        hub_side.event(room, 2, 3).await;
        hub_side.event(room, 3, 4).await;
        assert_eq!(hub_side.replay(room, 4).await, 1);
        hub_side.send(&ServerFrame::Beat { at: Timestamp::from_micros(0), heads: vec![Head { room, head: 6 }] }).await;
        assert_eq!(hub_side.receive().await, Some(ClientFrame::Beat {}));
        assert_eq!(hub_side.replay(room, 6).await, 4);
        hub_side
    };
    let test = async {
        client.connect().await.unwrap();
        client.join(room).await.unwrap();
        client.until_seq(room, 6).await.unwrap();
        let mut orders = Vec::new();
        while let Ok(Ok(frame)) = timeout(Duration::ZERO, client.next()).await {
            orders.extend(frame.order);
        }
        assert_eq!(orders, [[EventOrder::Next].as_slice(), &[EventOrder::Gap; 2], &[EventOrder::Next; 5]].concat());
    };
    tokio::join!(hub, test);
    let check = client.delivery_check(room).unwrap();
    assert_eq!((check.delivered(), check.repeated(), check.out_of_order(), check.gaps()), (6, 0, 0, 2));
}

#[tokio::test]
async fn half_open_connection_stays_open_while_the_client_reconnects() {
    let (hub_listener, target) = FakeHub::start().await;
    let mut client = client(target);
    let hub = async {
        let (mut old, _) = hub_listener.welcome("one").await;
        let (new, replaces) = hub_listener.welcome("two").await;
        assert_eq!(replaces.as_deref(), Some("one"));
        assert!(timeout(Duration::from_millis(50), old.0.next()).await.is_err(), "the old connection is silent");
        (old, new)
    };
    let test = async {
        client.connect().await.unwrap();
        let stalled = client.half_open().unwrap();
        client.connect().await.unwrap();
        stalled
    };
    let ((mut old, _new), stalled) = tokio::join!(hub, test);
    drop(stalled);
    assert!(!matches!(old.0.next().await, Some(Ok(_))));
}

#[tokio::test]
async fn close_code_of_the_hub_is_reported() {
    let (hub_listener, target) = FakeHub::start().await;
    let mut client = client(target);
    let hub = async {
        let (mut hub_side, _) = hub_listener.welcome("one").await;
        let code = Close::Slow.code().into();
        hub_side.0.close(Some(CloseFrame { code, reason: Close::Slow.reason().into() })).await.unwrap();
        while hub_side.0.next().await.is_some() {}
        drop(hub_side);
        drop(hub_listener.0.accept().await.unwrap());
    };
    let test = async {
        client.connect().await.unwrap();
        let ended = client.next().await.unwrap_err();
        assert_eq!(ended.close(), Some(Close::Slow));
        assert!(matches!(client.next().await, Err(ClientError::NotConnected)));
        assert!(matches!(client.connect().await, Err(ClientError::Open(_))));
    };
    tokio::join!(hub, test);
}

#[tokio::test]
async fn dropping_a_wait_loses_no_frame() {
    let (hub_listener, target) = FakeHub::start().await;
    let room = room();
    let mut client = client(target);
    let hub = async {
        let (mut hub_side, _) = hub_listener.welcome("one").await;
        hub_side.replay(room, 0).await;
        for seq in 1..=200 {
            hub_side.event(room, seq - 1, seq).await;
            if seq % 20 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        hub_side
    };
    let test = async {
        client.connect().await.unwrap();
        client.join(room).await.unwrap();
        let mut events = 0;
        while events < 200 {
            if let Ok(frame) = timeout(Duration::from_micros(200), client.next()).await {
                events += u32::from(matches!(frame.unwrap().summary, FrameSummary::Event { .. }));
            }
        }
    };
    tokio::join!(hub, test);
    assert_eq!(client.delivery_check(room).unwrap().delivered(), 200);
}
