//! Mail: each letter is sent once, in the recipient's language, and without clinical data.

use std::time::Duration;

use rooms::command::{Command, Reason, Reschedule};
use rooms::id::RoomId;
use rooms::text::Prose;
use serde_json::{Value, json};
use wardroom::config::{DatabaseSettings, MailProvider};
use wardroom::store::dispatches::{DispatchState, Sink};

use crate::support::both;
use crate::support::mail_stub::{MailStub, SmtpReply};
use crate::support::paid_clinic::{PaidClinic, eventually};

const ONE_DAY: Duration = Duration::from_secs(86_400);

/// Returns the mails in the folder, oldest first: recipient, subject, and full text.
async fn folder(clinic: &PaidClinic) -> Vec<Value> {
    let admin = clinic.server().token(&clinic.admin).0;
    let mut mails =
        clinic.rest.get("/v1/sandbox/mail").bearer(&admin).send().await.ok()["items"].as_array().unwrap().clone();
    mails.reverse();
    mails
}

fn subjects(mails: &[Value]) -> Vec<&str> {
    mails.iter().map(|mail| mail["subject"].as_str().unwrap()).collect()
}

/// Waits for this many mails.
async fn mails(clinic: &PaidClinic, count: usize) -> Vec<Value> {
    eventually("mail", async || Some(folder(clinic).await).filter(|mails| mails.len() >= count)).await
}

/// Books a slot this far ahead, with a reason that only the doctor may read.
async fn book(clinic: &PaidClinic, ahead: Duration) -> RoomId {
    let slot = clinic.slot(ahead).await;
    let booking = json!({"slot": slot, "reason": "a cough"});
    let booked = clinic.rest.post("/v1/bookings").bearer(&clinic.token).json(booking).send().await.ok();
    serde_json::from_value(booked["room"].clone()).unwrap()
}

async fn confirm(clinic: &PaidClinic, room: RoomId) {
    let confirm = clinic.rest.post(&format!("/v1/bookings/{room}/confirm")).bearer(&clinic.token).json(json!({}));
    confirm.send().await.ok();
}

async fn pay(clinic: &PaidClinic, room: RoomId) {
    let page = clinic.checkout_url(room).await;
    let path = format!("/v1/sandbox/payments/{}", page.rsplit('/').next().unwrap());
    clinic.rest.call("post", &path).json(json!({"action": "pay"})).send().await.ok();
}

async fn each_letter_is_sent_once_in_the_recipients_language_without_clinical_data(database: DatabaseSettings) {
    let clinic = PaidClinic::start(database, |config| config.clinic.zone = chrono_tz::Tz::Asia__Seoul).await;
    let chosen = clinic
        .rest
        .call("put", "/v1/me/language")
        .key("the-language")
        .bearer(&clinic.token)
        .json(json!({"language": "ko"}));
    assert_eq!(chosen.send().await.ok(), json!({"language": "ko"}));
    let room = book(&clinic, 3 * ONE_DAY).await;
    pay(&clinic, room).await;
    assert_eq!(subjects(&mails(&clinic, 1).await), ["예약이 확정되었습니다"]);
    clinic.advance_clock(2 * ONE_DAY + Duration::from_secs(60));
    assert_eq!(subjects(&mails(&clinic, 2).await)[1], "상담 시간이 다가옵니다");
    clinic.complete(room).await;
    clinic.wait_until(room, "completed", "captured").await;
    let all = mails(&clinic, 3).await;
    assert_eq!(subjects(&all), ["예약이 확정되었습니다", "상담 시간이 다가옵니다", "영수증"]);
    assert!(all[2]["text"].as_str().unwrap().contains("25.00 EUR"));
    let starts_at = clinic.snapshot(room).await.consultation.unwrap().slot.unwrap().starts_at;
    let local = (starts_at.utc() + chrono::TimeDelta::hours(9)).format("%H:%M (Asia/Seoul, UTC+9)").to_string();
    for mail in &all {
        let whole = mail.to_string();
        assert!(whole.contains(&format!("/#/room/{room}")) && whole.contains(&local), "{whole}");
        assert_eq!(mail["to"], format!("{}@example.org", clinic.patient.user().unwrap()));
        for secret in ["cough", "secret diagnosis", "Dr Discreet", "Testamol"] {
            assert!(!whole.contains(secret), "{secret}: {whole}");
        }
    }
    // No further mail follows, however much time passes.
    clinic.advance_clock(ONE_DAY);
    clinic.wait_until_settled(Sink::Mail).await;
    assert_eq!(folder(&clinic).await.len(), 3);
}

async fn two_hubs_over_one_database_remind_once(database: DatabaseSettings) {
    let here = PaidClinic::free(database.clone(), |_| {}).await;
    let there = PaidClinic::free(database, |_| {}).await;
    let room = book(&here, 2 * ONE_DAY).await;
    confirm(&here, room).await;
    let total = async || folder(&here).await.len() + folder(&there).await.len();
    eventually("booked", async || (total().await == 1).then_some(())).await;
    here.advance_clock(ONE_DAY + Duration::from_secs(60));
    there.advance_clock(ONE_DAY + Duration::from_secs(60));
    eventually("reminded", async || (total().await >= 2).then_some(())).await;
    // Without advancing the clock: advancing it on one node alone would make the other look dead.
    let done = async || {
        here.delivery_counts(Sink::Mail).await.iter().all(|(state, _)| *state == DispatchState::Done).then_some(())
    };
    eventually("no delivery is in flight", done).await;
    assert_eq!(total().await, 2, "each letter once");
}

async fn cancelled_and_moved_appointments_cause_no_reminder(database: DatabaseSettings) {
    let clinic = PaidClinic::free(database, |_| {}).await;
    let cancelled = book(&clinic, 2 * ONE_DAY).await;
    confirm(&clinic, cancelled).await;
    let moved = book(&clinic, 2 * ONE_DAY).await;
    confirm(&clinic, moved).await;
    mails(&clinic, 2).await;
    let reason = Prose::parse("better").unwrap();
    clinic.server().submit(cancelled, &clinic.patient, Command::Cancel(Reason { reason })).await.unwrap();
    // An hour earlier than due, or the first reminder would still be for an appointment ahead.
    let sooner = clinic.slot((2 * ONE_DAY).checked_sub(Duration::from_secs(3600)).unwrap()).await;
    let reschedule = Command::Reschedule(Reschedule { slot: sooner });
    clinic.server().submit(moved, &clinic.patient, reschedule).await.unwrap();
    mails(&clinic, 3).await;
    clinic.advance_clock(ONE_DAY + Duration::from_secs(1200));
    let all = mails(&clinic, 4).await;
    let booked = "Your appointment is booked";
    assert_eq!(subjects(&all), [booked, booked, "Your appointment has moved", "Your appointment is coming up"]);
    assert!(all[3].to_string().contains(&moved.to_string()));
    clinic.wait_until_settled(Sink::Mail).await;
    assert_eq!(folder(&clinic).await.len(), 4);
    clinic.advance_clock(2 * ONE_DAY);
    clinic.wait_until_settled(Sink::Mail).await;
    assert_eq!(folder(&clinic).await.len(), 4);
}

async fn booking_shortly_ahead_causes_no_reminder(database: DatabaseSettings) {
    let clinic = PaidClinic::free(database, |_| {}).await;
    let room = book(&clinic, Duration::from_secs(1800)).await;
    confirm(&clinic, room).await;
    mails(&clinic, 1).await;
    clinic.wait_until_settled(Sink::Mail).await;
    assert_eq!(clinic.delivery_counts(Sink::Mail).await, [(DispatchState::Done, 1)]);
}

async fn smtp_mail_is_retried_when_deferred_and_dead_when_rejected(database: DatabaseSettings) {
    let mailbox = MailStub::start().await;
    let url = format!("smtp://{}", mailbox.address);
    let clinic = PaidClinic::free(database, |config| {
        config.mail.provider = Some(MailProvider::Smtp(url.into()));
        config.mail.from = "Wardroom <no-reply@clinic.example>".to_owned();
    })
    .await;
    mailbox.respond_with(SmtpReply::Defer);
    let room = book(&clinic, Duration::from_secs(1800)).await;
    confirm(&clinic, room).await;
    eventually("the mail is deferred", async || (mailbox.attempts() >= 1).then_some(())).await;
    mailbox.respond_with(SmtpReply::Accept);
    clinic.wait_until_settled(Sink::Mail).await;
    let taken = mailbox.received();
    assert_eq!(taken.len(), 1);
    let mail = &taken[0];
    assert_eq!(mail.from, "no-reply@clinic.example");
    assert_eq!(mail.to, format!("{}@example.org", clinic.patient.user().unwrap()));
    for part in ["Subject: Your appointment is booked", "text/plain", "text/html", "Message-ID: <"] {
        assert!(mail.data.contains(part), "{part}: {}", mail.data);
    }
    mailbox.respond_with(SmtpReply::Reject);
    let room = book(&clinic, Duration::from_secs(1800)).await;
    confirm(&clinic, room).await;
    let dead = async || clinic.delivery_counts(Sink::Mail).await.contains(&(DispatchState::Dead, 1)).then_some(());
    eventually("the mail is dead", dead).await;
    assert_eq!(mailbox.received().len(), 1);
    // With a mail server configured there is no mail folder.
    let admin = clinic.server().token(&clinic.admin).0;
    clinic.rest.get("/v1/sandbox/mail").bearer(&admin).send().await.assert_problem(404, "not_found");
}

both! {
    each_letter_is_sent_once_in_the_recipients_language_without_clinical_data
    two_hubs_over_one_database_remind_once
    cancelled_and_moved_appointments_cause_no_reminder
    booking_shortly_ahead_causes_no_reminder
    smtp_mail_is_retried_when_deferred_and_dead_when_rejected
}
