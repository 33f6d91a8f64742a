//! An HTTP payment provider: requests follow its API, take effect once however often they are retried, and its
//! outages do not affect rooms.

use std::time::Duration;

use rooms::command::{Chat, Command, Reason};
use rooms::id::RoomId;
use rooms::party::Thread;
use rooms::text::Prose;
use serde_json::json;
use tokio::time::Instant;
use wardroom::config::DatabaseSettings;
use wardroom::store::dispatches::{DispatchState, Sink};

use crate::support::both;
use crate::support::paid_clinic::{PaidClinic, eventually};
use crate::support::payment_stub::{Behaviour, PaymentStub, SECRET};
use crate::support::stall_detector::running_time_since;

async fn start(database: DatabaseSettings) -> (PaidClinic, PaymentStub) {
    let provider = PaymentStub::start().await;
    let settings = provider.settings();
    (PaidClinic::start(database, |config| config.payment = settings).await, provider)
}

/// Returns a room's only intent.
fn intent(provider: &PaymentStub, room: RoomId) -> (String, &'static str, bool) {
    let intents = provider.intents(&room.to_string());
    assert_eq!(intents.len(), 1, "{intents:?}");
    let (id, intent) = intents.into_iter().next().unwrap();
    assert_eq!((intent.amount, intent.currency.as_str()), (2500, "eur"));
    (id, intent.status, intent.refunded)
}

/// Pays on the provider's page, which triggers its webhook.
async fn pay(clinic: &PaidClinic, provider: &PaymentStub, room: RoomId) -> String {
    clinic.checkout_url(room).await;
    let (id, _, _) = intent(provider, room);
    provider.pay(&id);
    let event = provider.event(&format!("evt_paid_{id}"), "payment_intent.amount_capturable_updated", &id);
    assert_eq!(clinic.send_webhook_now("payment", SECRET, &event).await.ok(), json!({"taken": true}));
    id
}

async fn requests_follow_the_providers_api_for_every_outcome(database: DatabaseSettings) {
    let (clinic, provider) = start(database).await;
    let completed = clinic.book().await;
    let page = clinic.checkout_url(completed).await;
    let id = pay(&clinic, &provider, completed).await;
    assert_eq!(page, format!("https://pay.example.org/{id}"));
    assert_eq!(clinic.states(completed).await, ("booked", "authorized"));
    clinic.complete(completed).await;
    clinic.wait_until(completed, "completed", "captured").await;
    assert_eq!(intent(&provider, completed).1, "succeeded");

    let cancelled = clinic.book_slot(clinic.slot(Duration::from_secs(7200)).await).await;
    pay(&clinic, &provider, cancelled).await;
    let reason = Prose::parse("no").unwrap();
    clinic.server().submit(cancelled, &clinic.doctor, Command::Cancel(Reason { reason })).await.unwrap();
    clinic.wait_until(cancelled, "cancelled", "refunded").await;
    assert_eq!(intent(&provider, cancelled).1, "canceled");

    // Captured already, and then entered in error: refunded.
    let reason = || Command::MarkError(Reason { reason: Prose::parse("the wrong patient").unwrap() });
    for name in ["First", "Second"] {
        let admin = clinic.server().person(rooms::role::Role::Admin, name, None).await;
        clinic.server().submit(completed, &admin, reason()).await.unwrap();
    }
    clinic.wait_until(completed, "entered_in_error", "refunded").await;
    assert!(intent(&provider, completed).2);

    let never = clinic.book_slot(clinic.slot(Duration::from_secs(7200 + 1800)).await).await;
    clinic.checkout_url(never).await;
    clinic.advance_clock(Duration::from_secs(301));
    clinic.wait_until(never, "expired", "failed").await;
    assert_eq!(intent(&provider, never).1, "canceled");
    assert_eq!(provider.violations(), Vec::<String>::new());
}

/// Returns the median and the slowest time of a hundred messages in a room.
async fn chat_latencies(clinic: &PaidClinic, room: RoomId) -> (Duration, Duration) {
    let mut times = Vec::new();
    for number in 0..300 {
        let text = Prose::parse(&format!("message {number}")).unwrap();
        let started = Instant::now();
        let chat = Command::Chat(Chat { text, thread: Thread::Care });
        clinic.server().submit(room, &clinic.patient, chat).await.unwrap();
        times.push(running_time_since(started));
    }
    times.sort();
    (times[150], times[297])
}

async fn provider_outage_does_not_affect_rooms_and_loses_nothing(database: DatabaseSettings) {
    let (clinic, provider) = start(database).await;
    let mut room = clinic.book().await;
    pay(&clinic, &provider, room).await;
    let (good, good_slowest) = chat_latencies(&clinic, room).await;
    for (number, behaviour) in
        [Behaviour::Down, Behaviour::Slow, Behaviour::Garbage, Behaviour::Flapping, Behaviour::DropsResponses]
            .into_iter()
            .enumerate()
    {
        clinic.complete(room).await;
        clinic.wait_until(room, "completed", "captured").await;
        provider.behave(behaviour);
        room = clinic.book_slot(clinic.slot(Duration::from_secs(600 + 1800 * number as u64)).await).await;
        let (bad, bad_slowest) = chat_latencies(&clinic, room).await;
        // Far above any noise, and far below what waiting for the partner would cost.
        let bound = |good: Duration| good * 5 + Duration::from_millis(100);
        assert!(bad < bound(good), "{behaviour:?}: {bad:?}, without a partner {good:?}");
        assert!(
            bad_slowest < bound(good_slowest),
            "{behaviour:?}: {bad_slowest:?}, without a partner {good_slowest:?}"
        );
        if behaviour != Behaviour::Flapping {
            let failing = async || {
                let lanes = clinic.server().state.store.lanes().await.unwrap();
                let waits = lanes.iter().find(|it| it.sink == Sink::Payment && it.state == DispatchState::Waiting);
                waits.map(drop)
            };
            eventually("an attempt has failed", failing).await;
        }
        provider.behave(Behaviour::Normal);
        clinic.wait_until_settled(Sink::Payment).await;
        // However often it was asked, the provider has one intent, and the payment proceeds normally.
        let (id, _, _) = intent(&provider, room);
        provider.pay(&id);
        let event = provider.event(&format!("evt_{id}"), "payment_intent.amount_capturable_updated", &id);
        clinic.send_webhook_now("payment", SECRET, &event).await.ok();
        clinic.wait_until(room, "booked", "authorized").await;
    }
    assert_eq!(provider.violations(), Vec::<String>::new());
    let lanes = clinic.delivery_counts(Sink::Payment).await;
    assert!(lanes.iter().all(|(state, _)| matches!(state, DispatchState::Done | DispatchState::Dropped)), "{lanes:?}");
}

async fn breaker_stops_requests_to_a_provider_that_is_down(database: DatabaseSettings) {
    let (clinic, provider) = start(database).await;
    provider.behave(Behaviour::Down);
    for number in 0..12 {
        clinic.book_slot(clinic.slot(Duration::from_secs(600 + 1800 * number)).await).await;
    }
    eventually("five attempts have failed", async || (provider.calls().len() >= 5).then_some(())).await;
    let state = || clinic.server().state.destinations.breaker_state(Sink::Payment, "http", Instant::now().into_std());
    eventually("the breaker is open", async || {
        (state() == wardroom::outbound::breaker::BreakerState::Open).then_some(())
    })
    .await;
    let (before, since) = (provider.calls().len(), Instant::now());
    while since.elapsed() < Duration::from_secs(3) && state() == wardroom::outbound::breaker::BreakerState::Open {
        clinic.advance_clock(Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let asked = provider.calls().len() - before;
    assert!(asked <= 8, "only attempts in flight, and no further ones: {asked}");
}

async fn obsolete_requests_are_not_sent_after_recovery(database: DatabaseSettings) {
    let (clinic, provider) = start(database).await;
    provider.behave(Behaviour::Down);
    let room = clinic.book().await;
    eventually("the provider received the request", async || (!provider.calls().is_empty()).then_some(())).await;
    clinic.advance_clock(Duration::from_secs(301));
    clinic.wait_until(room, "expired", "failed").await;
    provider.behave(Behaviour::Normal);
    clinic.wait_until_settled(Sink::Payment).await;
    assert!(provider.intents(&room.to_string()).is_empty(), "{:?}", provider.calls());
    assert_eq!(clinic.delivery_counts(Sink::Payment).await, [(DispatchState::Done, 1), (DispatchState::Dropped, 1)]);
}

async fn refused_capture_reads_the_intent_and_lost_checkout_recovers_by_webhook(database: DatabaseSettings) {
    let (clinic, provider) = start(database).await;
    let room = clinic.book().await;
    let id = pay(&clinic, &provider, room).await;
    clinic.complete(room).await;
    clinic.wait_until(room, "completed", "captured").await;
    // Somebody refunded with the provider's own tools; the hub records that and does nothing more.
    let refunded = provider.event("evt_refund", "charge.refunded", &id);
    assert_eq!(clinic.send_webhook_now("payment", SECRET, &refunded).await.ok(), json!({"taken": true}));
    assert_eq!(clinic.states(room).await, ("completed", "refunded"));
    let calls = provider.calls();
    assert!(!calls.iter().any(|call| call.what.contains("refunds")), "{calls:?}");

    // Somebody captured before the hub could: its request fails, it reads the intent, and continues.
    let other = clinic.book_slot(clinic.slot(Duration::from_secs(7200)).await).await;
    let id = pay(&clinic, &provider, other).await;
    provider.capture(&id);
    clinic.complete(other).await;
    clinic.wait_until(other, "completed", "captured").await;
    assert!(provider.calls().iter().any(|call| call.what == format!("GET /v1/payment_intents/{id}")));
    assert_eq!(provider.violations(), Vec::<String>::new());
}

both! {
    requests_follow_the_providers_api_for_every_outcome
    provider_outage_does_not_affect_rooms_and_loses_nothing
    breaker_stops_requests_to_a_provider_that_is_down
    obsolete_requests_are_not_sent_after_recovery
    refused_capture_reads_the_intent_and_lost_checkout_recovers_by_webhook
}
