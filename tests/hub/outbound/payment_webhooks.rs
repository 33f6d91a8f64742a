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
    for broken in [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "{\"id\":\"\"}".to_owned(),
        "{\"id\":\"evt_\\u0000\",\"type\":\"x\"}".to_owned(),
        with("/id", json!("x".repeat(201))),
    ] {
        send(&broken).await.assert_problem(400, "malformed");
    }
    let huge = format!("{{\"id\":\"evt_h\",\"pad\":\"{}\"}}", "x".repeat(70_000));
    send(&huge).await.assert_problem(413, "too_large");
    assert_eq!(head(&clinic, room).await, before);
    // No forgery was recorded: the genuine event is accepted.
    assert_eq!(send(&event.to_string()).await.ok(), json!({"taken": true}));
}

/// Events of the provider's catalogue that concern no payment of this hub, or only a part of one. An answer other than 2xx
/// makes the provider repeat them for days, and then disable the endpoint.
fn events_of_others(id: &str, room: RoomId) -> Vec<(&'static str, Value)> {
    let intent = |change: Value| {
        let mut object = json!({
            "id": "pi_99", "object": "payment_intent", "amount": 2500, "amount_received": 2500, "currency": "eur",
            "status": "requires_capture", "metadata": {},
        });
        object.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        object
    };
    let charge = |change: Value| {
        let mut object = json!({
            "id": "ch_1", "object": "charge", "amount": 2500, "amount_refunded": 2500, "currency": "eur",
            "payment_intent": "pi_99", "refunded": true, "metadata": {},
        });
        object.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        object
    };
    vec![
        // Another product on the same account.
        (AUTHORIZED, intent(json!({}))),
        (AUTHORIZED, intent(json!({"metadata": null}))),
        (AUTHORIZED, intent(json!({"metadata": {"room": "12B"}}))),
        (AUTHORIZED, intent(json!({"metadata": {"room": 7, "order": "A-1"}}))),
        (AUTHORIZED, intent(json!({"metadata": {"room": Uuid::now_v7()}}))),
        (CAPTURED, intent(json!({"status": "succeeded"}))),
        (CAPTURED, intent(json!({"amount_received": null}))),
        (RELEASED, intent(json!({"status": "canceled", "currency": null}))),
        (REFUNDED, charge(json!({}))),
        (REFUNDED, charge(json!({"payment_intent": null}))),
        (REFUNDED, charge(json!({"payment_intent": {"id": "pi_99"}}))),
        // Null, missing, and foreign shapes.
        (AUTHORIZED, Value::Null),
        (AUTHORIZED, json!([])),
        (AUTHORIZED, json!({})),
        (CAPTURED, json!({"id": null, "amount_received": null, "currency": null, "metadata": null})),
        (CAPTURED, intent(json!({"amount_received": "2500"}))),
        (CAPTURED, intent(json!({"amount_received": -1}))),
        (CAPTURED, intent(json!({"amount_received": 25.5}))),
        (RELEASED, intent(json!({"id": "a/../b"}))),
        (RELEASED, intent(json!({"id": "x".repeat(5_000)}))),
        (REFUNDED, charge(json!({"currency": ""}))),
        // A part of this hub's own payment, or another amount or currency.
        (REFUNDED, charge(json!({"payment_intent": id, "amount_refunded": 500, "refunded": false}))),
        (REFUNDED, charge(json!({"payment_intent": id, "amount_refunded": 500}))),
        (CAPTURED, intent(json!({"id": id, "amount_received": 1000}))),
        (AUTHORIZED, intent(json!({"id": id, "amount": 2501}))),
        (AUTHORIZED, intent(json!({"id": id, "currency": "usd"}))),
        (AUTHORIZED, intent(json!({"id": id, "status": "succeeded"}))),
        // A second intent for a room that has one.
        (AUTHORIZED, intent(json!({"id": "pi_98", "metadata": {"room": room}}))),
        // Kinds that the hub does not apply.
        ("payment_intent.created", intent(json!({"id": id, "status": "requires_payment_method"}))),
        ("payment_intent.processing", intent(json!({"id": id, "status": "processing"}))),
        ("payment_intent.requires_action", intent(json!({"id": id, "status": "requires_action"}))),
        ("payment_intent.partially_funded", intent(json!({"id": id}))),
        ("payment_intent.payment_failed", intent(json!({"id": id, "last_payment_error": {"code": "card_declined"}}))),
        ("charge.captured", charge(json!({"payment_intent": id}))),
        ("charge.failed", charge(json!({"payment_intent": id}))),
        ("charge.succeeded", charge(json!({"payment_intent": id}))),
        ("charge.updated", charge(json!({"payment_intent": id}))),
        ("charge.refund.updated", json!({"id": "re_1", "object": "refund", "payment_intent": id, "status": "pending"})),
        ("charge.dispute.created", json!({"id": "dp_1", "object": "dispute", "payment_intent": id})),
        ("refund.created", json!({"id": "re_1", "object": "refund", "payment_intent": id, "status": "pending"})),
        ("customer.created", json!({"id": "cus_1", "object": "customer"})),
        ("invoice.paid", json!({"id": "in_1", "object": "invoice", "metadata": {"room": room}})),
        ("checkout.session.completed", json!({"id": "cs_1", "payment_intent": id, "metadata": {"room": room}})),
        ("v2.core.event_destination.ping", Value::Null),
        ("", json!({"id": id})),
    ]
}

async fn signed_events_of_others_are_accepted_without_effect(database: DatabaseSettings) {
    let (clinic, provider, room, id) = start(database).await;
    let before = head(&clinic, room).await;
    for (number, (kind, object)) in events_of_others(&id, room).into_iter().enumerate() {
        let event = json!({"id": format!("evt_x{number}"), "type": kind, "data": {"object": object}}).to_string();
        let answer = clinic.send_webhook_now("payment", SECRET, &event).await;
        assert_eq!((answer.status.as_u16(), answer.ok()), (200, json!({"taken": false})), "{event}");
    }
    for whole in [json!({"id": "evt_y1"}), json!({"id": "evt_y2", "type": null, "data": null})] {
        let answer = clinic.send_webhook_now("payment", SECRET, &whole.to_string()).await;
        assert_eq!(answer.ok(), json!({"taken": false}), "{whole}");
    }
    assert_eq!(head(&clinic, room).await, before);
    assert_eq!(clinic.states(room).await.1, "pending");
    let event = provider.event("evt_1", AUTHORIZED, &id);
    assert_eq!(clinic.send_webhook_now("payment", SECRET, &event).await.ok(), json!({"taken": true}));
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
    signed_events_of_others_are_accepted_without_effect
    unknown_and_malformed_webhooks_get_the_documented_answer
    webhook_that_overtakes_the_response_is_accepted
}
