//! The call: ringing, answering, changes of media, and every way to end.

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

/// A call from the doctor that rings.
fn ringing() -> (Clinic, CallId) {
    let mut clinic = Clinic::with_default_policy();
    clinic.in_progress();
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
fn call_rings_connects_reconnects_and_ends() {
    let (mut clinic, call) = ringing();
    assert_eq!(clinic.call().state, CallState::Ringing);
    assert_eq!(clinic.call().until, Some(clinic.now.plus(secs(60))));
    clinic.advance(secs(5));
    clinic.ok(&patient(), Command::JoinCall(CallRef { call }));
    assert_eq!(clinic.call().state, CallState::Connecting);
    clinic.ok(&patient(), media(call, None));
    assert_eq!(clinic.call().state, CallState::Connecting, "one connected side is not enough");
    clinic.ok(&doctor(), media(call, None));
    assert_eq!(clinic.call().state, CallState::Connected);
    assert!(clinic.ok(&doctor(), media(call, None)).is_empty(), "a repeat is not logged");
    clinic.ok(&doctor(), media(call, Some(InterruptionCause::Network)));
    assert_eq!(clinic.call().state, CallState::Reconnecting);
    clinic.ok(&doctor(), media(call, None));
    clinic.advance(secs(300));
    assert_eq!(clinic.ok(&patient(), leave(call, LeaveReason::Hangup)), ["call.left", "call.ended"]);
    assert_eq!((clinic.call().state, why(&clinic)), (CallState::Ended, (EndReason::Hangup, 300)));
    clinic.ok(&patient(), start());
    assert_ne!(clinic.call().id, call);
}

#[test]
fn unanswered_call_ends_when_the_ringing_times_out() {
    let (mut clinic, call) = ringing();
    clinic.advance(secs(59));
    assert!(clinic.timer().is_empty());
    clinic.advance(secs(1));
    assert_eq!(clinic.timer(), ["call.ended"]);
    assert_eq!(why(&clinic), (EndReason::Missed, 0));
    assert!(matches!(clinic.submit(&patient(), Command::JoinCall(CallRef { call })), Err(Refusal::Illegal { .. })));
}

#[test]
fn declined_or_abandoned_call_ends() {
    let (mut clinic, call) = ringing();
    let own = clinic.submit(&doctor(), Command::DeclineCall(CallRef { call }));
    assert!(matches!(own, Err(Refusal::Illegal { .. })), "a caller hangs up and does not decline");
    clinic.ok(&patient(), Command::DeclineCall(CallRef { call }));
    assert_eq!(why(&clinic), (EndReason::Declined, 0));
    let (mut clinic, call) = ringing();
    clinic.ok(&doctor(), leave(call, LeaveReason::Device));
    assert_eq!(why(&clinic), (EndReason::Device, 0));
}

#[test]
fn call_ends_with_its_conversation() {
    let end = Command::End(Nothing {});
    let put_back = Command::PutBack(Nothing {});
    let refer = Command::Refer(reason());
    for command in [end, put_back, refer] {
        let (mut clinic, _) = answered();
        clinic.advance(secs(20));
        assert_eq!(clinic.ok(&doctor(), command), ["consultation.moved", "call.ended"]);
        assert_eq!(why(&clinic), (EndReason::Consultation, 20));
    }
    let (mut clinic, _) = answered();
    clinic.presence(rooms::party::Party::Patient, false);
    assert!(clinic.room.call().is_some(), "an interruption does not end the call");
    clinic.advance(secs(10_000));
    assert_eq!(clinic.timer(), ["consultation.moved", "call.ended"]);
}

#[test]
fn only_one_call_runs_at_a_time_and_only_during_a_conversation() {
    let mut clinic = Clinic::with_default_policy();
    clinic.waiting();
    assert!(matches!(clinic.submit(&doctor(), start()), Err(Refusal::Illegal { .. })));
    let (mut clinic, _) = ringing();
    assert!(matches!(clinic.submit(&patient(), start()), Err(Refusal::Illegal { .. })));
}

#[test]
fn only_the_two_sides_take_part_in_a_call() {
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
            assert_eq!(clinic.decide(who, command, None), Err(Refusal::Forbidden), "{:?}", who.role());
        }
    }
    let other = CallRef { call: CallId(uuid(9)) };
    assert_eq!(clinic.submit(&patient(), Command::JoinCall(other)), Err(Refusal::NoSuch("call")));
    assert_eq!(clinic.decide(&Actor::System, &start(), None), Err(Refusal::Forbidden));
}

#[test]
fn flapping_media_and_endless_reports_do_not_fill_the_log() {
    let (mut clinic, call) = answered();
    for _ in 0..MAX_MEDIA_CHANGES / 2 {
        clinic.ok(&patient(), media(call, None));
        clinic.ok(&patient(), media(call, Some(InterruptionCause::Network)));
    }
    let more = clinic.submit(&patient(), media(call, None));
    assert!(matches!(more, Err(Refusal::Invalid { field: "connected", .. })));
    let report = |peer| Command::ReportCall(ReportCall { call, peer, quality: quality() });
    assert!(matches!(clinic.submit(&doctor(), report(user(&doctor()))), Err(Refusal::Invalid { field: "peer", .. })));
    clinic.ok(&doctor(), leave(call, LeaveReason::Hangup));
    for _ in 0..MAX_REPORTS {
        clinic.ok(&patient(), report(user(&doctor())));
    }
    assert!(matches!(clinic.submit(&doctor(), report(user(&patient()))), Err(Refusal::Invalid { field: "call", .. })));
}

#[test]
fn cause_is_required_with_an_interruption_and_rejected_otherwise() {
    let (clinic, call) = answered();
    for (connected, cause) in [(true, Some(InterruptionCause::Device)), (false, None)] {
        let odd = Command::CallMedia(MediaChange { call, connected, cause });
        assert!(matches!(clinic.decide(&doctor(), &odd, None), Err(Refusal::Invalid { field: "cause", .. })));
    }
}

#[test]
fn relay_only_policy_applies_to_the_rooms_calls() {
    let mut clinic = Clinic::new(Policy { relay_only: true, ..Policy::default() });
    clinic.in_progress();
    clinic.ok(&doctor(), start());
    assert!(clinic.call().relay_only && clinic.room.relay_only());
}
