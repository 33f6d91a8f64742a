//! A provider by HTTP: asked as its API says, each thing once however often it must be tried, and of no concern to a
//! room on its bad days.

use std::time::Duration;

use rooms::command::{Chat, Command, Reason};
use rooms::event::Thread;
use rooms::id::RoomId;
use rooms::text::Prose;
use serde_json::json;
use tokio::time::Instant;
use wardroom::config::DatabaseSettings;
use wardroom::store::dispatches::{DispatchState, Sink};

use crate::support::both;
use crate::support::provider::{Mood, Provider, SECRET};
use crate::support::standstill::ran_since;
use crate::support::till::{Till, eventually};

async fn start(database: DatabaseSettings) -> (Till, Provider) {
    let provider = Provider::start().await;
    let settings = provider.settings();
    (Till::start(database, |config| config.payment = settings).await, provider)
}

/// The one intent of a room.
fn intent(provider: &Provider, room: RoomId) -> (String, &'static str, bool) {
    let intents = provider.intents(&room.to_string());
    assert_eq!(intents.len(), 1, "{intents:?}");
    let (id, intent) = intents.into_iter().next().unwrap();
    assert_eq!((intent.amount, intent.currency.as_str()), (2500, "eur"));
    (id, intent.status, intent.refunded)
}

/// The patient pays on the provider's page, and the provider says so.
async fn pay(till: &Till, provider: &Provider, room: RoomId) -> String {
    till.checkout(room).await;
    let (id, _, _) = intent(provider, room);
    provider.pay(&id);
    let event = provider.event(&format!("evt_paid_{id}"), "payment_intent.amount_capturable_updated", &id);
    assert_eq!(till.tell_now("payment", SECRET, &event).await.ok(), json!({"taken": true}));
    id
}

async fn a_provider_is_asked_as_its_api_says_at_each_end_of_a_consultation(database: DatabaseSettings) {
    let (till, provider) = start(database).await;
    let completed = till.book().await;
    let page = till.checkout(completed).await;
    let id = pay(&till, &provider, completed).await;
    assert_eq!(page, format!("https://pay.example.org/{id}"));
    assert_eq!(till.stands(completed).await, ("booked", "authorized"));
    till.complete(completed).await;
    till.until(completed, "completed", "captured").await;
    assert_eq!(intent(&provider, completed).1, "succeeded");

    let cancelled = till.book_slot(till.slot(Duration::from_secs(7200)).await).await;
    pay(&till, &provider, cancelled).await;
    let reason = Prose::parse("no").unwrap();
    till.clinic().submit(cancelled, &till.doctor, Command::Cancel(Reason { reason })).await.unwrap();
    till.until(cancelled, "cancelled", "refunded").await;
    assert_eq!(intent(&provider, cancelled).1, "canceled");

    // Taken already, and then entered in error: paid back.
    let reason = || Command::MarkError(Reason { reason: Prose::parse("the wrong patient").unwrap() });
    for name in ["First", "Second"] {
        let admin = till.clinic().person(rooms::role::Role::Admin, name, None).await;
        till.clinic().submit(completed, &admin, reason()).await.unwrap();
    }
    till.until(completed, "entered_in_error", "refunded").await;
    assert!(intent(&provider, completed).2);

    let never = till.book_slot(till.slot(Duration::from_secs(7200 + 1800)).await).await;
    till.checkout(never).await;
    till.skip(Duration::from_secs(301));
    till.until(never, "expired", "failed").await;
    assert_eq!(intent(&provider, never).1, "canceled");
    assert_eq!(provider.faults(), Vec::<String>::new());
}

/// The time that a room takes for a message, in the middle and for the slowest of a hundred.
async fn talk(till: &Till, room: RoomId) -> (Duration, Duration) {
    let mut times = Vec::new();
    for number in 0..300 {
        let text = Prose::parse(&format!("message {number}")).unwrap();
        let begun = Instant::now();
        let chat = Command::Chat(Chat { text, thread: Thread::Care });
        till.clinic().submit(room, &till.patient, chat).await.unwrap();
        times.push(ran_since(begun));
    }
    times.sort();
    (times[150], times[297])
}

async fn a_partners_bad_day_concerns_no_room_and_loses_nothing(database: DatabaseSettings) {
    let (till, provider) = start(database).await;
    let mut room = till.book().await;
    pay(&till, &provider, room).await;
    let (good, good_slowest) = talk(&till, room).await;
    for (number, mood) in
        [Mood::Down, Mood::Slow, Mood::Garbage, Mood::Flapping, Mood::Forgetful].into_iter().enumerate()
    {
        till.complete(room).await;
        till.until(room, "completed", "captured").await;
        provider.mood(mood);
        room = till.book_slot(till.slot(Duration::from_secs(600 + 1800 * number as u64)).await).await;
        let (bad, bad_slowest) = talk(&till, room).await;
        // Far above any noise, and far below what waiting for the partner would cost.
        let bound = |good: Duration| good * 5 + Duration::from_millis(100);
        assert!(bad < bound(good), "{mood:?}: {bad:?}, without a partner {good:?}");
        assert!(bad_slowest < bound(good_slowest), "{mood:?}: {bad_slowest:?}, without a partner {good_slowest:?}");
        if mood != Mood::Flapping {
            let failing = async || {
                let lanes = till.clinic().state.store.lanes().await.unwrap();
                let waits = lanes.iter().find(|it| it.sink == Sink::Payment && it.state == DispatchState::Waiting);
                waits.map(drop)
            };
            eventually("an attempt has failed", failing).await;
        }
        provider.mood(Mood::Good);
        till.settled(Sink::Payment).await;
        // Asked however often, it has made one intent, and goes on as if nothing had been.
        let (id, _, _) = intent(&provider, room);
        provider.pay(&id);
        let event = provider.event(&format!("evt_{id}"), "payment_intent.amount_capturable_updated", &id);
        till.tell_now("payment", SECRET, &event).await.ok();
        till.until(room, "booked", "authorized").await;
    }
    assert_eq!(provider.faults(), Vec::<String>::new());
    let lanes = till.lanes(Sink::Payment).await;
    assert!(lanes.iter().all(|(state, _)| matches!(state, DispatchState::Done | DispatchState::Dropped)), "{lanes:?}");
}

async fn a_breaker_leaves_a_partner_alone_that_is_down(database: DatabaseSettings) {
    let (till, provider) = start(database).await;
    provider.mood(Mood::Down);
    for number in 0..12 {
        till.book_slot(till.slot(Duration::from_secs(600 + 1800 * number)).await).await;
    }
    eventually("five have failed", async || (provider.calls().len() >= 5).then_some(())).await;
    let state = || till.clinic().state.gateway.lanes().state(Sink::Payment, "http", Instant::now().into_std());
    eventually("it is open", async || (state() == wardroom::gateway::breaker::BreakerState::Open).then_some(())).await;
    let (before, since) = (provider.calls().len(), Instant::now());
    while since.elapsed() < Duration::from_secs(3) && state() == wardroom::gateway::breaker::BreakerState::Open {
        till.skip(Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let asked = provider.calls().len() - before;
    assert!(asked <= 8, "what was under way, and nothing more: {asked}");
}

async fn what_is_no_longer_due_when_the_provider_is_back_is_not_asked_for(database: DatabaseSettings) {
    let (till, provider) = start(database).await;
    provider.mood(Mood::Down);
    let room = till.book().await;
    eventually("it was asked", async || (!provider.calls().is_empty()).then_some(())).await;
    till.skip(Duration::from_secs(301));
    till.until(room, "expired", "failed").await;
    provider.mood(Mood::Good);
    till.settled(Sink::Payment).await;
    assert!(provider.intents(&room.to_string()).is_empty(), "{:?}", provider.calls());
    assert_eq!(till.lanes(Sink::Payment).await, [(DispatchState::Done, 1), (DispatchState::Dropped, 1)]);
}

async fn a_refusal_is_made_up_for_by_what_the_intent_says_and_a_lost_page_by_a_webhook(database: DatabaseSettings) {
    let (till, provider) = start(database).await;
    let room = till.book().await;
    let id = pay(&till, &provider, room).await;
    till.complete(room).await;
    till.until(room, "completed", "captured").await;
    // Somebody gave it back with the provider's own tools; the hub hears of it and does nothing more.
    let refunded = provider.event("evt_refund", "charge.refunded", &id);
    assert_eq!(till.tell_now("payment", SECRET, &refunded).await.ok(), json!({"taken": true}));
    assert_eq!(till.stands(room).await, ("completed", "refunded"));
    let calls = provider.calls();
    assert!(!calls.iter().any(|call| call.what.contains("refunds")), "{calls:?}");

    // Captured by other hands before the hub could: asked, refused, looked at, known.
    let other = till.book_slot(till.slot(Duration::from_secs(7200)).await).await;
    let id = pay(&till, &provider, other).await;
    provider.capture(&id);
    till.complete(other).await;
    till.until(other, "completed", "captured").await;
    assert!(provider.calls().iter().any(|call| call.what == format!("GET /v1/payment_intents/{id}")));
    assert_eq!(provider.faults(), Vec::<String>::new());
}

both! {
    a_provider_is_asked_as_its_api_says_at_each_end_of_a_consultation
    a_partners_bad_day_concerns_no_room_and_loses_nothing
    a_breaker_leaves_a_partner_alone_that_is_down
    what_is_no_longer_due_when_the_provider_is_back_is_not_asked_for
    a_refusal_is_made_up_for_by_what_the_intent_says_and_a_lost_page_by_a_webhook
}
