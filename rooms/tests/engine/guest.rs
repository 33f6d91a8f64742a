//! Guests: invitation, entry, what they see, and the end of their access.

use rooms::case::guest::MAX_INVITATIONS;
use rooms::command::*;
use rooms::event::Event;
use rooms::media::Media;
use rooms::party::{GuestKind, Thread};
use rooms::permission::View;
use rooms::reason::{DismissReason, LeaveReason};
use rooms::refusal::Refusal;
use rooms::role::Actor;
use rooms::state::CallState;

use crate::support::*;

fn invite() -> Command {
    Command::InviteGuest(InviteGuest { name: text("Inter Preter"), kind: GuestKind::Interpreter })
}

fn dismiss(guest: &Actor) -> Command {
    Command::DismissGuest(GuestRef { guest: user(guest) })
}

/// A conversation with a guest who has entered.
fn conversation_with_guest() -> (Clinic, Actor) {
    let mut clinic = Clinic::with_default_policy();
    clinic.in_progress();
    clinic.ok(&doctor(), invite());
    let guest = clinic.guests().remove(0);
    assert_eq!(clinic.ok(&guest, Command::EnterAsGuest(Nothing {})), ["guest.entered"]);
    (clinic, guest)
}

fn view(clinic: &Clinic, guest: &Actor) -> Option<View> {
    clinic.room.view_of(guest, clinic.now)
}

/// Returns the kinds of the events that a guest sees.
fn seen(clinic: &Clinic, guest: &Actor) -> Vec<&'static str> {
    let view = view(clinic, guest).expect("a part");
    let visible = |record: &&rooms::record::Record| rooms::permission::sees(&view, record.seq, &record.event);
    clinic.log.iter().filter(visible).map(|record| record.event.kind()).collect()
}

#[test]
fn guest_sees_the_conversation_from_their_entry_on() {
    let mut clinic = Clinic::with_default_policy();
    clinic.in_progress();
    clinic.ok(&patient(), chat(Thread::Care));
    clinic.ok(&patient(), invite());
    let guest = clinic.guests().remove(0);
    clinic.ok(&patient(), chat(Thread::Care));
    assert!(seen(&clinic, &guest).is_empty());
    let outside = clinic.room.snapshot(&view(&clinic, &guest).expect("a part"), clinic.now);
    assert!(outside.doctor.is_none() && outside.call.is_none() && outside.guests.is_empty());
    assert_eq!(clinic.decide(&guest, &chat(Thread::Care), None), Err(Refusal::Forbidden), "a guest must enter first");
    clinic.ok(&guest, Command::EnterAsGuest(Nothing {}));
    assert!(clinic.ok(&guest, Command::EnterAsGuest(Nothing {})).is_empty(), "a repeat is not logged");
    clinic.ok(&guest, chat(Thread::Care));
    clinic.ok(&doctor(), chat(Thread::Care));
    clinic.ok(&doctor(), draft());
    clinic.ok(&patient(), Command::CheckDevices(device_check()));
    clinic.ok(&doctor(), Command::StartCall(StartCall { media: Media::Video }));
    assert_eq!(seen(&clinic, &guest), ["guest.entered", "chat.sent", "chat.sent", "call.started"]);
    let inside = clinic.room.snapshot(&view(&clinic, &guest).expect("a part"), clinic.now);
    assert!(inside.consultation.is_none() && inside.prescriptions.is_empty() && inside.payment.is_none());
    assert_eq!((inside.guests.len(), inside.guests[0].id), (1, user(&guest)));
}

#[test]
fn guest_cannot_send_commands_to_the_case() {
    let (mut clinic, guest) = conversation_with_guest();
    clinic.ok(&doctor(), draft());
    let commands = crate::random::all_commands(&clinic.care(), 0, clinic.now);
    let own = |command: &&Command| matches!(command, Command::Chat(_) | Command::EnterAsGuest(_));
    for command in commands.iter().filter(|command| !own(command)) {
        assert!(clinic.decide(&guest, command, None).is_err(), "{}", command.kind());
    }
    assert!(clinic.decide(&guest, &invite(), None).is_err() && clinic.decide(&guest, &dismiss(&guest), None).is_err());
    let thread = chat(Thread::Pharmacy(pharmacy_id(1)));
    assert_eq!(clinic.decide(&guest, &thread, None), Err(Refusal::Forbidden));
}

#[test]
fn guest_joins_a_running_call_and_does_not_keep_it_alive() {
    let (mut clinic, guest) = conversation_with_guest();
    clinic.ok(&doctor(), Command::StartCall(StartCall { media: Media::Video }));
    let call = clinic.call().id;
    let join = || Command::JoinCall(CallRef { call });
    let leave = || Command::LeaveCall(LeaveCall { call, why: LeaveReason::Hangup });
    assert!(
        matches!(clinic.submit(&guest, join()), Err(Refusal::Illegal { .. })),
        "the patient answers, not the guest"
    );
    clinic.ok(&patient(), join());
    clinic.ok(&guest, join());
    for who in [&patient(), &doctor(), &guest] {
        clinic.ok(who, Command::CallMedia(MediaChange { call, connected: true, cause: None }));
    }
    assert_eq!(clinic.call().state, CallState::Connected);
    assert_eq!(clinic.ok(&doctor(), leave()), ["call.left"], "the call continues between patient and guest");
    clinic.ok(&doctor(), join());
    clinic.ok(&doctor(), invite());
    let second = clinic.guests().remove(1);
    clinic.ok(&second, Command::EnterAsGuest(Nothing {}));
    clinic.ok(&second, join());
    clinic.ok(&doctor(), leave());
    assert_eq!(clinic.ok(&patient(), leave()), ["call.left", "call.ended"], "guests alone do not keep a call");
}

#[test]
fn dismissed_guest_loses_the_conversation_and_the_call() {
    let (mut clinic, guest) = conversation_with_guest();
    clinic.ok(&patient(), Command::StartCall(StartCall { media: Media::Audio }));
    let call = clinic.call().id;
    clinic.ok(&doctor(), Command::JoinCall(CallRef { call }));
    clinic.ok(&guest, Command::JoinCall(CallRef { call }));
    assert_eq!(clinic.ok(&patient(), dismiss(&guest)), ["call.left", "guest.dismissed"]);
    assert_eq!(view(&clinic, &guest), None);
    assert!(
        clinic.submit(&guest, chat(Thread::Care)).is_err()
            && clinic.submit(&guest, Command::EnterAsGuest(Nothing {})).is_err()
    );
    assert_eq!(clinic.submit(&patient(), dismiss(&guest)), Err(Refusal::NoSuch("guest")));
    assert_eq!(clinic.call().members.len(), 2, "the call continues between the others");
}

#[test]
fn guest_access_ends_with_the_link_and_with_the_conversation() {
    let (mut clinic, guest) = conversation_with_guest();
    let until = clinic.care().guests[0].until;
    clinic.now = until;
    assert_eq!(view(&clinic, &guest), None, "the view ends with the link, even before the timer");
    assert!(clinic.timer().contains(&"guest.dismissed"));
    assert!(
        matches!(&clinic.log.last().expect("events").event, Event::GuestDismissed(it) if it.why == DismissReason::Expired)
    );

    let (mut clinic, guest) = conversation_with_guest();
    assert_eq!(clinic.ok(&doctor(), Command::End(Nothing {})), ["consultation.moved", "guest.dismissed"]);
    assert_eq!(view(&clinic, &guest), None);
    assert!(clinic.care().guests.is_empty());
    assert!(
        matches!(clinic.submit(&doctor(), invite()), Err(Refusal::Illegal { .. })),
        "there is no conversation to be invited to"
    );
}

#[test]
fn guests_are_bounded_at_a_time_and_in_total() {
    let (mut clinic, _) = conversation_with_guest();
    clinic.ok(&patient(), invite());
    assert!(matches!(clinic.submit(&patient(), invite()), Err(Refusal::Illegal { .. })));
    for _ in 2..MAX_INVITATIONS {
        let last = clinic.guests().pop().expect("a guest");
        clinic.ok(&doctor(), dismiss(&last));
        clinic.ok(&patient(), invite());
    }
    let last = clinic.guests().pop().expect("a guest");
    clinic.ok(&doctor(), dismiss(&last));
    assert!(matches!(clinic.submit(&patient(), invite()), Err(Refusal::Illegal { .. })));
}
