//! The budgets of a room: whatever one person sends, the others can close the case, export it, and open it for reading.

use proptest::prelude::*;
use rooms::case::usage::Allowance;
use rooms::command::{Command, GuestRef, InviteGuest, Nothing};
use rooms::limits::{Limits, MAX_LATE_REPORTS, MAX_PERSON_ACCESSES, MAX_ROOM_EVENTS};
use rooms::party::{GuestKind, Thread};
use rooms::refusal::Refusal;
use rooms::role::Actor;

use crate::commands;
use crate::random::all_commands;
use crate::support::*;

/// Cases in which different moves are open, each with a guest.
fn stages() -> Vec<Clinic> {
    let invite = || Command::InviteGuest(InviteGuest { name: text("Gu Est"), kind: GuestKind::Relative });
    let mut booked = Clinic::with_default_policy();
    booked.booked();
    let mut waiting = Clinic::with_default_policy();
    waiting.waiting();
    let mut in_progress = Clinic::with_default_policy();
    in_progress.signed();
    let mut parcel = Clinic::with_default_policy();
    parcel.assigned_delivery();
    let mut stages = vec![booked, waiting, in_progress, parcel];
    for clinic in &mut stages {
        clinic.ok(&patient(), invite());
        let guest = clinic.guests()[0].clone();
        clinic.ok(&guest, Command::EnterAsGuest(Nothing {}));
    }
    stages
}

fn is_full(answer: &Result<Vec<rooms::event::Event>, Refusal>) -> bool {
    matches!(answer, Err(Refusal::RoomFull { .. } | Refusal::BudgetSpent { .. }))
}

/// Asserts that nobody but `flooder` lacks space for a command that closes, exports or opens the record.
fn assert_others_can_close(clinic: &Clinic, flooder: &Actor) {
    let all = all_commands(&clinic.care(), 1, clinic.now);
    let vital = || all.iter().filter(|command| Allowance::of(command) != Allowance::Ordinary);
    for who in clinic.everybody().iter().filter(|who| *who != flooder) {
        for command in vital() {
            let answer = clinic.decide(who, command, None);
            assert!(
                !is_full(&answer),
                "{} by {:?} after a flood by {:?}: {answer:?}",
                command.kind(),
                who.role(),
                flooder.role()
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_flood_by_one_person_keeps_others_from_closing_exporting_and_opening(
        stage in 0usize..4,
        who in any::<prop::sample::Index>(),
        is_budget_large in any::<bool>(),
        floods in prop::collection::vec((any::<prop::sample::Index>(), 0u128..12, 1_000u64..20_000), 1..6),
    ) {
        let mut clinic = stages().swap_remove(stage);
        // Without a budget of their own, the flooder fills the room.
        if is_budget_large {
            clinic.limits = Limits { person_events: u64::MAX >> 1, person_bytes: u64::MAX >> 1, ..Limits::default() };
        }
        let people = clinic.everybody();
        let flooder = people[who.index(people.len())].clone();
        for (what, pick, times) in floods {
            clinic.advance(secs(60));
            let mut open = all_commands(&clinic.care(), pick, clinic.now);
            open.retain(|command| clinic.decide(&flooder, command, None).is_ok_and(|events| !events.is_empty()));
            // Of those that the flooder may send, the ones that do not end by themselves.
            open.retain(|command| Allowance::of(command) != Allowance::Closing);
            if open.is_empty() {
                continue;
            }
            let command = what.get(&open);
            for _ in 0..times {
                if clinic.submit(&flooder, command.clone()).is_err() {
                    break;
                }
            }
        }
        assert_others_can_close(&clinic, &flooder);
    }
}

/// All of them at once: the room takes no more messages, and its end is still open.
#[test]
fn room_that_everybody_floods_can_still_be_closed_and_exported() {
    for mut clinic in stages() {
        // A budget that lets few people fill the room.
        clinic.limits.person_events = 12_000;
        let guest = clinic.guests()[0].clone();
        for who in [patient(), doctor(), guest] {
            while clinic.submit(&who, chat(Thread::Care)).is_ok() {}
        }
        assert_eq!(clinic.room.head(), MAX_ROOM_EVENTS);
        assert_eq!(clinic.submit(&doctor(), chat(Thread::Care)), Err(Refusal::RoomFull { max: MAX_ROOM_EVENTS }));
        assert_others_can_close(&clinic, &Actor::System);
    }
}

#[test]
fn one_person_spends_their_own_budget_only() {
    let mut clinic = Clinic::with_default_policy();
    clinic.in_progress();
    clinic.limits = Limits { person_events: 40, person_bytes: 4_000, ..Limits::default() };
    let spent = |what, max| Err(Refusal::BudgetSpent { what, max });
    let long = || Command::Chat(rooms::command::Chat { text: text(&"ü".repeat(900)), thread: Thread::Care });
    while clinic.submit(&patient(), long()).is_ok() {}
    assert_eq!(clinic.submit(&patient(), chat(Thread::Care)), spent("bytes", 4_000));
    while clinic.submit(&doctor(), chat(Thread::Care)).is_ok() {}
    assert_eq!(clinic.submit(&doctor(), draft()), spent("events", 40));
    clinic.ok(&doctor(), Command::End(Nothing {}));
    clinic.ok(&patient(), Command::Export(rooms::command::Purpose::default()));
}

/// Guests pay from one budget, or one person could invite twenty of them.
#[test]
fn guests_share_one_budget() {
    let mut clinic = Clinic::with_default_policy();
    clinic.in_progress();
    clinic.limits.person_events = 30;
    let invite = || Command::InviteGuest(InviteGuest { name: text("Gu Est"), kind: GuestKind::Relative });
    let enter = |clinic: &mut Clinic| {
        clinic.ok(&patient(), invite());
        let guest = clinic.guests().last().expect("one").clone();
        clinic.ok(&guest, Command::EnterAsGuest(Nothing {}));
        guest
    };
    let (first, second) = (enter(&mut clinic), enter(&mut clinic));
    while clinic.submit(&first, chat(Thread::Care)).is_ok() {}
    assert!(is_full(&clinic.submit(&second, chat(Thread::Care))));
    clinic.ok(&patient(), Command::DismissGuest(GuestRef { guest: user(&first) }));
    clinic.ok(&patient(), chat(Thread::Care));
}

/// A flood of exports ends, and ends nobody else's; with time the budget grows again.
#[test]
fn exports_and_break_glass_have_a_budget_of_each_person() {
    let mut clinic = Clinic::with_default_policy();
    clinic.in_progress();
    let export = || Command::Export(rooms::command::Purpose::default());
    for _ in 0..MAX_PERSON_ACCESSES {
        clinic.ok(&patient(), export());
    }
    assert!(is_full(&clinic.submit(&patient(), export())));
    clinic.ok(&doctor(), export());
    clinic.ok(&admin(1), Command::OpenRecord(reason()));
    clinic.advance(secs(86_400));
    clinic.ok(&patient(), export());
    assert!(is_full(&clinic.submit(&patient(), export())));
}

/// The flood of A1: reports from 1970 about a parcel that is only assigned.
#[test]
fn late_reports_name_a_step_on_the_parcels_way_after_its_assignment() {
    let mut clinic = Clinic::with_default_policy();
    clinic.assigned_delivery();
    let delivery = clinic.delivery();
    let assigned_at = clinic.now;
    let at = |clinic: &Clinic, to, at| {
        let Command::MoveDelivery(mut step) = move_delivery(delivery, to, clinic.now) else { unreachable!() };
        step.occurred_at = Some(at);
        Command::MoveDelivery(step)
    };
    let ancient = rooms::time::Timestamp::from_micros(0);
    clinic.advance(secs(60));
    for (who, to) in
        [(patient(), "cancelled"), (courier(1), "delivered"), (pharmacist(1), "restocked"), (courier(1), "picked_up")]
    {
        let refused = clinic.submit(&who, at(&clinic, to, ancient));
        assert!(matches!(refused, Err(Refusal::Invalid { field: "occurred_at", .. })), "{to}: {refused:?}");
    }
    clinic.advance(secs(600));
    clinic.deliver(&["picked_up", "out_for_delivery"]);
    for (who, to) in
        [(patient(), "cancelled"), (courier(1), "delivered"), (courier(1), "returning"), (pharmacist(1), "restocked")]
    {
        let refused = clinic.submit(&who, at(&clinic, to, assigned_at));
        assert!(matches!(refused, Err(Refusal::Invalid { field: "to", .. })), "{to}: {refused:?}");
    }
    for _ in 0..MAX_LATE_REPORTS {
        assert_eq!(clinic.ok(&courier(1), at(&clinic, "in_transit", assigned_at)), ["delivery.reported"]);
    }
    let refused = clinic.submit(&courier(1), at(&clinic, "in_transit", assigned_at));
    assert!(matches!(refused, Err(Refusal::Invalid { field: "occurred_at", .. })), "{refused:?}");
    let all = commands::possible(&clinic.care(), 1, clinic.now);
    assert!(!all.is_empty(), "the parcel moves on");
    clinic.deliver(&["delivered"]);
}
