//! Payment webhooks that are forged, replayed, expired, reordered, or malformed change nothing.

use std::time::Duration;

use rooms::id::RoomId;
use serde_json::{Value, json};
use uuid::Uuid;
use wardroom::config::DatabaseSettings;
use wardroom::store::dispatches::Sink;

use crate::support::both;
use crate::support::paid_clinic::{PaidClinic, signature};
use crate::support::payment_stub::{Behaviour, PaymentStub, SECRET};

const AUTHORIZED: &str = "payment_intent.amount_capturable_updated";
const CAPTURED: &str = "payment_intent.succeeded";
const RELEASED: &str = "payment_intent.canceled";
const REFUNDED: &str = "charge.refunded";

/// Starts a clinic with a booking that awaits payment.
async fn start(database: DatabaseSettings) -> (PaidClinic, PaymentStub, RoomId, String) {
    let provider = PaymentStub::start().await;
    let settings = provider.settings();
    let clinic = PaidClinic::start(database, |config| config.payment = settings).await;
    let room = clinic.book().await;
    clinic.checkout_url(room).await;
    let id = provider.intents(&room.to_string())[0].0.clone();
    provider.pay(&id);
    (clinic, provider, room, id)
}

async fn head(clinic: &PaidClinic, room: RoomId) -> u64 {
    clinic.server().state.store.events_after(room, 0, 1000).await.unwrap().last().unwrap().seq
}

async fn forged_and_expired_webhooks_are_rejected_without_effect(database: DatabaseSettings) {
    let (clinic, provider, room, id) = start(database).await;
    let (event, now) = (provider.event("evt_1", AUTHORIZED, &id), clinic.server().state.clock.now());
    let before = head(&clinic, room).await;
    let send = async |header: Option<String>, body: &str| {
        let call = clinic.rest.call("post", "/v1/partners/payment").header("content-type", "application/json");
        let call = if let Some(header) = header { call.header("partner-signature", &header) } else { call };
        call.raw(body).send().await
    };
    let good = signature(SECRET, now, &event);
    let long_ago = rooms::time::Timestamp::from_micros(now.micros() - 301_000_000);
    let other_amount = event.replacen("2500", "2501", 1);
    let forgeries = [
        (None, event.as_str()),
        (Some(String::new()), &event),
        (Some("t=1,v1=00".to_owned()), &event),
        (Some(signature("another secret of some length", now, &event)), &event),
        (Some(good.clone()), &other_amount),
        (Some(good.replacen("t=", "t=1", 1)), &event),
        (Some(signature(SECRET, long_ago, &event)), &event),
        (Some(signature(SECRET, now.plus(Duration::from_secs(310)), &event)), &event),
    ];
    for (header, body) in forgeries {
        let what = format!("{header:?}");
        let answer = send(header, body).await;
        answer.assert_problem(401, "unauthenticated");
        assert!(!answer.text.contains("2500"), "{what}: echoes the request");
    }
    assert_eq!((head(&clinic, room).await, clinic.states(room).await), (before, ("requested", "pending")));
    // The provider's own header name works too, and so do two signatures during a rotation of secrets.
    let rotating =
        format!("{},v1={}", signature("the secret of tomorrow", now, &event), good.split("v1=").nth(1).unwrap());
    let call = clinic.rest.call("post", "/v1/partners/payment").header("stripe-signature", &rotating);
    assert_eq!(call.header("content-type", "application/json").raw(event).send().await.ok(), json!({"taken": true}));
    assert_eq!(clinic.states(room).await, ("booked", "authorized"));
}

async fn repeated_webhook_changes_nothing(database: DatabaseSettings) {
    let (clinic, provider, room, id) = start(database).await;
    let event = provider.event("evt_1", AUTHORIZED, &id);
    assert_eq!(clinic.send_webhook_now("payment", SECRET, &event).await.ok(), json!({"taken": true}));
    let after = head(&clinic, room).await;
    for _ in 0..3 {
        assert_eq!(clinic.send_webhook_now("payment", SECRET, &event).await.ok(), json!({"taken": false}));
    }
    // Another event id does not matter either: the report describes the current state.
    let again = provider.event("evt_2", AUTHORIZED, &id);
    assert_eq!(clinic.send_webhook_now("payment", SECRET, &again).await.ok(), json!({"taken": false}));
    assert_eq!(head(&clinic, room).await, after);
}

async fn reordered_webhooks_never_move_a_payment_back(database: DatabaseSettings) {
    let (clinic, provider, room, id) = start(database).await;
    let orders: [(&[&str], &str); 4] = [
        (&[CAPTURED, AUTHORIZED], "captured"),
        (&[REFUNDED, CAPTURED, AUTHORIZED], "refunded"),
        (&[AUTHORIZED, REFUNDED, CAPTURED], "refunded"),
        (&[RELEASED, AUTHORIZED], "failed"),
    ];
    let mut case = (room, id);
    for (number, (order, end)) in orders.into_iter().enumerate() {
        for kind in order {
            let event = provider.event(&format!("evt_{number}_{kind}"), kind, &case.1);
            assert!(clinic.send_webhook_now("payment", SECRET, &event).await.status.is_success());
        }
        assert_eq!(clinic.states(case.0).await.1, end, "{order:?}");
        let slot = clinic.slot(Duration::from_secs(3600 * (number as u64 + 2))).await;
        let room = clinic.book_slot(slot).await;
        clinic.checkout_url(room).await;
        case = (room, provider.intents(&room.to_string())[0].0.clone());
        provider.pay(&case.1);
    }
    // Money reserved for a failed payment is released.
    clinic.wait_until_settled(Sink::Payment).await;
    let kept = provider.calls().iter().filter(|call| call.what.contains("/cancel")).count();
    assert!(kept >= 1, "{:?}", provider.calls());
}

async fn unknown_and_malformed_webhooks_get_the_documented_answer(database: DatabaseSettings) {
    let (clinic, provider, room, id) = start(database).await;
    let before = head(&clinic, room).await;
    let send = async |body: &str| clinic.send_webhook_now("payment", SECRET, body).await;
    let event: Value = serde_json::from_str(&provider.event("evt_1", AUTHORIZED, &id)).unwrap();
    let with = |pointer: &str, value: Value| {
        let mut event = event.clone();
        *event.pointer_mut(pointer).unwrap() = value;
        event.to_string()
    };
    let declined = with("/type", json!("payment_intent.payment_failed")).replacen("evt_1", "evt_d", 1);
    assert_eq!(send(&declined).await.ok(), json!({"taken": false}));
    let stranger = Uuid::now_v7();
    let elsewhere = with(
        "/data/object",
        json!({"id": "pi_99", "amount": 2500, "currency": "eur", "status": "requires_capture", "metadata": {"room": stranger}}),
    );
    send(&elsewhere).await.assert_problem(404, "not_found");
    let nameless = with("/data/object/id", json!("pi_98"));
    send(&nameless).await.assert_problem(400, "malformed");
    for broken in [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "{\"id\":\"\"}".to_owned(),
        "{\"id\":\"evt_\\u0000\",\"type\":\"x\"}".to_owned(),
        with("/id", json!("x".repeat(201))),
        with("/id", json!("evt_b1")).replacen("2500", "\"a lot\"", 1),
        with("/data/object/amount", json!(2501)).replacen("evt_1", "evt_b2", 1),
        with("/data/object/currency", json!("usd")).replacen("evt_1", "evt_b3", 1),
        "{\"id\":\"evt_b4\",\"type\":\"payment_intent.succeeded\"}".to_owned(),
    ] {
        send(&broken).await.assert_problem(400, "malformed");
    }
    let huge = format!("{{\"id\":\"evt_h\",\"pad\":\"{}\"}}", "x".repeat(70_000));
    send(&huge).await.assert_problem(413, "too_large");
    assert_eq!(head(&clinic, room).await, before);
    // No forgery was recorded: the genuine event is accepted.
    assert_eq!(send(&event.to_string()).await.ok(), json!({"taken": true}));
}

async fn webhook_that_overtakes_the_response_is_accepted(database: DatabaseSettings) {
    let provider = PaymentStub::start().await;
    let settings = provider.settings();
    let clinic = PaidClinic::start(database, |config| config.payment = settings).await;
    provider.behave(Behaviour::DropsResponses);
    let room = clinic.book().await;
    crate::support::paid_clinic::eventually("the intent exists", async || provider.intents(&room.to_string()).pop())
        .await;
    let id = provider.intents(&room.to_string())[0].0.clone();
    provider.pay(&id);
    let event = provider.event("evt_1", AUTHORIZED, &id);
    assert_eq!(clinic.send_webhook_now("payment", SECRET, &event).await.ok(), json!({"taken": true}));
    assert_eq!(clinic.states(room).await, ("booked", "authorized"));
    provider.behave(Behaviour::Normal);
    clinic.wait_until_settled(Sink::Payment).await;
    clinic.complete(room).await;
    clinic.wait_until(room, "completed", "captured").await;
    assert_eq!(provider.intents(&room.to_string()).len(), 1);
}

both! {
    forged_and_expired_webhooks_are_rejected_without_effect
    repeated_webhook_changes_nothing
    reordered_webhooks_never_move_a_payment_back
    unknown_and_malformed_webhooks_get_the_documented_answer
    webhook_that_overtakes_the_response_is_accepted
}
