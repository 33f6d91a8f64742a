//! The consultation: booking, waiting, conversation, end, and who may move it.

use rooms::command::*;
use rooms::event::Event;
use rooms::party::{Party, Policy, Thread};
use rooms::permission::View;
use rooms::refusal::Refusal;
use rooms::role::{Actor, Role};

use crate::support::*;

#[track_caller]
fn illegal(answer: Result<Vec<Event>, Refusal>, in_state: &str) -> Vec<String> {
    match answer {
        Err(Refusal::Illegal { state, allowed, .. }) if state == in_state => allowed,
        other => panic!("{other:?} instead of illegal in {in_state}"),
    }
}

#[test]
fn consultation_moves_from_request_to_note() {
    let mut clinic = Clinic::with_default_policy();
    assert_eq!(clinic.ok(&patient(), request_slot(1)), ["consultation.requested"]);
    assert_eq!(clinic.ok(&patient(), Command::Confirm(Nothing {})), ["consultation.moved"]);
    assert_eq!(clinic.state(), "booked");
    assert_eq!(clinic.ok(&patient(), check_in()), ["consultation.checked_in", "consultation.moved"]);
    let since = clinic.care().consultation.and_then(|c| c.waiting_since);
    assert_eq!(since, Some(clinic.now));
    clinic.advance(secs(30));
    assert_eq!(clinic.ok(&doctor(), Command::Admit(Nothing {})), ["consultation.called"]);
    assert_eq!(clinic.state(), "called");
    clinic.advance(secs(5));
    clinic.ok(&patient(), Command::Enter(Nothing {}));
    let started = clinic.now;
    assert_eq!(clinic.state(), "in_progress");
    clinic.advance(secs(600));
    clinic.ok(&patient(), Command::End(Nothing {}));
    let ended = clinic.now;
    clinic.advance(secs(60));
    assert_eq!(clinic.ok(&doctor(), Command::Complete(Note { note: text("rest") })), ["consultation.noted"]);
    let view = clinic.care().consultation.expect("care sees it");
    assert_eq!((view.state.as_str(), view.started_at, view.ended_at), ("completed", Some(started), Some(ended)));
    assert_eq!(view.note.expect("a note").as_str(), "rest");
    assert_eq!(view.version, clinic.room.head());
}

#[test]
fn only_a_patients_request_opens_a_room() {
    let clinic = Clinic::with_default_policy();
    for who in everybody() {
        let answer = clinic.decide(&who, &request_slot(1), None);
        assert_eq!(answer.is_ok(), who.role() == Role::Patient, "{:?}", who.role());
        assert_eq!(clinic.decide(&who, &chat(Thread::Care), None), Err(Refusal::Forbidden));
        assert_eq!(clinic.room.view_of(&who, clinic.now), None);
    }
    assert_eq!(clinic.decide(&patient(), &request_slot(77), None), Err(Refusal::NoSuch("slot")));
    let nobody = Command::Request(Request { slot: None, doctor: Some(user(&patient())), reason: None });
    assert_eq!(clinic.decide(&patient(), &nobody, None), Err(Refusal::NoSuch("doctor")));
    for (slot, doctor) in [(None, None), (Some(slot(1).id), Some(user(&doctor())))] {
        let unclear = Command::Request(Request { slot, doctor, reason: None });
        assert!(matches!(clinic.decide(&patient(), &unclear, None), Err(Refusal::Invalid { field: "slot", .. })));
    }
    let mut clinic = Clinic::with_default_policy();
    clinic.request();
    illegal(clinic.submit(&patient(), request_slot(2)), "requested");
    assert_eq!(clinic.submit(&stranger(), request_slot(2)), Err(Refusal::Forbidden));
}

#[test]
fn slot_that_has_begun_cannot_be_requested() {
    let mut clinic = Clinic::with_default_policy();
    clinic.now = slot(1).starts_at;
    assert!(matches!(clinic.submit(&patient(), request_slot(1)), Err(Refusal::Invalid { field: "slot", .. })));
    clinic.ok(&patient(), request_slot(2));
}

#[test]
fn booked_consultation_cannot_move_to_a_slot_that_has_begun() {
    let mut clinic = Clinic::with_default_policy();
    clinic.booked().now = slot(2).starts_at;
    let reschedule = |number: u128| Command::Reschedule(Reschedule { slot: slot(number).id });
    assert!(matches!(clinic.submit(&patient(), reschedule(2)), Err(Refusal::Invalid { field: "slot", .. })));
    clinic.ok(&patient(), reschedule(3));
}

#[test]
fn late_confirmation_leaves_the_whole_grace_period() {
    let mut clinic = Clinic::with_default_policy();
    clinic.now = rooms::time::Timestamp::from_micros(slot(1).starts_at.micros() - 1_000_000);
    clinic.request();
    clinic.advance(secs(200));
    let confirmed_at = clinic.now;
    clinic.ok(&patient(), Command::Confirm(Nothing {}));
    assert_eq!(clinic.room.wake_at(), Some(confirmed_at.plus(secs(900))));
}

#[test]
fn unconfirmed_hold_expires() {
    let mut clinic = Clinic::with_default_policy();
    clinic.request();
    assert_eq!(clinic.room.wake_at(), Some(start().plus(secs(300))));
    clinic.advance(secs(299));
    assert!(clinic.timer().is_empty());
    clinic.advance(secs(1));
    assert_eq!(clinic.timer(), ["consultation.moved"]);
    assert_eq!((clinic.state(), clinic.room.wake_at()), ("expired", None));
    illegal(clinic.submit(&patient(), Command::Confirm(Nothing {})), "expired");
}

#[test]
fn walk_in_waits_without_a_slot_and_expires_without_check_in() {
    let mut clinic = Clinic::with_default_policy();
    clinic.ok(&patient(), walk_in());
    illegal(clinic.submit(&patient(), Command::Confirm(Nothing {})), "requested");
    let mut gone = clinic.clone();
    clinic.ok(&patient(), check_in());
    assert_eq!(clinic.state(), "waiting");
    gone.advance(secs(900));
    gone.timer();
    assert_eq!(gone.state(), "expired");
}

#[test]
fn missing_side_is_a_no_show_after_its_grace_period() {
    let mut clinic = Clinic::with_default_policy();
    clinic.booked();
    assert_eq!(clinic.room.wake_at(), Some(slot(1).starts_at.plus(secs(900))));
    clinic.now = slot(1).starts_at.plus(secs(900));
    clinic.timer();
    let view = clinic.care().consultation.expect("care sees it");
    assert_eq!((view.state.as_str(), view.missing), ("no_show", Some(Party::Patient)));

    // Late, but within the grace period: the doctor's grace period starts with the check-in.
    let mut clinic = Clinic::with_default_policy();
    clinic.booked().now = slot(1).starts_at.plus(secs(600));
    clinic.ok(&patient(), check_in());
    assert_eq!(clinic.room.wake_at(), Some(slot(1).starts_at.plus(secs(600 + 3600))));

    let mut clinic = Clinic::with_default_policy();
    clinic.waiting();
    // Early: the doctor's grace period starts with the slot.
    assert_eq!(clinic.room.wake_at(), Some(slot(1).starts_at.plus(secs(3600))));
    clinic.now = slot(1).starts_at.plus(secs(3600));
    clinic.timer();
    let view = clinic.care().consultation.expect("care sees it");
    assert_eq!((view.state.as_str(), view.missing), ("no_show", Some(Party::Doctor)));
}

#[test]
fn three_unanswered_calls_are_a_no_show_and_keep_the_place_until_then() {
    let mut clinic = Clinic::with_default_policy();
    clinic.waiting();
    let since = clinic.care().consultation.and_then(|c| c.waiting_since);
    for missed in 1..=3 {
        clinic.ok(&doctor(), Command::Admit(Nothing {}));
        clinic.advance(secs(60));
        clinic.timer();
        let view = clinic.care().consultation.expect("care sees it");
        if missed < 3 {
            assert_eq!((view.state.as_str(), view.waiting_since), ("waiting", since));
        } else {
            assert_eq!((view.state.as_str(), view.missing), ("no_show", Some(Party::Patient)));
        }
    }
}

#[test]
fn put_back_keeps_the_place_in_the_queue() {
    let mut clinic = Clinic::with_default_policy();
    clinic.waiting();
    let since = clinic.care().consultation.and_then(|c| c.waiting_since);
    clinic.advance(secs(100));
    clinic.ok(&doctor(), Command::Admit(Nothing {}));
    clinic.ok(&doctor(), Command::PutBack(Nothing {}));
    assert_eq!(clinic.state(), "waiting");
    clinic.ok(&doctor(), Command::Admit(Nothing {}));
    clinic.ok(&patient(), Command::Enter(Nothing {}));
    clinic.advance(secs(100));
    clinic.ok(&doctor(), Command::PutBack(Nothing {}));
    let view = clinic.care().consultation.expect("care sees it");
    assert_eq!((view.state.as_str(), view.waiting_since), ("waiting", since));
    // The doctor was present, so the grace period starts again.
    assert_eq!(view.until, Some(slot(1).starts_at.plus(secs(3600))));
}

#[test]
fn disconnect_interrupts_the_conversation_and_a_late_return_ends_it() {
    let mut clinic = Clinic::with_default_policy();
    clinic.in_progress();
    assert_eq!(clinic.presence(Party::Patient, true), Vec::<&str>::new());
    assert_eq!(clinic.presence(Party::Patient, false), ["consultation.moved"]);
    assert_eq!(clinic.state(), "interrupted");
    let until = clinic.now.plus(secs(300));
    clinic.advance(secs(100));
    assert_eq!(clinic.presence(Party::Patient, false), Vec::<&str>::new());
    assert_eq!(clinic.presence(Party::Doctor, false), ["consultation.moved"]);
    assert_eq!(clinic.care().consultation.expect("care").missing, None);
    assert_eq!(clinic.presence(Party::Patient, true), ["consultation.moved"]);
    let view = clinic.care().consultation.expect("care");
    assert_eq!((view.state.as_str(), view.missing, view.until), ("interrupted", Some(Party::Doctor), Some(until)));
    let mut late = clinic.clone();
    assert_eq!(clinic.presence(Party::Doctor, true), ["consultation.moved"]);
    assert_eq!((clinic.state(), clinic.room.wake_at()), ("in_progress", None));
    late.now = until;
    late.timer();
    assert_eq!(late.state(), "wrap_up");
    assert_eq!(late.care().consultation.expect("care").ended_at, Some(until));
}

#[test]
fn presence_changes_nothing_outside_a_conversation() {
    let mut clinic = Clinic::with_default_policy();
    clinic.waiting();
    for here in [true, false] {
        assert!(clinic.presence(Party::Patient, here).is_empty());
    }
    illegal(clinic.submit(&patient(), Command::Enter(Nothing {})), "waiting");
    let allowed = illegal(clinic.submit(&doctor(), Command::End(Nothing {})), "waiting");
    assert_eq!(
        allowed,
        ["consultation.cancel", "consultation.admit", "chat.send", "call.check", "guest.invite", "record.export"]
    );
}

#[test]
fn booking_moves_only_to_another_slot_of_the_same_doctor() {
    let mut clinic = Clinic::with_default_policy();
    clinic.booked();
    assert!(matches!(
        clinic.submit(&patient(), Command::Reschedule(Reschedule { slot: slot(1).id })),
        Err(Refusal::Invalid { field: "slot", .. })
    ));
    assert_eq!(
        clinic.submit(&patient(), Command::Reschedule(Reschedule { slot: slot(50).id })),
        Err(Refusal::NoSuch("slot"))
    );
    clinic.ok(&doctor(), Command::Reschedule(Reschedule { slot: slot(4).id }));
    let view = clinic.care().consultation.expect("care");
    assert_eq!((view.state.as_str(), view.slot), ("booked", Some(slot(4))));
    assert_eq!(view.until, Some(slot(4).starts_at.plus(secs(900))));
}

#[test]
fn check_in_requires_the_current_consent() {
    let mut clinic = Clinic::with_default_policy();
    clinic.booked();
    let old = Command::CheckIn(CheckIn { consent: text("2025-9"), identity: text("account") });
    assert!(matches!(clinic.submit(&patient(), old), Err(Refusal::Invalid { field: "consent", .. })));
    clinic.ok(&patient(), check_in());
}

#[test]
fn stale_command_is_refused_with_the_current_version() {
    let mut clinic = Clinic::with_default_policy();
    clinic.booked();
    let before = clinic.room.clone();
    let stale = clinic.decide(&patient(), &Command::Cancel(reason()), Some(1));
    match stale {
        Err(Refusal::Stale { subject: "consultation", state, version: 2, allowed }) => {
            assert_eq!(state, "booked");
            assert!(allowed.contains(&"consultation.check_in".to_owned()));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(clinic.room, before);
    assert!(clinic.decide(&patient(), &Command::Cancel(reason()), Some(2)).is_ok());
    clinic.ok(&patient(), chat(Thread::Care));
    assert!(clinic.decide(&patient(), &Command::Cancel(reason()), Some(2)).is_ok(), "chat does not change the version");
    // The part in the case is checked first: a stranger does not learn that the version is old.
    assert_eq!(clinic.decide(&stranger(), &Command::Cancel(reason()), Some(1)), Err(Refusal::Forbidden));
}

#[test]
fn only_parties_of_the_room_send_commands() {
    let mut clinic = Clinic::with_default_policy();
    clinic.in_progress();
    for outsider in [stranger(), colleague(), pharmacist(1), courier(1), support()] {
        for command in [chat(Thread::Care), Command::End(Nothing {}), Command::Export(Purpose::default())] {
            assert_eq!(clinic.decide(&outsider, &command, None), Err(Refusal::Forbidden), "{:?}", outsider.role());
        }
    }
    // A role in a token does not make a person the hub.
    let Actor::Person { id, name, .. } = patient() else { unreachable!() };
    let pretender = Actor::Person { id, name, role: Role::System, pharmacy: None };
    assert_eq!(clinic.decide(&pretender, &Command::Timer(Nothing {}), None), Err(Refusal::Forbidden));
    // The room's patient under another role is not its doctor.
    let Actor::Person { id, name, .. } = patient() else { unreachable!() };
    let both = Actor::Person { id, name, role: Role::Doctor, pharmacy: None };
    assert_eq!(clinic.decide(&both, &draft(), None), Err(Refusal::Forbidden));
}

#[test]
fn break_glass_grants_access_for_15_minutes() {
    let mut clinic = Clinic::with_default_policy();
    clinic.in_progress();
    let export = |purpose: Option<&str>| Command::Export(Purpose { purpose: purpose.map(text) });
    assert_eq!(clinic.room.view_of(&admin(1), clinic.now), None);
    assert_eq!(clinic.submit(&admin(1), export(Some("audit"))), Err(Refusal::Forbidden));
    assert_eq!(clinic.ok(&admin(1), Command::OpenRecord(reason())), ["record.opened"]);
    assert_eq!(clinic.room.view_of(&admin(1), clinic.now), Some(View::Care));
    assert_eq!(clinic.room.view_of(&admin(2), clinic.now), None);
    assert_eq!(clinic.submit(&admin(1), chat(Thread::Care)), Err(Refusal::Forbidden));
    assert!(matches!(clinic.submit(&admin(1), export(None)), Err(Refusal::Invalid { field: "purpose", .. })));
    clinic.ok(&admin(1), export(Some("audit")));
    clinic.advance(secs(900));
    assert_eq!(clinic.room.view_of(&admin(1), clinic.now), None);
    assert_eq!(clinic.submit(&admin(1), export(Some("audit"))), Err(Refusal::Forbidden));
}

#[test]
fn entry_in_error_requires_two_administrators() {
    let mut clinic = Clinic::with_default_policy();
    clinic.in_progress().ok(&doctor(), Command::Refer(reason()));
    assert_eq!(clinic.ok(&admin(1), Command::MarkError(reason())), ["consultation.error_proposed"]);
    assert_eq!(clinic.state(), "referred");
    assert!(matches!(clinic.submit(&admin(1), Command::MarkError(reason())), Err(Refusal::Invalid { .. })));
    assert_eq!(clinic.ok(&admin(2), Command::MarkError(reason())), ["consultation.moved"]);
    assert_eq!(clinic.state(), "entered_in_error");
    illegal(clinic.submit(&admin(1), Command::MarkError(reason())), "entered_in_error");
}

#[test]
fn only_the_next_record_is_applied() {
    let mut clinic = Clinic::with_default_policy();
    clinic.booked();
    let before = clinic.room.clone();
    let mut record = clinic.log[1].clone();
    assert!(!clinic.room.apply(&record), "a repeat");
    record.seq = 9;
    assert!(!clinic.room.apply(&record), "a gap");
    record.seq = 3;
    record.room = rooms::id::RoomId(uuid(9));
    assert!(!clinic.room.apply(&record), "another room's");
    assert_eq!(clinic.room, before);
}

/// The check-in of a booking opens an hour before the slot's start, and whoever asks earlier is told when.
#[test]
fn check_in_opens_a_while_before_the_slot() {
    let mut clinic = Clinic::new(Policy { check_in_s: Some(3_600), ..Policy::default() });
    clinic.ok(&patient(), request_slot(3));
    clinic.ok(&patient(), Command::Confirm(Nothing {}));
    let opens_at = slot(3).starts_at.minus_seconds(3_600);
    let may = |clinic: &Clinic| {
        let consultation = clinic.care().consultation.expect("care sees it");
        assert_eq!(consultation.check_in_from, Some(opens_at));
        consultation.allowed[&Role::Patient].iter().any(|key| key == "consultation.check_in")
    };
    clinic.now = opens_at.minus_seconds(1);
    assert!(!may(&clinic));
    assert_eq!(clinic.submit(&patient(), check_in()), Err(Refusal::TooEarly { opens_at }));
    clinic.now = opens_at;
    assert!(may(&clinic));
    clinic.ok(&patient(), check_in());
    // A room from before the rule has none.
    let mut old = Clinic::with_default_policy();
    old.ok(&patient(), request_slot(9));
    old.ok(&patient(), Command::Confirm(Nothing {}));
    old.ok(&patient(), check_in());
}
