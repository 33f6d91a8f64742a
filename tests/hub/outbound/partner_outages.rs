//! What a partner's bad days cost rooms at work, in one run: good and bad moments alternate, so that both are seen on the
//! same machine in the same minutes. Nothing is lost or asked for twice. It is short unless it is to measure:
//! `WARDROOM_TEST_MOMENT_S=6 cargo test --test hub -- --nocapture a_partners_bad_minutes` takes five minutes and prints
//! the ratios of both p99.

use std::time::{Duration, Instant};

use rooms::command::{Chat, Command};
use rooms::event::Thread;
use rooms::id::RoomId;
use rooms::text::Prose;
use wardroom::store::dispatches::{DispatchState, Sink};

use crate::support::database::Database;
use crate::support::provider::{Mood, Provider};
use crate::support::till::Till;

/// Rooms in which somebody writes all the time.
const ROOMS: usize = 16;
const PAUSE: Duration = Duration::from_millis(40);

/// Writes in a room until `end`, and says how long each message took.
async fn write(till: &Till, room: RoomId, end: Instant) -> Vec<Duration> {
    let mut times = Vec::new();
    while Instant::now() < end {
        let (text, begun) = (Prose::parse("a word").unwrap(), Instant::now());
        let chat = Command::Chat(Chat { text, thread: Thread::Care });
        till.clinic().submit(room, &till.patient, chat).await.unwrap();
        times.push(begun.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    times
}

/// Books until `end`: each booking asks the partner for something.
async fn book(till: &Till, end: Instant, booked: &mut Vec<RoomId>) {
    while Instant::now() < end {
        booked.push(till.book_slot(till.slot(Duration::from_secs(86_400)).await).await);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn p99(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() * 99 / 100]
}

/// How long the partner is in one mood, and how many good and bad moments there are of each bad mood.
fn moments() -> (Duration, usize) {
    match std::env::var("WARDROOM_TEST_MOMENT_S").ok().and_then(|text| text.parse().ok()) {
        Some(seconds) => (Duration::from_secs(seconds), 5),
        None => (Duration::from_millis(800), 1),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partners_bad_minutes_cost_no_room_anything_and_lose_nothing() {
    let (moment, pairs) = moments();
    let (database, provider) = (Database::sqlite(), Provider::start().await);
    let settings = provider.settings();
    let till = Till::start(database.settings(), |config| {
        config.payment = settings;
        // Nothing ends by the clock while this runs.
        config.policy.hold_s = 86_400;
        config.limits.requests_per_second = 10_000;
    })
    .await;
    let mut booked = Vec::new();
    let mut rooms = Vec::new();
    for _ in 0..ROOMS {
        rooms.push(till.book_slot(till.slot(Duration::from_secs(86_400)).await).await);
    }
    for mood in [Mood::Down, Mood::Slow, Mood::Flapping, Mood::Garbage, Mood::Forgetful] {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for at in 0..pairs * 2 {
            let times = if at % 2 == 0 { &mut good } else { &mut bad };
            provider.mood(if at % 2 == 0 { Mood::Good } else { mood });
            let end = Instant::now() + moment;
            let writing = futures_util::future::join_all(rooms.iter().map(|room| write(&till, *room, end)));
            let (written, ()) = tokio::join!(writing, book(&till, end, &mut booked));
            times.extend(written.into_iter().flatten());
        }
        let (count, good, bad) = (good.len() + bad.len(), p99(&mut good), p99(&mut bad));
        let ratio = bad.as_secs_f64() / good.as_secs_f64();
        println!("{mood:?}: {count} messages, p99 {good:?} and {bad:?}, ratio {ratio:.2}");
    }
    provider.mood(Mood::Good);
    till.settled(Sink::Payment).await;
    for room in rooms.iter().chain(&booked) {
        assert_eq!(provider.intents(&room.to_string()).len(), 1, "asked for once");
    }
    println!("{} bookings, {} calls of the provider", rooms.len() + booked.len(), provider.calls().len());
    assert_eq!(till.lanes(Sink::Payment).await, [(DispatchState::Done, (rooms.len() + booked.len()) as u64)]);
    assert_eq!(provider.faults(), Vec::<String>::new());
}
