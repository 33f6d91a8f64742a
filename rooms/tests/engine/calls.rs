//! The call: ringing, answering, media that comes and goes, and every way it ends.

use rooms::case::call::{MAX_MEDIA_CHANGES, MAX_REPORTS};
use rooms::command::*;
use rooms::event::Event;
use rooms::id::CallId;
use rooms::media::Media;
use rooms::party::Policy;
use rooms::reason::{EndReason, InterruptionCause, LeaveReason};
use rooms::refusal::Refusal;
use rooms::role::Actor;
use rooms::state::CallState;

use crate::support::*;

fn start() -> Command {
    Command::StartCall(StartCall { media: Media::Video })
}

fn media(call: CallId, cause: Option<InterruptionCause>) -> Command {
    Command::CallMedia(MediaChange { call, connected: cause.is_none(), cause })
}

fn leave(call: CallId, why: LeaveReason) -> Command {
    Command::LeaveCall(LeaveCall { call, why })
}

/// A call that rings at the patient's.
fn ringing() -> (Clinic, CallId) {
    let mut clinic = Clinic::plain();
    clinic.talking();
    clinic.ok(&doctor(), start());
    let call = clinic.call().id;
    (clinic, call)
}

fn answered() -> (Clinic, CallId) {
    let (mut clinic, call) = ringing();
    clinic.ok(&patient(), Command::JoinCall(CallRef { call }));
    (clinic, call)
}

fn why(clinic: &Clinic) -> (EndReason, u32) {
    match &clinic.log.last().expect("events").event {
        Event::CallEnded(ended) => (ended.why, ended.lasted_s),
        other => panic!("{} instead of the end", other.kind()),
    }
}

#[test]
fn a_call_rings_connects_breaks_comes_back_and_ends() {
    let (mut clinic, call) = ringing();
    assert_eq!(clinic.call().state, CallState::Ringing);
    assert_eq!(clinic.call().until, Some(clinic.now.plus(secs(60))));
    clinic.pass(secs(5));
    clinic.ok(&patient(), Command::JoinCall(CallRef { call }));
    assert_eq!(clinic.call().state, CallState::Connecting);
    clinic.ok(&patient(), media(call, None));
    assert_eq!(clinic.call().state, CallState::Connecting, "one side alone is no connection");
    clinic.ok(&doctor(), media(call, None));
    assert_eq!(clinic.call().state, CallState::Connected);
    assert!(clinic.ok(&doctor(), media(call, None)).is_empty(), "said again, it is not written again");
    clinic.ok(&doctor(), media(call, Some(InterruptionCause::Network)));
    assert_eq!(clinic.call().state, CallState::Reconnecting);
    clinic.ok(&doctor(), media(call, None));
    clinic.pass(secs(300));
    assert_eq!(clinic.ok(&patient(), leave(call, LeaveReason::Hangup)), ["call.left", "call.ended"]);
    assert_eq!((clinic.call().state, why(&clinic)), (CallState::Ended, (EndReason::Hangup, 300)));
    clinic.ok(&patient(), start());
    assert_ne!(clinic.call().id, call);
}

#[test]
fn nobody_answers_and_the_clock_ends_the_ringing() {
    let (mut clinic, call) = ringing();
    clinic.pass(secs(59));
    assert!(clinic.timer().is_empty());
    clinic.pass(secs(1));
    assert_eq!(clinic.timer(), ["call.ended"]);
    assert_eq!(why(&clinic), (EndReason::Missed, 0));
    assert!(matches!(clinic.ask(&patient(), Command::JoinCall(CallRef { call })), Err(Refusal::Illegal { .. })));
}

#[test]
fn a_call_that_is_declined_or_given_up_ends() {
    let (mut clinic, call) = ringing();
    let own = clinic.ask(&doctor(), Command::DeclineCall(CallRef { call }));
    assert!(matches!(own, Err(Refusal::Illegal { .. })), "one hangs up one's own call");
    clinic.ok(&patient(), Command::DeclineCall(CallRef { call }));
    assert_eq!(why(&clinic), (EndReason::Declined, 0));
    let (mut clinic, call) = ringing();
    clinic.ok(&doctor(), leave(call, LeaveReason::Device));
    assert_eq!(why(&clinic), (EndReason::Device, 0));
}

#[test]
fn a_call_ends_with_the_talk_it_belongs_to() {
    let end = Command::End(Nothing {});
    let put_back = Command::PutBack(Nothing {});
    let refer = Command::Refer(reason());
    for command in [end, put_back, refer] {
        let (mut clinic, _) = answered();
        clinic.pass(secs(20));
        assert_eq!(clinic.ok(&doctor(), command), ["consultation.moved", "call.ended"]);
        assert_eq!(why(&clinic), (EndReason::Consultation, 20));
    }
    let (mut clinic, _) = answered();
    clinic.presence(rooms::party::Party::Patient, false);
    assert!(clinic.room.call().is_some(), "an interruption does not end it");
    clinic.pass(secs(10_000));
    assert_eq!(clinic.timer(), ["consultation.moved", "call.ended"]);
}

#[test]
fn there_is_one_call_at_a_time_and_only_while_people_talk() {
    let mut clinic = Clinic::plain();
    clinic.waiting();
    assert!(matches!(clinic.ask(&doctor(), start()), Err(Refusal::Illegal { .. })));
    let (mut clinic, _) = ringing();
    assert!(matches!(clinic.ask(&patient(), start()), Err(Refusal::Illegal { .. })));
}

#[test]
fn nobody_but_the_two_sides_has_a_part_in_a_call() {
    let (mut clinic, call) = answered();
    let commands = [
        start(),
        Command::JoinCall(CallRef { call }),
        Command::DeclineCall(CallRef { call }),
        leave(call, LeaveReason::Hangup),
        media(call, None),
        Command::ReportCall(ReportCall { call, peer: user(&doctor()), quality: quality() }),
        Command::CheckDevices(device_check()),
    ];
    for who in everybody().iter().filter(|who| **who != patient() && **who != doctor()) {
        for command in &commands {
            assert_eq!(clinic.would(who, command, None), Err(Refusal::Forbidden), "{:?}", who.role());
        }
    }
    let other = CallRef { call: CallId(uuid(9)) };
    assert_eq!(clinic.ask(&patient(), Command::JoinCall(other)), Err(Refusal::NoSuch("call")));
    assert_eq!(clinic.would(&Actor::System, &start(), None), Err(Refusal::Forbidden));
}

#[test]
fn media_that_flaps_and_reports_without_end_do_not_fill_the_log() {
    let (mut clinic, call) = answered();
    for _ in 0..MAX_MEDIA_CHANGES / 2 {
        clinic.ok(&patient(), media(call, None));
        clinic.ok(&patient(), media(call, Some(InterruptionCause::Network)));
    }
    let more = clinic.ask(&patient(), media(call, None));
    assert!(matches!(more, Err(Refusal::Invalid { field: "connected", .. })));
    let report = |peer| Command::ReportCall(ReportCall { call, peer, quality: quality() });
    assert!(matches!(clinic.ask(&doctor(), report(user(&doctor()))), Err(Refusal::Invalid { field: "peer", .. })));
    clinic.ok(&doctor(), leave(call, LeaveReason::Hangup));
    for _ in 0..MAX_REPORTS {
        clinic.ok(&patient(), report(user(&doctor())));
    }
    assert!(matches!(clinic.ask(&doctor(), report(user(&patient()))), Err(Refusal::Invalid { field: "call", .. })));
}

#[test]
fn a_cause_belongs_to_an_interruption_and_only_to_it() {
    let (clinic, call) = answered();
    for (connected, cause) in [(true, Some(InterruptionCause::Device)), (false, None)] {
        let odd = Command::CallMedia(MediaChange { call, connected, cause });
        assert!(matches!(clinic.would(&doctor(), &odd, None), Err(Refusal::Invalid { field: "cause", .. })));
    }
}

#[test]
fn a_room_under_the_relay_rule_says_so_to_its_calls() {
    let mut clinic = Clinic::new(Policy { relay_only: true, ..Policy::default() });
    clinic.talking();
    clinic.ok(&doctor(), start());
    assert!(clinic.call().relay_only && clinic.room.relay_only());
}
