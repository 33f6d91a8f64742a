//! Edge cases of notifications: forbidden addresses, validation by REST, and hubs that die midway.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rooms::command::{Chat, Command};
use rooms::id::RoomId;
use rooms::party::Thread;
use rooms::role::{Actor, Role};
use rooms::text::Prose;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;
use wardroom::config::{DatabaseSettings, PushService as Allowed};
use wardroom::store::Store;
use wardroom::store::devices::Subscription;
use wardroom::store::dispatches::{DispatchState, Sink, Wish};
use wardroom::store::page::PageRequest;

use crate::support::both;
use crate::support::database::Database;
use crate::support::hub_process::HubProcess;
use crate::support::push_service::{Fault, PushService};
use crate::support::rest::RestClient;
use crate::support::test_server::TestServer;

const FIRST_PAGE: PageRequest = PageRequest { after: None, limit: 200 };

/// Returns an unused idempotency key.
fn unused_key() -> String {
    Uuid::now_v7().to_string()
}

/// Starts a listener that counts connections; returns its port and the count.
async fn counting_listener() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, count) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counter = count.clone();
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    (port, count)
}

async fn send_chat(server: &TestServer, room: RoomId, who: &Actor) {
    let chat = Chat { text: Prose::parse("hello").unwrap(), thread: Thread::Care };
    server.submit(room, who, Command::Chat(chat)).await.unwrap();
}

async fn internal_addresses_are_never_contacted(database: DatabaseSettings) {
    let service = PushService::start().await;
    let (port, contacted) = counting_listener().await;
    let rest = RestClient::start_with(database, |config| {
        config.push.services = vec![
            Allowed::Origin(service.origin.clone()),
            Allowed::Host("fcm.googleapis.com".to_owned()),
            // As if an allowed name resolved to an internal address, or were one.
            Allowed::Host("localhost".to_owned()),
            Allowed::Host("127.0.0.1".to_owned()),
            Allowed::Host("[::1]".to_owned()),
            Allowed::Host("[::ffff:127.0.0.1]".to_owned()),
            Allowed::Host("169.254.169.254".to_owned()),
            Allowed::Host("10.0.0.1".to_owned()),
        ];
    })
    .await;
    let server = &rest.server;
    let (patient, token) = rest.person_with_token(Role::Patient, None).await;
    let user = patient.user().unwrap();
    let hostile = [
        format!("https://localhost:{port}/x"),
        format!("https://127.0.0.1:{port}/x"),
        format!("https://127.1:{port}/x"),
        format!("https://2130706433:{port}/x"),
        format!("https://0x7f000001:{port}/x"),
        format!("https://[::1]:{port}/x"),
        format!("https://[::ffff:127.0.0.1]:{port}/x"),
        format!("https://[::ffff:7f00:1]:{port}/x"),
        "https://169.254.169.254/latest/meta-data/".to_owned(),
        "https://10.0.0.1/x".to_owned(),
        // Not on the list of services, or not TLS, or a disguised address.
        format!("http://127.0.0.1:{port}/x"),
        format!("https://fcm.googleapis.com@127.0.0.1:{port}/x"),
        format!("https://fcm.googleapis.com.localhost:{port}/x"),
        "http://fcm.googleapis.com/x".to_owned(),
        "https://example.org/x".to_owned(),
        "fcm.googleapis.com/x".to_owned(),
        "file:///etc/passwd".to_owned(),
        String::new(),
    ];
    for endpoint in &hostile {
        let device = service.device(user, "unused");
        let body = json!({"endpoint": endpoint, "keys": {"p256dh": device.p256dh, "auth": device.auth}});
        let answer = rest.post("/v1/push/subscriptions").bearer(&token).json(body).send().await;
        answer.assert_problem(422, "invalid");
    }
    // The check at sending is independent: these rows bypassed the check at registration.
    for (at, endpoint) in hostile.iter().enumerate() {
        let device = Subscription { endpoint: endpoint.clone(), ..service.device(user, &format!("hostile {at}")) };
        let id = server.state.store.save_subscription(&device, server.state.clock.now()).await.unwrap();
        let new_delivery = Wish {
            sink: Sink::Push,
            lane: format!("hostile {at}"),
            target: id.to_string(),
            room: RoomId(Uuid::now_v7()),
            seq: 1,
            kind: "message".to_owned(),
            body: json!({"expires_at": server.state.clock.now().plus(Duration::from_secs(600))}).to_string(),
            due_at: server.state.clock.now(),
        };
        server.state.store.enqueue(&[new_delivery], server.state.clock.now(), Uuid::now_v7).await.unwrap();
    }
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let all = server.state.store.dispatches(Some(Sink::Push), None, None, FIRST_PAGE).await.unwrap().items;
        let over = |state| matches!(state, DispatchState::Dropped | DispatchState::Dead);
        if all.len() == hostile.len() && all.iter().all(|it| over(it.state)) {
            break;
        }
        assert!(Instant::now() < end, "{all:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // An allowed service redirects the hub elsewhere.
    let doctor = server.person(Role::Doctor, "Doc", None).await;
    let device = service.device(user, "redirected");
    server.state.integrations.push().subscribe(&device).await.unwrap();
    let location = ("location", format!("http://127.0.0.1:{port}/x"));
    service
        .fail("redirected", [301, 302, 303, 307, 308].map(|status| Fault { status, header: Some(location.clone()) }));
    let room = server.waiting_room(&patient, &doctor).await;
    for asked in 1..=5 {
        send_chat(server, room, &doctor).await;
        while service.attempts("redirected").len() < asked {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(contacted.load(Ordering::SeqCst), 0, "an internal address was contacted");
    assert!(service.received().is_empty());
}

async fn devices_and_preferences_are_private_to_their_owner(database: DatabaseSettings) {
    let service = PushService::start().await;
    let origin = service.origin.clone();
    let rest = RestClient::start_with(database, |config| config.push.services = vec![Allowed::Origin(origin)]).await;
    let (patient, token) = rest.person_with_token(Role::Patient, None).await;
    let (_, other) = rest.person_with_token(Role::Patient, None).await;
    let key = rest.get("/v1/push/key").bearer(&token).send().await.ok();
    assert_eq!(key["key"].as_str().unwrap().len(), 87, "65 bytes in base64url");
    let device = service.device(patient.user().unwrap(), "phone");
    let body = |p256dh: &str, auth: &str| json!({"endpoint": device.endpoint, "expirationTime": null, "keys": {"p256dh": p256dh, "auth": auth}});
    let subscribe = |by: &str, body: Value| {
        let call = rest.post("/v1/push/subscriptions").bearer(by).json(body);
        async move { call.send().await }
    };
    let not_a_point = device.p256dh.replace(&device.p256dh[20..24], "AAAA");
    for (p256dh, auth) in [("", ""), (&not_a_point, &device.auth), (&device.p256dh, "AAAA"), ("%%", &device.auth)] {
        subscribe(&token, body(p256dh, auth)).await.assert_problem(422, "invalid");
    }
    let good = || body(&device.p256dh, &device.auth);
    let id = subscribe(&token, good()).await.ok()["id"].clone();
    assert_eq!(subscribe(&token, good()).await.ok()["id"], id, "registering a device again returns the same one");
    let path = format!("/v1/push/subscriptions/{}", id.as_str().unwrap());
    rest.call("delete", &path).key(&unused_key()).bearer(&other).send().await.assert_problem(404, "not_found");
    assert_eq!(rest.call("delete", &path).key(&unused_key()).bearer(&token).send().await.status, 204);
    rest.call("delete", &path).key(&unused_key()).bearer(&token).send().await.assert_problem(404, "not_found");

    let preferences = || rest.get("/v1/push/preferences").bearer(&token).send();
    assert_eq!(preferences().await.ok(), json!({"muted": []}));
    let new_delivery = json!({"muted": ["message", "payment"], "quiet": {"from": 1320, "until": 420, "offset": 540}});
    let set = |new_delivery: Value| {
        rest.call("put", "/v1/push/preferences").key(&unused_key()).bearer(&token).json(new_delivery).send()
    };
    assert_eq!(set(new_delivery.clone()).await.ok(), new_delivery);
    assert_eq!(preferences().await.ok(), new_delivery);
    assert_eq!(rest.get("/v1/push/preferences").bearer(&other).send().await.ok(), json!({"muted": []}));
    set(json!({"muted": [], "quiet": {"from": 1440, "until": 0, "offset": 0}})).await.assert_problem(422, "invalid");
    set(json!({"muted": ["everything"]})).await.assert_problem(400, "malformed");
    for index in 0..25 {
        let device = service.device(patient.user().unwrap(), &format!("device {index}"));
        rest.server.state.integrations.push().subscribe(&device).await.unwrap();
    }
    let devices = rest.server.state.store.devices_of_users(&[patient.user().unwrap()]).await.unwrap();
    assert_eq!(devices.len(), 20, "the oldest devices are replaced");
}

async fn sign_out_ends_notifications_to_that_device(database: DatabaseSettings) {
    let service = PushService::start().await;
    let origin = service.origin.clone();
    let rest = RestClient::start_with(database, |config| config.push.services = vec![Allowed::Origin(origin)]).await;
    let user = rest.register("pat@example.org", "patient").await;
    let signed_in = rest.sign_in("pat@example.org").await.ok();
    let (phone, lost) = (signed_in["access_token"].as_str().unwrap(), rest.sign_in("pat@example.org").await.ok());
    let id: Uuid = user["id"].as_str().unwrap().parse().unwrap();
    for (token, name) in [(phone, "phone"), (lost["access_token"].as_str().unwrap(), "lost")] {
        let device = service.device(id.into(), name);
        let body = json!({"endpoint": device.endpoint, "keys": {"p256dh": device.p256dh, "auth": device.auth}});
        rest.post("/v1/push/subscriptions").bearer(token).json(body).send().await.ok();
    }
    let sessions = rest.get("/v1/auth/sessions").bearer(phone).send().await.ok();
    let other = sessions["items"].as_array().unwrap().iter().find(|it| it["current"] == false).unwrap()["id"].clone();
    rest.call("delete", &format!("/v1/auth/sessions/{}", other.as_str().unwrap())).bearer(phone).send().await.ok();
    let server = &rest.server;
    let doctor = server.person(Role::Doctor, "Doc", None).await;
    let patient = server.state.store.user(id.into()).await.unwrap().unwrap();
    let patient = Actor::Person { id: patient.id, role: patient.role, name: patient.name, pharmacy: None };
    let room = server.waiting_room(&patient, &doctor).await;
    send_chat(server, room, &doctor).await;
    service.wait_until("the phone", |it| !it.is_empty()).await;
    assert_eq!(service.received().iter().map(|it| it.device.as_str()).collect::<BTreeSet<_>>(), ["phone"].into());
    server.state.store.sweep_subscriptions().await.unwrap();
    assert_eq!(server.state.store.devices_of_users(&[id.into()]).await.unwrap().len(), 1);
}

async fn operators_see_each_receiver_and_can_retry_dead_deliveries(database: DatabaseSettings) {
    let service = PushService::start().await;
    let origin = service.origin.clone();
    let rest = RestClient::start_with(database, |config| config.push.services = vec![Allowed::Origin(origin)]).await;
    let server = &rest.server;
    let (admin, support) = (rest.token(Role::Admin).await, rest.token(Role::Support).await);
    let (doctor, nosy) = rest.person_with_token(Role::Doctor, None).await;
    let patient = server.person(Role::Patient, "Pat", None).await;
    let device = service.device(patient.user().unwrap(), "phone");
    server.state.integrations.push().subscribe(&device).await.unwrap();
    service.fail("phone", [Fault::status(400)]);
    let room = server.waiting_room(&patient, &doctor).await;
    send_chat(server, room, &doctor).await;
    let end = Instant::now() + Duration::from_secs(30);
    let dead = loop {
        let list = rest.get("/v1/dispatches?sink=push&state=dead").bearer(&support).send().await.ok();
        if let Some(dead) = list["items"].as_array().unwrap().first() {
            break dead.clone();
        }
        assert!(Instant::now() < end, "no delivery is dead");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!((&dead["kind"], &dead["attempts"], &dead["room"]), (&json!("message"), &json!(1), &json!(room)));
    assert!(dead["last_error"].as_str().unwrap().contains("400"));
    let text = dead.to_string();
    assert!(!text.contains("/push/"), "endpoints are secret: {text}");
    let sinks = rest.get("/v1/sinks").bearer(&support).send().await.ok();
    let lane = &sinks["sinks"][0];
    assert_eq!((&lane["sink"], &lane["breaker"], &lane["dead"]), (&json!("push"), &json!("closed"), &json!(1)));
    assert_eq!(lane["lane"], json!(service.origin));
    for path in ["/v1/sinks", "/v1/dispatches"] {
        rest.get(path).bearer(&nosy).send().await.assert_problem(403, "forbidden");
    }
    let again = format!("/v1/dispatches/{}/retry", dead["id"].as_str().unwrap());
    rest.post(&again).bearer(&support).send().await.assert_problem(403, "forbidden");
    assert_eq!(rest.post(&again).bearer(&admin).send().await.status, 204);
    let taken = service.wait_until("it after all", |it| !it.is_empty()).await;
    assert_eq!(json!(taken[0].id), dead["id"], "with the same key");
    rest.post(&again).bearer(&admin).send().await.assert_problem(404, "not_found");
}

both! {
    internal_addresses_are_never_contacted
    devices_and_preferences_are_private_to_their_owner
    sign_out_ends_notifications_to_that_device
    operators_see_each_receiver_and_can_retry_dead_deliveries
}

/// How often the hub is killed; `WARDROOM_TEST_DEATHS=200` raises it, with a few messages before each kill.
const KILL_COUNT: usize = 4;
/// Messages before each kill, spread over slightly more time than a notification is delayed, so that each is at
/// another point between commit and push service.
const MESSAGES_PER_KILL: usize = 25;
const MESSAGE_INTERVAL: Duration = Duration::from_millis(260);

#[tokio::test(flavor = "multi_thread")]
async fn killed_hub_loses_no_notification_between_commit_and_delivery() {
    let many = std::env::var("WARDROOM_TEST_DEATHS").ok().map(|text| text.parse().expect("a number"));
    let (deaths, messages, spacing) =
        many.map_or((KILL_COUNT, MESSAGES_PER_KILL, MESSAGE_INTERVAL), |deaths| (deaths, 3, Duration::from_millis(60)));
    let database = Database::sqlite();
    let service = PushService::start().await;
    let mut hub = HubProcess::new("serve", &database.settings());
    hub.set("WARDROOM_PUSH_SERVICES", &service.origin);
    let (doctor, rooms) = prepare(&hub, &service).await;
    let http = reqwest::Client::new();
    let mut sent = BTreeSet::new();
    for _ in 0..deaths {
        let address = hub.start();
        for room in &rooms[..messages] {
            let body = json!({"command": {"kind": "chat.send", "data": {"text": "hello", "thread": "care"}}});
            let url = format!("http://{address}/v1/consultations/{room}/commands");
            let key = Uuid::now_v7().to_string();
            let call = http.post(url).bearer_auth(&doctor).header("idempotency-key", key).json(&body).send();
            let answer: Value = call.await.expect("the hub responds").json().await.unwrap();
            sent.insert((room.to_string(), answer["last"].as_u64().unwrap_or_else(|| panic!("{answer}"))));
            tokio::time::sleep(spacing).await;
        }
        hub.kill();
    }
    hub.start();
    // Deliveries are found in the table by their keys.
    let store = Store::connect(&database.settings()).await.unwrap();
    let end = Instant::now() + Duration::from_secs(90);
    loop {
        let arrived: BTreeSet<String> = service.received().into_iter().map(|it| it.id).collect();
        let mut left = sent.clone();
        for id in &arrived {
            let dispatch = store.dispatch(id.parse().unwrap()).await.unwrap().expect("every sent message was recorded");
            left.remove(&(dispatch.room.to_string(), dispatch.seq));
        }
        if left.is_empty() {
            // At least once each; repeats have the same key.
            assert_eq!(arrived.len(), sent.len(), "each message has one key");
            break;
        }
        if Instant::now() > end {
            let known = store.dispatches(Some(Sink::Push), None, None, FIRST_PAGE).await.unwrap().items;
            panic!("{} of {} did not arrive; {:?}", left.len(), sent.len(), known.first());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    hub.kill();
}

/// Prepares a doctor's token, and rooms in which a patient with a device waits, with a hub in this process that then
/// ends.
async fn prepare(hub: &HubProcess, service: &PushService) -> (String, Vec<RoomId>) {
    let server = TestServer::start_with(hub.config().database, |config| {
        let listen = config.listen;
        *config = hub.config();
        config.listen = listen;
    })
    .await;
    let doctor = server.person(Role::Doctor, "Doc", None).await;
    let mut rooms = Vec::new();
    for number in 0..MESSAGES_PER_KILL {
        let patient = server.person(Role::Patient, "Pat", None).await;
        let device = service.device(patient.user().unwrap(), &format!("phone {number}"));
        server.state.integrations.push().subscribe(&device).await.unwrap();
        rooms.push(server.waiting_room(&patient, &doctor).await);
    }
    (server.state.auth.token_for_test(&doctor, Duration::from_secs(3600)), rooms)
}
