//! What a partner's outages cost rooms in use. Good and bad periods alternate in one run, so that both are measured
//! on the same machine in the same minutes. Nothing is lost or requested twice.
//!
//! The test is short unless it is to measure: `WARDROOM_TEST_MOMENT_S=6 cargo test --test hub -- --nocapture
//! partner_outages` takes five minutes and prints what it measured.

use std::time::{Duration, Instant};

use rooms::command::{Chat, Command};
use rooms::id::RoomId;
use rooms::party::Thread;
use rooms::text::Prose;
use wardroom::store::dispatches::{DispatchState, Sink};

use crate::support::database::Database;
use crate::support::paid_clinic::PaidClinic;
use crate::support::payment_stub::{Behaviour, PaymentStub};

/// Rooms in constant use.
const ROOM_COUNT: usize = 16;
const MESSAGE_INTERVAL: Duration = Duration::from_millis(40);

/// Writes in a room until `end` and returns how long each message took.
async fn write(clinic: &PaidClinic, room: RoomId, end: Instant) -> Vec<Duration> {
    let mut times = Vec::new();
    while Instant::now() < end {
        let (text, started) = (Prose::parse("a word").unwrap(), Instant::now());
        let chat = Command::Chat(Chat { text, thread: Thread::Care });
        clinic.server().submit(room, &clinic.patient, chat).await.unwrap();
        times.push(started.elapsed());
        tokio::time::sleep(MESSAGE_INTERVAL).await;
    }
    times
}

/// Books until `end`; each booking causes requests to the partner.
async fn book(clinic: &PaidClinic, end: Instant, booked: &mut Vec<RoomId>) {
    while Instant::now() < end {
        booked.push(clinic.book_slot(clinic.slot(Duration::from_secs(86_400)).await).await);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn p99(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() * 99 / 100]
}

/// Returns the length of a period, and how many good and bad periods there are of each behaviour.
fn periods() -> (Duration, usize) {
    match std::env::var("WARDROOM_TEST_MOMENT_S").ok().and_then(|text| text.parse().ok()) {
        Some(seconds) => (Duration::from_secs(seconds), 5),
        None => (Duration::from_millis(800), 1),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partner_outages_do_not_slow_rooms_or_lose_requests() {
    let (moment, pairs) = periods();
    let (database, provider) = (Database::sqlite(), PaymentStub::start().await);
    let settings = provider.settings();
    let clinic = PaidClinic::start(database.settings(), |config| {
        config.payment = settings;
        // No deadline expires during the run.
        config.policy.hold_s = 86_400;
        config.limits.requests_per_second = 10_000;
    })
    .await;
    let mut booked = Vec::new();
    let mut rooms = Vec::new();
    for _ in 0..ROOM_COUNT {
        rooms.push(clinic.book_slot(clinic.slot(Duration::from_secs(86_400)).await).await);
    }
    for behaviour in
        [Behaviour::Down, Behaviour::Slow, Behaviour::Flapping, Behaviour::Garbage, Behaviour::DropsResponses]
    {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for at in 0..pairs * 2 {
            let times = if at % 2 == 0 { &mut good } else { &mut bad };
            provider.behave(if at % 2 == 0 { Behaviour::Normal } else { behaviour });
            let end = Instant::now() + moment;
            let writing = futures_util::future::join_all(rooms.iter().map(|room| write(&clinic, *room, end)));
            let (written, ()) = tokio::join!(writing, book(&clinic, end, &mut booked));
            times.extend(written.into_iter().flatten());
        }
        let (count, good, bad) = (good.len() + bad.len(), p99(&mut good), p99(&mut bad));
        let ratio = bad.as_secs_f64() / good.as_secs_f64();
        println!("{behaviour:?}: {count} messages, p99 {good:?} and {bad:?}, ratio {ratio:.2}");
    }
    provider.behave(Behaviour::Normal);
    clinic.wait_until_settled(Sink::Payment).await;
    for room in rooms.iter().chain(&booked) {
        assert_eq!(provider.intents(&room.to_string()).len(), 1, "each intent is requested once");
    }
    println!("{} bookings, {} requests to the provider", rooms.len() + booked.len(), provider.calls().len());
    assert_eq!(
        clinic.delivery_counts(Sink::Payment).await,
        [(DispatchState::Done, (rooms.len() + booked.len()) as u64)]
    );
    assert_eq!(provider.violations(), Vec::<String>::new());
}
