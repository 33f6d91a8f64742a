//! The consultation: booking, waiting, talking, ending, and who may do it.

use rooms::command::*;
use rooms::event::Event;
use rooms::party::{Party, Thread};
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
fn a_consultation_goes_from_request_to_note() {
    let mut clinic = Clinic::plain();
    assert_eq!(clinic.ok(&patient(), request_slot(1)), ["consultation.requested"]);
    assert_eq!(clinic.ok(&patient(), Command::Confirm(Nothing {})), ["consultation.moved"]);
    assert_eq!(clinic.state(), "booked");
    assert_eq!(clinic.ok(&patient(), check_in()), ["consultation.checked_in", "consultation.moved"]);
    let since = clinic.care().consultation.and_then(|c| c.waiting_since);
    assert_eq!(since, Some(clinic.now));
    clinic.pass(secs(30));
    assert_eq!(clinic.ok(&doctor(), Command::Admit(Nothing {})), ["consultation.called"]);
    assert_eq!(clinic.state(), "called");
    clinic.pass(secs(5));
    clinic.ok(&patient(), Command::Enter(Nothing {}));
    let started = clinic.now;
    assert_eq!(clinic.state(), "in_progress");
    clinic.pass(secs(600));
    clinic.ok(&patient(), Command::End(Nothing {}));
    let ended = clinic.now;
    clinic.pass(secs(60));
    assert_eq!(clinic.ok(&doctor(), Command::Complete(Note { note: text("rest") })), ["consultation.noted"]);
    let view = clinic.care().consultation.expect("care sees it");
    assert_eq!((view.state.as_str(), view.started_at, view.ended_at), ("completed", Some(started), Some(ended)));
    assert_eq!(view.note.expect("a note").as_str(), "rest");
    assert_eq!(view.version, clinic.room.head());
}

#[test]
fn a_room_opens_with_a_patients_request_and_nothing_else() {
    let clinic = Clinic::plain();
    for who in everybody() {
        let answer = clinic.would(&who, &request_slot(1), None);
        assert_eq!(answer.is_ok(), who.role() == Role::Patient, "{:?}", who.role());
        assert_eq!(clinic.would(&who, &chat(Thread::Care), None), Err(Refusal::Forbidden));
        assert_eq!(clinic.room.view_of(&who, clinic.now), None);
    }
    assert_eq!(clinic.would(&patient(), &request_slot(77), None), Err(Refusal::NoSuch("slot")));
    let nobody = Command::Request(Request { slot: None, doctor: Some(user(&patient())), reason: None });
    assert_eq!(clinic.would(&patient(), &nobody, None), Err(Refusal::NoSuch("doctor")));
    for (slot, doctor) in [(None, None), (Some(slot(1).id), Some(user(&doctor())))] {
        let unclear = Command::Request(Request { slot, doctor, reason: None });
        assert!(matches!(clinic.would(&patient(), &unclear, None), Err(Refusal::Invalid { field: "slot", .. })));
    }
    let mut clinic = Clinic::plain();
    clinic.request();
    illegal(clinic.ask(&patient(), request_slot(2)), "requested");
    assert_eq!(clinic.ask(&stranger(), request_slot(2)), Err(Refusal::Forbidden));
}

#[test]
fn a_slot_that_is_over_cannot_be_asked_for() {
    let mut clinic = Clinic::plain();
    clinic.now = slot(1).ends_at;
    assert!(matches!(clinic.ask(&patient(), request_slot(1)), Err(Refusal::Invalid { field: "slot", .. })));
    clinic.ok(&patient(), request_slot(2));
}

#[test]
fn a_hold_that_is_not_confirmed_expires() {
    let mut clinic = Clinic::plain();
    clinic.request();
    assert_eq!(clinic.room.wake_at(), Some(start().plus(secs(300))));
    clinic.pass(secs(299));
    assert!(clinic.timer().is_empty());
    clinic.pass(secs(1));
    assert_eq!(clinic.timer(), ["consultation.moved"]);
    assert_eq!((clinic.state(), clinic.room.wake_at()), ("expired", None));
    illegal(clinic.ask(&patient(), Command::Confirm(Nothing {})), "expired");
}

#[test]
fn a_walk_in_waits_without_a_slot_and_expires_without_a_check_in() {
    let mut clinic = Clinic::plain();
    clinic.ok(&patient(), walk_in());
    illegal(clinic.ask(&patient(), Command::Confirm(Nothing {})), "requested");
    let mut gone = clinic.clone();
    clinic.ok(&patient(), check_in());
    assert_eq!(clinic.state(), "waiting");
    gone.pass(secs(900));
    gone.timer();
    assert_eq!(gone.state(), "expired");
}

#[test]
fn who_does_not_come_is_a_no_show() {
    let mut clinic = Clinic::plain();
    clinic.booked();
    assert_eq!(clinic.room.wake_at(), Some(slot(1).starts_at.plus(secs(900))));
    clinic.now = slot(1).starts_at.plus(secs(900));
    clinic.timer();
    let view = clinic.care().consultation.expect("care sees it");
    assert_eq!((view.state.as_str(), view.missing), ("no_show", Some(Party::Patient)));

    // Came late, but within the grace time: the doctor is late only from then.
    let mut clinic = Clinic::plain();
    clinic.booked().now = slot(1).starts_at.plus(secs(600));
    clinic.ok(&patient(), check_in());
    assert_eq!(clinic.room.wake_at(), Some(slot(1).starts_at.plus(secs(600 + 3600))));

    let mut clinic = Clinic::plain();
    clinic.waiting();
    // Came early: the doctor is late only from the slot's begin.
    assert_eq!(clinic.room.wake_at(), Some(slot(1).starts_at.plus(secs(3600))));
    clinic.now = slot(1).starts_at.plus(secs(3600));
    clinic.timer();
    let view = clinic.care().consultation.expect("care sees it");
    assert_eq!((view.state.as_str(), view.missing), ("no_show", Some(Party::Doctor)));
}

#[test]
fn three_calls_without_an_answer_are_a_no_show_and_the_place_is_kept_until_then() {
    let mut clinic = Clinic::plain();
    clinic.waiting();
    let since = clinic.care().consultation.and_then(|c| c.waiting_since);
    for missed in 1..=3 {
        clinic.ok(&doctor(), Command::Admit(Nothing {}));
        clinic.pass(secs(60));
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
    let mut clinic = Clinic::plain();
    clinic.waiting();
    let since = clinic.care().consultation.and_then(|c| c.waiting_since);
    clinic.pass(secs(100));
    clinic.ok(&doctor(), Command::Admit(Nothing {}));
    clinic.ok(&doctor(), Command::PutBack(Nothing {}));
    assert_eq!(clinic.state(), "waiting");
    clinic.ok(&doctor(), Command::Admit(Nothing {}));
    clinic.ok(&patient(), Command::Enter(Nothing {}));
    clinic.pass(secs(100));
    clinic.ok(&doctor(), Command::PutBack(Nothing {}));
    let view = clinic.care().consultation.expect("care sees it");
    assert_eq!((view.state.as_str(), view.waiting_since), ("waiting", since));
    // The doctor was there: the grace time begins anew.
    assert_eq!(view.until, Some(slot(1).starts_at.plus(secs(3600))));
}

#[test]
fn a_lost_side_interrupts_and_a_late_one_ends() {
    let mut clinic = Clinic::plain();
    clinic.talking();
    assert_eq!(clinic.presence(Party::Patient, true), Vec::<&str>::new());
    assert_eq!(clinic.presence(Party::Patient, false), ["consultation.moved"]);
    assert_eq!(clinic.state(), "interrupted");
    let until = clinic.now.plus(secs(300));
    clinic.pass(secs(100));
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
fn nobody_joins_or_leaves_a_talk_that_is_not_on() {
    let mut clinic = Clinic::plain();
    clinic.waiting();
    for here in [true, false] {
        assert!(clinic.presence(Party::Patient, here).is_empty());
    }
    illegal(clinic.ask(&patient(), Command::Enter(Nothing {})), "waiting");
    let allowed = illegal(clinic.ask(&doctor(), Command::End(Nothing {})), "waiting");
    assert_eq!(
        allowed,
        ["consultation.cancel", "consultation.admit", "chat.send", "call.check", "guest.invite", "record.export"]
    );
}

#[test]
fn a_booking_moves_to_another_slot_of_the_same_doctor() {
    let mut clinic = Clinic::plain();
    clinic.booked();
    assert!(matches!(
        clinic.ask(&patient(), Command::Reschedule(Reschedule { slot: slot(1).id })),
        Err(Refusal::Invalid { field: "slot", .. })
    ));
    assert_eq!(
        clinic.ask(&patient(), Command::Reschedule(Reschedule { slot: slot(50).id })),
        Err(Refusal::NoSuch("slot"))
    );
    clinic.ok(&doctor(), Command::Reschedule(Reschedule { slot: slot(4).id }));
    let view = clinic.care().consultation.expect("care");
    assert_eq!((view.state.as_str(), view.slot), ("booked", Some(slot(4))));
    assert_eq!(view.until, Some(slot(4).starts_at.plus(secs(900))));
}

#[test]
fn check_in_needs_the_consent_in_force() {
    let mut clinic = Clinic::plain();
    clinic.booked();
    let old = Command::CheckIn(CheckIn { consent: text("2025-9"), identity: text("account") });
    assert!(matches!(clinic.ask(&patient(), old), Err(Refusal::Invalid { field: "consent", .. })));
    clinic.ok(&patient(), check_in());
}

#[test]
fn an_old_version_is_told_what_is_now() {
    let mut clinic = Clinic::plain();
    clinic.booked();
    let before = clinic.room.clone();
    let stale = clinic.would(&patient(), &Command::Cancel(reason()), Some(1));
    match stale {
        Err(Refusal::Stale { subject: "consultation", state, version: 2, allowed }) => {
            assert_eq!(state, "booked");
            assert!(allowed.contains(&"consultation.check_in".to_owned()));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(clinic.room, before);
    assert!(clinic.would(&patient(), &Command::Cancel(reason()), Some(2)).is_ok());
    clinic.ok(&patient(), chat(Thread::Care));
    assert!(clinic.would(&patient(), &Command::Cancel(reason()), Some(2)).is_ok(), "chat is no new version");
    // The part comes first: a stranger does not even learn that the version is old.
    assert_eq!(clinic.would(&stranger(), &Command::Cancel(reason()), Some(1)), Err(Refusal::Forbidden));
}

#[test]
fn only_the_rooms_own_people_take_part() {
    let mut clinic = Clinic::plain();
    clinic.talking();
    for outsider in [stranger(), colleague(), pharmacist(1), courier(1), support()] {
        for command in [chat(Thread::Care), Command::End(Nothing {}), Command::Export(Purpose::default())] {
            assert_eq!(clinic.would(&outsider, &command, None), Err(Refusal::Forbidden), "{:?}", outsider.role());
        }
    }
    // Nobody becomes the hub by a role in a token.
    let Actor::Person { id, name, .. } = patient() else { unreachable!() };
    let pretender = Actor::Person { id, name, role: Role::System, pharmacy: None };
    assert_eq!(clinic.would(&pretender, &Command::Timer(Nothing {}), None), Err(Refusal::Forbidden));
    // Nor the room's doctor by being its patient under another role.
    let Actor::Person { id, name, .. } = patient() else { unreachable!() };
    let both = Actor::Person { id, name, role: Role::Doctor, pharmacy: None };
    assert_eq!(clinic.would(&both, &draft(), None), Err(Refusal::Forbidden));
}

#[test]
fn break_glass_shows_the_record_for_a_quarter_of_an_hour_and_no_more() {
    let mut clinic = Clinic::plain();
    clinic.talking();
    let export = |purpose: Option<&str>| Command::Export(Purpose { purpose: purpose.map(text) });
    assert_eq!(clinic.room.view_of(&admin(1), clinic.now), None);
    assert_eq!(clinic.ask(&admin(1), export(Some("audit"))), Err(Refusal::Forbidden));
    assert_eq!(clinic.ok(&admin(1), Command::OpenRecord(reason())), ["record.opened"]);
    assert_eq!(clinic.room.view_of(&admin(1), clinic.now), Some(View::Care));
    assert_eq!(clinic.room.view_of(&admin(2), clinic.now), None);
    assert_eq!(clinic.ask(&admin(1), chat(Thread::Care)), Err(Refusal::Forbidden));
    assert!(matches!(clinic.ask(&admin(1), export(None)), Err(Refusal::Invalid { field: "purpose", .. })));
    clinic.ok(&admin(1), export(Some("audit")));
    clinic.pass(secs(900));
    assert_eq!(clinic.room.view_of(&admin(1), clinic.now), None);
    assert_eq!(clinic.ask(&admin(1), export(Some("audit"))), Err(Refusal::Forbidden));
}

#[test]
fn entered_in_error_takes_two_administrators() {
    let mut clinic = Clinic::plain();
    clinic.talking().ok(&doctor(), Command::Refer(reason()));
    assert_eq!(clinic.ok(&admin(1), Command::MarkError(reason())), ["consultation.error_proposed"]);
    assert_eq!(clinic.state(), "referred");
    assert!(matches!(clinic.ask(&admin(1), Command::MarkError(reason())), Err(Refusal::Invalid { .. })));
    assert_eq!(clinic.ok(&admin(2), Command::MarkError(reason())), ["consultation.moved"]);
    assert_eq!(clinic.state(), "entered_in_error");
    illegal(clinic.ask(&admin(1), Command::MarkError(reason())), "entered_in_error");
}

#[test]
fn a_full_room_refuses_talk_before_it_refuses_care() {
    use rooms::room::{MAX_EVENTS, RESERVED_EVENTS};
    let mut clinic = Clinic::plain();
    clinic.talking();
    let hello = clinic.would(&patient(), &chat(Thread::Care), None).expect("chat is open");
    while clinic.room.head() < MAX_EVENTS - RESERVED_EVENTS {
        clinic.take(&patient(), &hello);
    }
    let full = Refusal::RoomFull { max: MAX_EVENTS - RESERVED_EVENTS };
    assert_eq!(clinic.ask(&patient(), chat(Thread::Care)), Err(full));
    clinic.ok(&doctor(), draft());
    while clinic.room.head() < MAX_EVENTS {
        clinic.take(&patient(), &hello);
    }
    assert_eq!(clinic.ask(&doctor(), draft()), Err(Refusal::RoomFull { max: MAX_EVENTS }));
    assert_eq!(
        clinic.ask(&Actor::System, Command::Presence(PresenceChange { party: Party::Doctor, here: false })),
        Err(Refusal::RoomFull { max: MAX_EVENTS })
    );
}

#[test]
fn a_record_that_is_not_the_next_is_not_taken() {
    let mut clinic = Clinic::plain();
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
