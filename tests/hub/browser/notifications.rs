//! Notifications in a real browser: the service worker shows them in the right language, and a click opens the room.
//!
//! A test cannot reach a push service, so it delivers the message over the DevTools protocol, and so it does with the
//! click.

use serde_json::{Value, json};

use crate::support::browser::{Browser, Driver};
use crate::support::database::Database;
use crate::support::devtools::DevTools;
use crate::support::hub_process::HubProcess;
use crate::support::pages::{DESKTOP_SIZE, room_id_in_url, sign_in, walk_in};

/// Returns language, title, and text of each notification that the browser shows.
async fn shown(browser: &Browser) -> Vec<(String, String, String)> {
    let shown = browser
        .run("return navigator.serviceWorker.ready.then((it) => it.getNotifications()).then((all) => all.map(({ lang, title, body }) => [lang, title, body]))")
        .await;
    serde_json::from_value(shown).unwrap()
}

async fn is_shown(browser: &Browser, lang: &str, title: &str) {
    let all = shown(browser).await;
    assert!(all.iter().any(|it| it.0 == lang && it.1 == title), "no {title} in {all:?}");
}

struct Pushing {
    tools: DevTools,
    page: String,
    origin: String,
    registration: String,
}

impl Pushing {
    async fn start(driver: &Driver, browser: &Browser, origin: &str) -> Self {
        browser.wait_until("a service worker", "return navigator.serviceWorker.ready.then((it) => !!it.active)").await;
        let mut tools = DevTools::connect(&driver.debugger(browser).await).await;
        let grant = json!({"origin": origin, "permissions": ["notifications"]});
        tools.call(None, "Browser.grantPermissions", grant).await;
        let page = tools.attach("page").await;
        tools.call(Some(&page), "ServiceWorker.enable", json!({})).await;
        let pushes = json!({"service": "pushMessaging", "shouldRecord": true});
        for method in ["BackgroundService.startObserving", "BackgroundService.setRecording"] {
            tools.call(Some(&page), method, pushes.clone()).await;
        }
        let registration = tools
            .event("ServiceWorker.workerRegistrationUpdated", |event| {
                event["registrations"].as_array()?.first()?["registrationId"].as_str().map(str::to_owned)
            })
            .await;
        Self { tools, page, origin: origin.to_owned(), registration }
    }

    /// Delivers a push message and waits until the worker has handled it. Asking for notifications earlier would be
    /// wrong: Chromium forgets one that a page asks for between its creation and its display.
    async fn push(&mut self, data: &Value) {
        let data = data.as_str().map_or_else(|| data.to_string(), str::to_owned);
        let message = json!({"origin": self.origin, "registrationId": self.registration, "data": data});
        self.tools.call(Some(&self.page), "ServiceWorker.deliverPushMessage", message).await;
        let status = self
            .tools
            .event("BackgroundService.backgroundServiceEventReceived", |event| {
                let event = &event["backgroundServiceEvent"];
                (event["eventName"] == "Push event completed").then(|| event["eventMetadata"][0]["value"].clone())
            })
            .await;
        assert_eq!(status, "Success", "the worker's result");
    }

    /// Clicks a notification. Without a real user gesture the browser does not bring a window to the front.
    async fn click(&mut self, title: &str) {
        let worker = self.tools.attach("service_worker").await;
        let click = format!(
            "self.registration.getNotifications().then((all) => {{ \
             const notification = all.find((it) => it.title === {}); \
             self.dispatchEvent(new NotificationEvent('notificationclick', {{ notification }})); }})",
            json!(title)
        );
        self.tools.evaluate(&worker, &click).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn notification_is_localized_and_its_click_opens_the_room() {
    let database = Database::sqlite();
    let mut hub = HubProcess::new("demo", &database.settings());
    let address = hub.start();
    let driver = Driver::start();
    let patient = sign_in(&driver, &hub, "Pia Lindqvist", DESKTOP_SIZE).await;
    walk_in(&patient).await;
    let room = room_id_in_url(&patient).await;
    let mut pushing = Pushing::start(&driver, &patient, &format!("http://{address}")).await;

    patient.run("location.hash = '#/account'").await;
    patient.wait_for("notify-language").await;
    let choose = |language: &str| {
        format!(
            "const it = document.querySelector('[data-testid=notify-language]'); it.value = '{language}'; \
             it.dispatchEvent(new Event('change'))"
        )
    };
    for (language, title) in [("en", "New message"), ("ko", "새 메시지")] {
        patient.run(&choose(language)).await;
        let noted = "return caches.open('wardroom-notify').then((it) => it.match('/language')).then((it) => it.text())";
        patient.wait_until(language, &format!("{noted}.then((it) => it === '{language}')")).await;
        pushing.push(&json!({"kind": "message", "room": room, "id": room})).await;
        is_shown(&patient, language, title).await;
        assert_eq!(shown(&patient).await.len(), 1, "the last notification of a kind replaces the others");
    }
    // Every push shows something: browsers withdraw the permission from pages that stay silent.
    pushing.push(&json!("no JSON at all")).await;
    is_shown(&patient, "ko", "Wardroom").await;
    pushing.push(&json!({"kind": "constructor", "room": "javascript:alert(1)"})).await;
    pushing.push(&json!({"kind": "call", "room": room})).await;
    is_shown(&patient, "ko", "전화가 왔습니다").await;
    pushing.push(&json!({"kind": "missed_call", "room": room})).await;
    is_shown(&patient, "ko", "부재중 전화").await;
    let all = shown(&patient).await;
    assert!(!all.iter().any(|it| it.1 == "전화가 왔습니다"), "a missed call replaces its ring: {all:?}");

    pushing.click("부재중 전화").await;
    patient.wait_until("the room", &format!("return location.hash === '#/room/{room}'")).await;
    patient.wait_for("consultation-panel").await;
    patient.assert_no_errors().await;
}
