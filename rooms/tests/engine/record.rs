//! Records: the canonical form, which store, wire, archive and hash share, and the chain.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rooms::event::Event;
use rooms::id::CommandId;
use rooms::record::{GENESIS, Hash, MAX_AMOUNT, Record, chain};
use serde_json::Value;

use crate::random::{case, play};
use crate::support::*;

/// An independent RFC 8785 for the content of records: members sorted by UTF-16, no white space, shortest escapes,
/// integers. Shares no code with the crate that the engine uses.
fn canonical(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => {
            let number = number.as_u64().expect("records hold whole numbers");
            assert!(number <= MAX_AMOUNT, "numbers are exact in every language");
            number.to_string()
        }
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| key.encode_utf16().collect::<Vec<_>>());
            let members = members.into_iter().map(|(key, value)| format!("{}:{}", quoted(key), canonical(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn check(record: &Record) {
    let line = record.canonical();
    let value: Value = serde_json::to_value(record).expect("a record is JSON");
    assert_eq!(line, canonical(&value));
    assert_eq!(value["kind"], record.event.kind());
    assert_eq!(&serde_json::from_str::<Record>(&line).expect("reads back"), record);
    assert!(!line.contains('\n'), "a record is one line");
}

proptest! {
    #[test]
    fn canonical_form_follows_rfc_8785_and_parses_back((policy, slot, actions) in case()) {
        for record in &play(policy, slot, &actions, |_, _| {}).log {
            check(record);
        }
    }

    #[test]
    fn every_text_has_one_canonical_form(raw in "[\\PC\\n\\t\"\\\\\u{1F600}\u{2028}\u{e000}\u{10ffff}]{1,200}") {
        let Ok(text) = rooms::text::Prose::parse(&raw) else { return Ok(()) };
        let mut clinic = Clinic::with_default_policy();
        clinic.request();
        let chat = rooms::command::Chat { text, thread: rooms::party::Thread::default() };
        clinic.ok(&patient(), rooms::command::Command::Chat(chat));
        check(clinic.log.last().expect("a message"));
    }
}

/// Returns records of every kind, from two cases.
fn samples() -> Vec<Record> {
    use rooms::command::*;
    use rooms::media::Media;
    use rooms::party::{GuestKind, Policy, Thread};
    use rooms::reason::{InterruptionCause, LeaveReason, ReviewVerdict};
    use rooms::role::Actor;

    let mut one = Clinic::new(Policy { review: true, price: 2500, ..Policy::default() });
    one.request();
    let pay = |to| RecordPayment { to, amount: 2500, currency: text("EUR"), reference: text("pay_1") };
    one.ok(&Actor::System, Command::RecordPayment(pay(rooms::state::PaymentState::Authorized)));
    one.ok(&patient(), Command::Reschedule(Reschedule { slot: slot(2).id }));
    one.ok(&patient(), check_in());
    one.ok(&doctor(), Command::Admit(Nothing {}));
    one.ok(&patient(), Command::Enter(Nothing {}));
    let words = Chat { text: text("It hurts \u{2014} \"here\" \\ \u{1F622}\nsince\tMonday"), thread: Thread::Care };
    one.ok(&patient(), Command::Chat(words));
    one.ok(&patient(), Command::CheckDevices(device_check()));
    one.ok(&doctor(), Command::StartCall(StartCall { media: Media::Video }));
    let call = one.call().id;
    one.ok(&patient(), Command::JoinCall(CallRef { call }));
    let media =
        |cause: Option<InterruptionCause>| Command::CallMedia(MediaChange { call, connected: cause.is_none(), cause });
    one.ok(&patient(), media(None));
    one.ok(&patient(), media(Some(InterruptionCause::Network)));
    let peer = user(&doctor());
    one.ok(&patient(), Command::ReportCall(ReportCall { call, peer, quality: quality() }));
    one.ok(&patient(), Command::LeaveCall(LeaveCall { call, why: LeaveReason::Hangup }));
    one.ok(&doctor(), draft());
    let prescription = one.prescription();
    one.ok(&doctor(), Command::Amend(Amend { prescription, items: vec![item(), item()] }));
    one.ok(&doctor(), Command::Sign(PrescriptionRef { prescription }));
    one.send(1, to_home());
    let review = |verdict| Command::Review(Review { prescription, verdict, text: Some(text("why so much?")) });
    one.ok(&pharmacist(1), review(ReviewVerdict::Query));
    one.ok(&doctor(), Command::Answer(Answer { prescription, text: text("body weight") }));
    one.ok(&pharmacist(1), review(ReviewVerdict::Approve));
    one.dispense(1, &["accepted", "preparing", "on_hold", "preparing", "checked", "ready"]);
    let delivery = one.delivery();
    one.ok(&pharmacist(1), assign(delivery, 2));
    one.ok(&pharmacist(1), assign(delivery, 1));
    one.advance(secs(60));
    one.deliver(&["picked_up", "out_for_delivery"]);
    let Command::MoveDelivery(mut late) = move_delivery(delivery, "in_transit", one.now) else { unreachable!() };
    late.occurred_at = Some(start());
    one.ok(&courier(1), Command::MoveDelivery(late));
    one.deliver(&["delivered"]);
    one.ok(&doctor(), Command::End(Nothing {}));
    one.ok(&doctor(), Command::Complete(Note { note: text("rest") }));
    one.ok(&admin(1), Command::OpenRecord(reason()));
    one.ok(&admin(1), Command::Export(Purpose { purpose: Some(text("complaint 12")) }));
    one.ok(&admin(1), Command::MarkError(reason()));
    one.log[7].command = Some(CommandId(uuid(77)));

    let mut two = Clinic::with_default_policy();
    two.request();
    two.ok(&patient(), Command::InviteGuest(InviteGuest { name: text("Inter Preter"), kind: GuestKind::Interpreter }));
    let guest = two.guests().remove(0);
    two.ok(&guest, Command::EnterAsGuest(Nothing {}));
    two.ok(&doctor(), Command::DismissGuest(GuestRef { guest: user(&guest) }));
    one.log.into_iter().chain(two.log.into_iter().skip(1)).collect()
}

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/events.jsonl");

/// A log written today must be readable in twenty years, so a change of these lines would break archives. To add a kind,
/// delete the file, run the test, and review the new lines.
#[test]
fn canonical_form_of_every_event_kind_is_fixed() {
    let records = samples();
    let kinds: BTreeSet<_> = records.iter().map(|record| record.event.kind()).collect();
    let missing: Vec<_> = Event::KINDS.iter().filter(|kind| !kinds.contains(*kind)).collect();
    assert!(missing.is_empty(), "no sample of {missing:?}");
    let written: Vec<String> = records.iter().map(Record::canonical).collect();
    let Ok(golden) = std::fs::read_to_string(GOLDEN) else {
        std::fs::write(GOLDEN, written.join("\n") + "\n").expect("the golden file can be written");
        panic!("the golden file was missing and has been written: review it and run the test again");
    };
    let golden: Vec<&str> = golden.lines().collect();
    assert_eq!(golden.len(), written.len());
    for (golden, written) in golden.iter().zip(&written) {
        assert_eq!(golden, written);
    }
    for (golden, record) in golden.iter().zip(&records) {
        assert_eq!(&serde_json::from_str::<Record>(golden).expect("reads back"), record);
        check(record);
    }
}

/// Fields that a later version adds do not break an older reader.
#[test]
fn event_with_an_unknown_field_parses() {
    for record in samples() {
        let mut value = serde_json::to_value(&record).expect("a record is JSON");
        value["data"]["some_day"] = "more".into();
        let read: Record = serde_json::from_value(value).expect("reads");
        assert_eq!(read, record);
    }
}

#[test]
fn changed_dropped_or_moved_record_breaks_the_chain() {
    let lines: Vec<String> = samples().iter().map(Record::canonical).collect();
    let head = |lines: &[String]| lines.iter().fold(GENESIS, |before, line| chain(&before, line));
    let genuine: Hash = head(&lines);
    for index in 0..lines.len() {
        let mut changed = lines.clone();
        changed[index] = changed[index].replacen("09:0", "09:1", 1);
        assert_ne!(head(&changed), genuine);
        let mut dropped = lines.clone();
        dropped.remove(index);
        assert_ne!(head(&dropped), genuine);
        let mut moved = lines.clone();
        moved.swap(index, (index + 1) % lines.len());
        assert_ne!(head(&moved), genuine);
    }
}

#[test]
fn amount_beyond_the_canonical_form_is_refused() {
    let mut clinic = Clinic::new(rooms::party::Policy { price: MAX_AMOUNT + 1, ..Default::default() });
    assert!(clinic.submit(&patient(), walk_in()).is_err());
    let mut clinic = Clinic::new(rooms::party::Policy { price: MAX_AMOUNT, ..Default::default() });
    clinic.ok(&patient(), walk_in());
    clinic.log.iter().for_each(check);
}
