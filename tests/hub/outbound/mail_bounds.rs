//! Mail that would harm: a bad address does not hold up the others, nobody is flooded, and each appointment is reminded of
//! once, however often it moves.

use std::time::{Duration, Instant};

use rooms::command::{Command, Reschedule};
use rooms::id::{RoomId, UserId};
use rooms::role::Role;
use rooms::text::Text;
use serde_json::{Value, json};
use uuid::Uuid;
use wardroom::config::{DatabaseSettings, MailProvider};
use wardroom::outbound::breaker::BreakerState;
use wardroom::store::dispatches::{DispatchState, Sink, Wish};
use wardroom::store::users::{Status, User};

use crate::support::both;
use crate::support::mail_stub::MailStub;
use crate::support::paid_clinic::{PaidClinic, eventually};

const ONE_DAY: Duration = Duration::from_secs(86_400);

/// Starts a clinic with a mail server.
async fn with_mail_server(database: DatabaseSettings) -> (PaidClinic, MailStub) {
    let server = MailStub::start().await;
    let url = format!("smtp://{}", server.address);
    let clinic = PaidClinic::free(database, |config| {
        config.mail.provider = Some(MailProvider::Smtp(url.into()));
        config.mail.from = "Wardroom <no-reply@clinic.example>".to_owned();
    })
    .await;
    (clinic, server)
}

/// Creates an account as it may be stored from before today's rules.
async fn account(clinic: &PaidClinic, email: &str, name: &str) -> UserId {
    let (id, now) = (UserId(Uuid::now_v7()), clinic.server().state.clock.now());
    let user = User {
        id,
        email: email.to_owned(),
        name: Text::stored(name).unwrap(),
        role: Role::Patient,
        status: Status::Active,
        pharmacy: None,
        specialty: None,
        languages: None,
        created_at: now,
        changed_at: now,
        password_hash: "-".into(),
    };
    assert!(clinic.server().state.store.insert_user(&user).await.unwrap());
    id
}

/// Enqueues a mail that is true of any room.
async fn enqueue(clinic: &PaidClinic, room: RoomId, to: UserId, seq: u64) {
    let state = &clinic.server().state;
    let due_at = state.clock.now();
    let mail = Wish {
        sink: Sink::Mail,
        lane: "smtp".to_owned(),
        target: to.to_string(),
        room,
        seq,
        kind: "receipt".to_owned(),
        body: String::new(),
        due_at,
    };
    state.store.enqueue(&[mail], due_at, Uuid::now_v7).await.unwrap();
}

/// Books a slot this far ahead.
async fn book(clinic: &PaidClinic, ahead: Duration) -> RoomId {
    let slot = clinic.slot(ahead).await;
    let booked = clinic.rest.post("/v1/bookings").bearer(&clinic.token).json(json!({"slot": slot})).send().await.ok();
    let room: RoomId = serde_json::from_value(booked["room"].clone()).unwrap();
    let confirm = clinic.rest.post(&format!("/v1/bookings/{room}/confirm")).bearer(&clinic.token).json(json!({}));
    confirm.send().await.ok();
    room
}

async fn good_mail_arrives_within_ten_seconds_beside_six_bad_ones(database: DatabaseSettings) {
    let (clinic, server) = with_mail_server(database).await;
    let room = book(&clinic, Duration::from_secs(1800)).await;
    eventually("the first mail", async || (server.received().len() == 1).then_some(())).await;
    // Those that the server cannot take or defers, and those that are no addresses.
    let bad = [
        "jos\u{e9}@example.org",
        "zo\u{eb}@example.org",
        "user@ex\u{e4}mple.org",
        "user@b\u{fc}cher.example",
        "full@example.org",
        "busy@example.org",
        "user..name@example.org",
        "a,b@example.org",
        "user@example..org",
    ];
    server.defer("full");
    server.defer("busy");
    for email in bad {
        let user = account(&clinic, email, "A patient").await;
        enqueue(&clinic, room, user, 1).await;
    }
    // Far from the time of the second attempts, so that each bad mail has failed once or for good.
    let failed = async || {
        let counts = clinic.delivery_counts(Sink::Mail).await;
        counts.iter().all(|(state, _)| *state != DispatchState::Sending).then_some(counts)
    };
    eventually("all have been tried", failed).await;
    let started = Instant::now();
    let user = account(&clinic, "good@example.org", "A patient").await;
    enqueue(&clinic, room, user, 1).await;
    eventually("the good mail", async || (server.received().len() == 2).then_some(())).await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(server.received()[1].to, "good@example.org");
    let breaker = clinic.server().state.destinations.breaker_state(Sink::Mail, "smtp", Instant::now());
    assert_eq!(breaker, BreakerState::Closed);
}

async fn an_address_gets_at_most_twenty_mails_within_a_day(database: DatabaseSettings) {
    let (clinic, server) = with_mail_server(database).await;
    let name = "Your account is locked: visit http://evil.example";
    let victim = account(&clinic, "victim@example.org", name).await;
    let room = book(&clinic, Duration::from_secs(1800)).await;
    for seq in 1..=30 {
        enqueue(&clinic, room, victim, seq).await;
    }
    clinic.wait_until_settled(Sink::Mail).await;
    let to_victim = || server.received().into_iter().filter(|mail| mail.to == "victim@example.org").collect::<Vec<_>>();
    assert_eq!(to_victim().len(), 20);
    for mail in to_victim() {
        assert!(!mail.data.contains("evil") && !mail.data.contains("locked"), "{}", mail.data);
    }
    clinic.advance_clock(ONE_DAY);
    enqueue(&clinic, room, victim, 31).await;
    clinic.wait_until_settled(Sink::Mail).await;
    assert_eq!(to_victim().len(), 21, "a day later there is room again");
}

async fn appointment_moved_away_and_back_is_reminded_of_once(database: DatabaseSettings) {
    let clinic = PaidClinic::free(database, |_| {}).await;
    let room = book(&clinic, 2 * ONE_DAY).await;
    let first = clinic.snapshot(room).await.consultation.unwrap().slot.unwrap().id;
    let other = clinic.slot(2 * ONE_DAY).await;
    for slot in [other, first] {
        let reschedule = Command::Reschedule(Reschedule { slot });
        clinic.server().submit(room, &clinic.patient, reschedule).await.unwrap();
    }
    let queued = async || {
        (clinic.delivery_counts(Sink::Mail).await.iter().map(|(_, count)| count).sum::<u64>() == 6).then_some(())
    };
    eventually("three mails and three reminders", queued).await;
    clinic.advance_clock(ONE_DAY + Duration::from_secs(1_200));
    clinic.wait_until_settled(Sink::Mail).await;
    let admin = clinic.server().token(&clinic.admin).0;
    let reminders = async || {
        let list: Value = clinic.rest.get("/v1/sandbox/mail").bearer(&admin).send().await.ok();
        let items = list["items"].as_array().unwrap().clone();
        items.iter().filter(|mail| mail["subject"] == "Your appointment is coming up").count()
    };
    assert_eq!(reminders().await, 1);
    let counts = clinic.delivery_counts(Sink::Mail).await;
    assert!(!counts.iter().any(|(state, _)| *state == DispatchState::Dead), "{counts:?}");
}

both! {
    good_mail_arrives_within_ten_seconds_beside_six_bad_ones
    an_address_gets_at_most_twenty_mails_within_a_day
    appointment_moved_away_and_back_is_reminded_of_once
}
