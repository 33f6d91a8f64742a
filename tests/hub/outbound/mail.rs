//! Mail: each letter once, in the person's language, with nothing clinical in it.

use std::time::Duration;

use rooms::command::{Command, Reason, Reschedule};
use rooms::id::RoomId;
use rooms::text::Prose;
use serde_json::{Value, json};
use wardroom::config::{DatabaseSettings, MailProvider};
use wardroom::store::dispatches::{DispatchState, Sink};

use crate::support::both;
use crate::support::mailbox::{Greeting, Mailbox};
use crate::support::till::{Till, eventually};

const DAY: Duration = Duration::from_secs(86_400);

/// What is in the folder, oldest first: to whom, subject, and everything that is written.
async fn folder(till: &Till) -> Vec<Value> {
    let admin = till.clinic().token(&till.admin).0;
    let mut mails = till.rest.get("/v1/sandbox/mail").by(&admin).send().await.ok()["items"].as_array().unwrap().clone();
    mails.reverse();
    mails
}

fn subjects(mails: &[Value]) -> Vec<&str> {
    mails.iter().map(|mail| mail["subject"].as_str().unwrap()).collect()
}

/// Waits for so many mails.
async fn mails(till: &Till, count: usize) -> Vec<Value> {
    eventually("mail", async || Some(folder(till).await).filter(|mails| mails.len() >= count)).await
}

/// Books a slot so far ahead, with a reason that nobody but the doctor is to read.
async fn book(till: &Till, ahead: Duration) -> RoomId {
    let slot = till.slot(ahead).await;
    let booking = json!({"slot": slot, "reason": "a cough"});
    let booked = till.rest.post("/v1/bookings").by(&till.token).json(booking).send().await.ok();
    serde_json::from_value(booked["room"].clone()).unwrap()
}

async fn confirm(till: &Till, room: RoomId) {
    let confirm = till.rest.post(&format!("/v1/bookings/{room}/confirm")).by(&till.token).json(json!({}));
    confirm.send().await.ok();
}

async fn pay(till: &Till, room: RoomId) {
    let page = till.checkout(room).await;
    let path = format!("/v1/sandbox/payments/{}", page.rsplit('/').next().unwrap());
    till.rest.call("post", &path).json(json!({"action": "pay"})).send().await.ok();
}

async fn every_letter_comes_once_in_the_persons_language_and_says_nothing_clinical(database: DatabaseSettings) {
    let till = Till::start(database, |config| config.mail.offset_minutes = 540).await;
    let chosen =
        till.rest.call("put", "/v1/me/language").key("the-language").by(&till.token).json(json!({"language": "ko"}));
    assert_eq!(chosen.send().await.ok(), json!({"language": "ko"}));
    let room = book(&till, 3 * DAY).await;
    pay(&till, room).await;
    assert_eq!(subjects(&mails(&till, 1).await), ["예약이 확정되었습니다"]);
    till.skip(2 * DAY + Duration::from_secs(60));
    assert_eq!(subjects(&mails(&till, 2).await)[1], "상담 시간이 다가옵니다");
    till.complete(room).await;
    till.until(room, "completed", "captured").await;
    let all = mails(&till, 3).await;
    assert_eq!(subjects(&all), ["예약이 확정되었습니다", "상담 시간이 다가옵니다", "영수증"]);
    assert!(all[2]["text"].as_str().unwrap().contains("25.00 EUR"));
    let starts_at = till.look(room).await.consultation.unwrap().slot.unwrap().starts_at;
    let local = (starts_at.utc() + chrono::TimeDelta::hours(9)).format("%H:%M (UTC+9)").to_string();
    for mail in &all {
        let whole = mail.to_string();
        assert!(whole.contains(&format!("/#/room/{room}")) && whole.contains(&local), "{whole}");
        assert_eq!(mail["to"], format!("{}@example.org", till.patient.user().unwrap()));
        for secret in ["cough", "secret diagnosis", "Dr Discreet", "Testamol"] {
            assert!(!whole.contains(secret), "{secret}: {whole}");
        }
    }
    // Nothing more comes, however long one waits.
    till.skip(DAY);
    till.settled(Sink::Mail).await;
    assert_eq!(folder(&till).await.len(), 3);
}

async fn two_hubs_over_one_database_remind_once(database: DatabaseSettings) {
    let here = Till::free(database.clone(), |_| {}).await;
    let there = Till::free(database, |_| {}).await;
    let room = book(&here, 2 * DAY).await;
    confirm(&here, room).await;
    let total = async || folder(&here).await.len() + folder(&there).await.len();
    eventually("booked", async || (total().await == 1).then_some(())).await;
    here.skip(DAY + Duration::from_secs(60));
    there.skip(DAY + Duration::from_secs(60));
    eventually("reminded", async || (total().await >= 2).then_some(())).await;
    // Not by going on in time: on one node alone that would look as if the other had died with it.
    let done =
        async || here.lanes(Sink::Mail).await.iter().all(|(state, _)| *state == DispatchState::Done).then_some(());
    eventually("nothing is under way", done).await;
    assert_eq!(total().await, 2, "each once");
}

async fn nobody_is_reminded_of_what_was_cancelled_or_moved(database: DatabaseSettings) {
    let till = Till::free(database, |_| {}).await;
    let cancelled = book(&till, 2 * DAY).await;
    confirm(&till, cancelled).await;
    let moved = book(&till, 2 * DAY).await;
    confirm(&till, moved).await;
    mails(&till, 2).await;
    let reason = Prose::parse("better").unwrap();
    till.clinic().submit(cancelled, &till.patient, Command::Cancel(Reason { reason })).await.unwrap();
    // An hour sooner: the first reminder would still be of an appointment that is ahead.
    let sooner = till.slot(2 * DAY - Duration::from_secs(3600)).await;
    let reschedule = Command::Reschedule(Reschedule { slot: sooner });
    till.clinic().submit(moved, &till.patient, reschedule).await.unwrap();
    mails(&till, 3).await;
    till.skip(DAY + Duration::from_secs(1200));
    let all = mails(&till, 4).await;
    let booked = "Your appointment is booked";
    assert_eq!(subjects(&all), [booked, booked, "Your appointment has moved", "Your appointment is near"]);
    assert!(all[3].to_string().contains(&moved.to_string()));
    till.settled(Sink::Mail).await;
    assert_eq!(folder(&till).await.len(), 4);
    till.skip(2 * DAY);
    till.settled(Sink::Mail).await;
    assert_eq!(folder(&till).await.len(), 4);
}

async fn a_consultation_that_is_near_when_it_is_booked_needs_no_reminder(database: DatabaseSettings) {
    let till = Till::free(database, |_| {}).await;
    let room = book(&till, Duration::from_secs(1800)).await;
    confirm(&till, room).await;
    mails(&till, 1).await;
    till.settled(Sink::Mail).await;
    assert_eq!(till.lanes(Sink::Mail).await, [(DispatchState::Done, 1)]);
}

async fn mail_goes_by_smtp_is_tried_again_when_put_off_and_given_up_when_refused(database: DatabaseSettings) {
    let mailbox = Mailbox::start().await;
    let url = format!("smtp://{}", mailbox.address);
    let till = Till::free(database, |config| {
        config.mail.provider = Some(MailProvider::Smtp(url.into()));
        config.mail.from = "Wardroom <no-reply@clinic.example>".to_owned();
    })
    .await;
    mailbox.greet(Greeting::Later);
    let room = book(&till, Duration::from_secs(1800)).await;
    confirm(&till, room).await;
    eventually("put off", async || (mailbox.tries() >= 1).then_some(())).await;
    mailbox.greet(Greeting::Welcome);
    till.settled(Sink::Mail).await;
    let taken = mailbox.taken();
    assert_eq!(taken.len(), 1);
    let mail = &taken[0];
    assert_eq!(mail.from, "no-reply@clinic.example");
    assert_eq!(mail.to, format!("{}@example.org", till.patient.user().unwrap()));
    for part in ["Subject: Your appointment is booked", "text/plain", "text/html", "Message-ID: <"] {
        assert!(mail.data.contains(part), "{part}: {}", mail.data);
    }
    mailbox.greet(Greeting::Never);
    let room = book(&till, Duration::from_secs(1800)).await;
    confirm(&till, room).await;
    let dead = async || till.lanes(Sink::Mail).await.contains(&(DispatchState::Dead, 1)).then_some(());
    eventually("given up", dead).await;
    assert_eq!(mailbox.taken().len(), 1);
    // No folder where a server is set.
    let admin = till.clinic().token(&till.admin).0;
    till.rest.get("/v1/sandbox/mail").by(&admin).send().await.refused(404, "not_found");
}

both! {
    every_letter_comes_once_in_the_persons_language_and_says_nothing_clinical
    two_hubs_over_one_database_remind_once
    nobody_is_reminded_of_what_was_cancelled_or_moved
    a_consultation_that_is_near_when_it_is_booked_needs_no_reminder
    mail_goes_by_smtp_is_tried_again_when_put_off_and_given_up_when_refused
}
