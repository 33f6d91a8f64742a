//! Random cases: the invariants of a case hold after any command by anybody in any state.

use proptest::prelude::*;
use rooms::command::*;
use rooms::command::{GuestRef, ReportCall};
use rooms::event::Event;
use rooms::party::{Party, Policy};
use rooms::permission::{View, sees};
use rooms::record::Record;
use rooms::role::{Actor, Role};
use rooms::room::Room;
use rooms::room::snapshot::Snapshot;
use rooms::state::{CallState, DeliveryState, DispensingState, PrescriptionState};

use crate::allowed::{assert_allowed_matches_decide, assert_allowed_moves_are_accepted};
use crate::commands::{self, CONSULTATION_MOVES, PRESCRIPTION_MOVES};
use crate::support::*;

/// One random action.
#[derive(Clone, Debug)]
pub enum Action {
    /// An allowed move, by an actor who may make it.
    Possible(u16, u8),
    /// Any command by anybody, about anything that exists.
    Anything { who: u8, what: u16, pick: u8 },
    /// Time passes, a little or past the next deadline.
    Wait { s: u32 },
    /// A side disconnects or reconnects.
    Presence { patient: bool, here: bool },
    /// A report of the payment provider.
    Pay(u8),
    /// A quality report from the patient's device.
    Report,
    /// A guest, if there is one, sends a command or is dismissed.
    Guest { which: u8, what: u8 },
    /// A courier's late report.
    Late { pick: u8, to: u8, s: u32 },
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        20 => (any::<u16>(), any::<u8>()).prop_map(|(which, pick)| Action::Possible(which, pick)),
        3 => (any::<u8>(), any::<u16>(), any::<u8>()).prop_map(|(who, what, pick)| Action::Anything { who, what, pick }),
        1 => (0u32..4000).prop_map(|s| Action::Wait { s }),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(patient, here)| Action::Presence { patient, here }),
        1 => any::<u8>().prop_map(Action::Pay),
        1 => Just(Action::Report),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(which, what)| Action::Guest { which, what }),
        1 => (any::<u8>(), any::<u8>(), 0u32..60).prop_map(|(pick, to, s)| Action::Late { pick, to, s }),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    // The slot begins an hour after the request: some check-ins open a few actions later.
    let check_in_s = prop_oneof![3 => Just(None), 1 => Just(Some(3_570))];
    (any::<bool>(), prop_oneof![3 => Just(0u64), 1 => Just(2500u64)], 1u32..4, check_in_s).prop_map(
        |(review, price, rings, check_in_s)| {
            // The deadlines are far enough away that most cases advance before the clock ends them.
            Policy {
                review,
                price,
                rings,
                check_in_s,
                doctor_grace_s: 20_000,
                patient_grace_s: 20_000,
                ..Policy::default()
            }
        },
    )
}

pub fn case() -> impl Strategy<Value = (Policy, bool, Vec<Action>)> {
    (policy(), any::<bool>(), prop::collection::vec(action(), 1..100))
}

/// Returns the command for an action in the current state.
fn command_for(clinic: &Clinic, action: &Action) -> Option<(Actor, Command)> {
    let care = clinic.care();
    let pick = |from: usize, n: u16| usize::from(n) % from.max(1);
    match action {
        Action::Possible(which, p) => {
            let possible = commands::possible(&care, u128::from(*p), clinic.now);
            // Commands that end a case are rare, and commands that lead back are infrequent, so that cases advance.
            let threshold = |command: &Command| match command {
                Command::Cancel(_) | Command::MarkError(_) | Command::Refer(_) | Command::CancelPrescription(_) => 10,
                Command::CheckDevices(_) | Command::DeclineCall(_) | Command::LeaveCall(_) => 30,
                Command::StartCall(_) => 120,
                Command::Chat(_) | Command::Export(_) | Command::OpenRecord(_) | Command::PutBack(_) => 25,
                Command::Amend(_) | Command::Reschedule(_) | Command::AssignDelivery(_) => 40,
                Command::Draft(_) if !care.prescriptions.is_empty() => 25,
                Command::Send(_) if !care.dispensings.is_empty() => 60,
                Command::MoveDispensing(MoveDispensing { to: DispensingState::Declined, .. }) => 25,
                Command::MoveDelivery(MoveDelivery {
                    to: DeliveryState::Cancelled | DeliveryState::Lost | DeliveryState::Damaged,
                    ..
                }) => 40,
                _ => 256,
            };
            let calm: Vec<_> = possible.into_iter().filter(|(_, c)| i32::from(*p) < threshold(c)).collect();
            let index = pick(calm.len(), *which);
            calm.into_iter().nth(index)
        }
        Action::Anything { who, what, pick: p } => {
            let everybody = clinic.everybody();
            let who = everybody[pick(everybody.len(), (*who).into())].clone();
            let all_commands = all_commands(&care, u128::from(*p), clinic.now);
            let index = pick(all_commands.len(), *what);
            Some((who, all_commands.into_iter().nth(index)?))
        }
        Action::Wait { .. } => Some((Actor::System, Command::Timer(Nothing {}))),
        Action::Presence { patient, here } => {
            let party = if *patient { Party::Patient } else { Party::Doctor };
            Some((Actor::System, Command::Presence(PresenceChange { party, here: *here })))
        }
        Action::Pay(n) => {
            let to = rooms::state::PaymentState::ALL[usize::from(*n) % 5];
            let record = RecordPayment { to, amount: 2500, currency: text("EUR"), reference: text("r-1") };
            Some((Actor::System, Command::RecordPayment(record)))
        }
        Action::Report => {
            let call = care.call.as_ref()?.id;
            let report = ReportCall { call, peer: user(&doctor()), quality: quality() };
            Some((patient(), Command::ReportCall(report)))
        }
        Action::Guest { which, what } => {
            let guests = clinic.guests();
            let guest = guests.get(pick(guests.len(), (*which).into()))?.clone();
            let call = care.call.as_ref();
            let command = match (what % 8, call) {
                (0 | 1, _) => Command::EnterAsGuest(Nothing {}),
                (2, _) => chat(rooms::party::Thread::Care),
                (3 | 4, Some(call)) => commands::call_command("call.join", call, 0),
                (5, Some(call)) => commands::call_command("call.media", call, u128::from(*what)),
                (6, Some(call)) => commands::call_command("call.leave", call, 0),
                _ => return Some((doctor(), Command::DismissGuest(GuestRef { guest: user(&guest) }))),
            };
            Some((guest, command))
        }
        Action::Late { pick: p, to, s } => {
            let delivery = care.deliveries.get(pick(care.deliveries.len(), (*p).into()))?;
            let to = DeliveryState::ALL[usize::from(*to) % 15].as_str();
            let Command::MoveDelivery(mut step) = move_delivery(delivery.id, to, clinic.now) else { return None };
            step.occurred_at =
                Some(rooms::time::Timestamp::from_micros(clinic.now.micros() - i64::from(*s) * 1_000_000));
            let own = delivery.courier.as_ref().map_or(1, |own| if own.id == user(&courier(1)) { 1 } else { 2 });
            Some((courier(own), Command::MoveDelivery(step)))
        }
    }
}

/// Returns every command about every existing subject, well-formed.
pub fn all_commands(care: &Snapshot, pick: u128, now: rooms::time::Timestamp) -> Vec<Command> {
    let mut all: Vec<Command> = CONSULTATION_MOVES.iter().map(|key| commands::consultation_command(key)).collect();
    all.extend([request_slot(3), walk_in(), Command::Timer(Nothing {}), Command::Export(Purpose::default())]);
    if let Some(view) = &care.call {
        all.extend(commands::call_moves().iter().map(|key| commands::call_command(key, view, pick)));
        all.push(Command::ReportCall(ReportCall { call: view.id, peer: user(&doctor()), quality: quality() }));
    }
    all.push(Command::EnterAsGuest(Nothing {}));
    all.extend(care.guests.iter().map(|guest| Command::DismissGuest(GuestRef { guest: guest.id })));
    for view in &care.prescriptions {
        all.extend(PRESCRIPTION_MOVES.iter().map(|key| commands::prescription_command(key, view, pick)));
    }
    for view in &care.dispensings {
        all.extend(DispensingState::ALL.iter().map(|to| move_dispensing(view.id, to.as_str())));
        all.push(commands::dispensing_command("chat.send", view));
    }
    for view in &care.deliveries {
        all.extend(DeliveryState::ALL.iter().map(|to| move_delivery(view.id, to.as_str(), now)));
        all.push(commands::delivery_command("delivery.assign", view, pick, now));
    }
    all
}

/// Runs a case and inspects it after every action.
pub fn play(policy: Policy, slot: bool, actions: &[Action], mut look: impl FnMut(&Clinic, &Clinic)) -> Clinic {
    let mut clinic = Clinic::new(policy);
    clinic.ok(&patient(), if slot { request_slot(1) } else { walk_in() });
    for action in actions {
        let before = clinic.clone();
        let s = if let Action::Wait { s } = action { *s } else { 7 };
        clinic.advance(secs(s.into()));
        if let Some((who, command)) = command_for(&clinic, action) {
            // Refusals are fine here; only the resulting state counts.
            let _ = clinic.submit(&who, command);
        }
        look(&before, &clinic);
    }
    clinic
}

/// Returns every view that anybody could have of a case, up to its end.
pub fn views(log: &[Record]) -> Vec<View> {
    let entered = |record: &Record| match &record.event {
        Event::GuestEntered(entered) => Some(View::Guest { guest: entered.guest.id, after: record.seq - 1 }),
        _ => None,
    };
    let pharmacies = (1..4).map(|n| View::Pharmacy(pharmacy_id(n)));
    let couriers = (1..3).map(|n| View::Courier(user(&courier(n))));
    [View::Care].into_iter().chain(pharmacies).chain(couriers).chain(log.iter().filter_map(entered)).collect()
}

/// Checks what must be true of every case at any time.
fn invariants(clinic: &Clinic) {
    let care = clinic.care();
    let over = |state| {
        use DispensingState::*;
        matches!(state, Completed | ReturnedToStock | Declined | Cancelled)
    };
    for prescription in &care.prescriptions {
        let works: Vec<_> = care.dispensings.iter().filter(|work| work.prescription == prescription.id).collect();
        let active = works.iter().filter(|work| !over(work.state)).count();
        assert!(active <= 1, "a prescription is at one pharmacy at a time");
        use PrescriptionState::*;
        match prescription.state {
            InReview | Queried | WithPharmacy => assert_eq!(active, 1, "{:?} has a pharmacy", prescription.state),
            Released => {}
            _ => assert_eq!(active, 0, "{:?} has no pharmacy", prescription.state),
        }
        let completed = works.iter().any(|work| work.state == DispensingState::Completed);
        assert_eq!(prescription.state == Completed, completed, "completed means handed over or delivered");
        assert!(!prescription.items.is_empty() && prescription.items.len() <= 20);
    }
    for work in &care.dispensings {
        let parcels: Vec<_> = care.deliveries.iter().filter(|parcel| parcel.dispensing == work.id).collect();
        use DeliveryState::*;
        let way = |state| {
            matches!(state, PickedUp | InTransit | OutForDelivery | AttemptFailed | Rescheduled | Returning | Returned)
        };
        let under_way = parcels.iter().filter(|parcel| way(parcel.state)).count();
        assert_eq!(work.state == DispensingState::Released, under_way == 1, "released means with a courier");
        let open = parcels.iter().any(|parcel| matches!(parcel.state, Requested | Assigned));
        assert!(!open || work.state == DispensingState::Ready, "a delivery waits only for medicine that is ready");
        assert!(parcels.iter().all(|parcel| parcel.attempts <= 3));
    }
    for (index, record) in clinic.log.iter().enumerate() {
        assert_eq!(record.seq, index as u64 + 1, "numbered without gaps");
    }
    // Every hand-over carries proof.
    for record in &clinic.log {
        match &record.event {
            Event::DispensingMoved(moved) if moved.to == DispensingState::Completed => assert!(moved.proof.is_some()),
            Event::DeliveryMoved(moved) if moved.to == DeliveryState::Delivered => assert!(moved.proof.is_some()),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// The log is complete: replayed through JSON, it yields the same state.
    #[test]
    fn replaying_the_log_yields_the_live_state((policy, slot, actions) in case()) {
        let clinic = play(policy, slot, &actions, |_, _| {});
        let mut replayed = Room::new(clinic.room.id());
        for record in &clinic.log {
            let line = record.canonical();
            let read: Record = serde_json::from_str(&line).expect("a record reads back");
            prop_assert_eq!(&read, record);
            prop_assert!(replayed.apply(&read));
        }
        prop_assert_eq!(&replayed, &clinic.room);
    }

    #[test]
    fn no_command_breaks_an_invariant_of_the_case((policy, slot, actions) in case()) {
        play(policy, slot, &actions, |_, after| invariants(after));
    }

    /// An event outside a view leaves its snapshot unchanged, and a view's head is the last event that it contains.
    #[test]
    fn events_outside_a_view_leave_its_snapshot_unchanged((policy, slot, actions) in case()) {
        let clinic = play(policy, slot, &actions, |_, _| {});
        let mut room = Room::new(clinic.room.id());
        let mut last: Vec<(View, u64, Option<Snapshot>)> = views(&clinic.log).into_iter().map(|view| (view, 0, None)).collect();
        for record in &clinic.log {
            room.apply(record);
            for (view, head, snapshot) in &mut last {
                let now = room.snapshot(view, clinic.now);
                if sees(view, record.seq, &record.event) {
                    *head = record.seq;
                } else if let (Some(before), true) = (&*snapshot, *head > 0) {
                    prop_assert_eq!(before, &now, "{:?} changed {:?}", record.event.kind(), view);
                }
                prop_assert_eq!(room.visible_head(view), *head);
                *snapshot = Some(now);
            }
        }
    }

    /// Pharmacies and couriers never see the clinical thread; guests see only the clinical thread and the calls.
    #[test]
    fn only_the_care_view_contains_clinical_events((policy, slot, actions) in case()) {
        let clinic = play(policy, slot, &actions, |_, _| {});
        for record in &clinic.log {
            let all = views(&clinic.log).into_iter();
            let outside = all.filter(|view| *view != View::Care && sees(view, record.seq, &record.event));
            let line = record.canonical();
            for view in outside {
                match view {
                    View::Pharmacy(own) => prop_assert!(line.contains(&own.to_string()), "about another: {line}"),
                    View::Courier(own) => prop_assert!(line.contains(&own.to_string()) && !line.contains("medicine")),
                    View::Guest { after, .. } => {
                        let talk = ["chat.", "call.", "guest."].iter().any(|part| record.event.kind().starts_with(part));
                        prop_assert!(talk && record.seq > after && !line.contains("pharmacy"), "{line}");
                        continue;
                    }
                    View::Care => unreachable!(),
                }
                let kind = record.event.kind();
                prop_assert!(!kind.starts_with("consultation.") && !kind.starts_with("record."), "{kind}");
                prop_assert!(!line.contains(r#""thread":"care""#));
            }
        }
    }

    /// The timer handles everything that is due, and acts at no other time.
    #[test]
    fn timer_acts_exactly_at_wake_at((policy, slot, actions) in case(), late in 0u64..100_000) {
        let mut clinic = play(policy, slot, &actions, |_, _| {});
        while let Some(at) = clinic.room.wake_at() {
            if at > clinic.now {
                clinic.now = rooms::time::Timestamp::from_micros(at.micros() - 1);
                prop_assert!(clinic.timer().is_empty(), "nothing happens a microsecond early");
            }
            clinic.now = clinic.now.max(at).plus(secs(late));
            prop_assert!(!clinic.timer().is_empty(), "something is due at wake_at");
            invariants(&clinic);
        }
        clinic.advance(secs(10_000_000));
        prop_assert!(clinic.timer().is_empty());
    }

    /// Everybody with a view has a part in the case.
    #[test]
    fn only_people_with_a_part_in_the_case_have_a_view((policy, slot, actions) in case()) {
        play(policy, slot, &actions, |_, after| {
            for who in after.everybody() {
                let view = after.room.view_of(&who, after.now);
                match (who.role(), view) {
                    (Role::Support, view) => assert_eq!(view, None),
                    (Role::Pharmacist, Some(view)) => assert!(after.room.visible_head(&view) > 0),
                    (Role::Courier, Some(view)) => assert!(after.room.visible_head(&view) > 0),
                    (Role::Admin, Some(_)) => {
                        let opened = after.log.iter().rev().find_map(|record| match &record.event {
                            Event::RecordOpened(opened) if opened.by == user(&who) => Some(opened.until),
                            _ => None,
                        });
                        assert!(opened.is_some_and(|until| until > after.now));
                    }
                    (Role::Guest, Some(View::Guest { guest, .. })) => assert_eq!(guest, user(&who)),
                    (Role::Guest, Some(other)) => panic!("a guest sees {other:?}"),
                    (Role::Patient | Role::Doctor, Some(_)) => assert!(who == patient() || who == doctor()),
                    _ => {}
                }
            }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn allowed_moves_are_exactly_what_decide_accepts((policy, slot, actions) in case()) {
        play(policy, slot, &actions, |_, after| {
            assert_allowed_matches_decide(after);
            assert_allowed_moves_are_accepted(after);
        });
    }
}

/// Runs many cases, the same ones each time, until no deadline is left.
pub fn fixed_cases(count: usize, mut look: impl FnMut(&Clinic, &Clinic)) -> Vec<Clinic> {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let play_one = |_| {
        let (policy, slot, actions) = case().new_tree(&mut runner).expect("a case").current();
        let mut clinic = play(policy, slot, &actions, &mut look);
        while clinic.room.wake_at().is_some() {
            let before = clinic.clone();
            clinic.advance(secs(1_000_000));
            clinic.timer();
            look(&before, &clinic);
        }
        clinic
    };
    (0..count).map(play_one).collect()
}

/// The generator is useful only if it reaches everything.
#[test]
fn random_cases_reach_every_state_and_every_event() {
    use rooms::state::{ConsultationState, PaymentState};
    use std::collections::BTreeSet;

    let mut states = BTreeSet::new();
    let cases = fixed_cases(2500, |_, after| states.extend(states_of(after).into_values()));
    let kinds: BTreeSet<_> = cases.iter().flat_map(|case| &case.log).map(|record| record.event.kind()).collect();
    let missing: Vec<_> = Event::KINDS.iter().filter(|kind| !kinds.contains(*kind)).collect();
    assert!(missing.is_empty(), "no random case had {missing:?}");
    let all = (ConsultationState::ALL.iter().map(|s| ("consultation", s.as_str())))
        .chain(PrescriptionState::ALL.iter().map(|s| ("prescription", s.as_str())))
        .chain(DispensingState::ALL.iter().map(|s| ("dispensing", s.as_str())))
        .chain(CallState::ALL.iter().map(|s| ("call", s.as_str())))
        .chain(DeliveryState::ALL.iter().map(|s| ("delivery", s.as_str())))
        .chain(PaymentState::ALL.iter().map(|s| ("payment", s.as_str())));
    let missing: Vec<_> = all.filter(|state| !states.contains(state)).collect();
    assert!(missing.is_empty(), "no random case reached {missing:?}");
}

/// Returns the machine and state of each subject of a case, by its id.
pub fn states_of(clinic: &Clinic) -> std::collections::BTreeMap<String, (&'static str, &'static str)> {
    let care = clinic.care();
    let prescriptions = care.prescriptions.iter().map(|p| (p.id.to_string(), ("prescription", p.state.as_str())));
    let dispensings = care.dispensings.iter().map(|d| (d.id.to_string(), ("dispensing", d.state.as_str())));
    let deliveries = care.deliveries.iter().map(|d| (d.id.to_string(), ("delivery", d.state.as_str())));
    let payment = care.payment.iter().map(|p| ("payment".to_owned(), ("payment", p.state.as_str())));
    let call = care.call.iter().map(|c| (c.id.to_string(), ("call", c.state.as_str())));
    let consultation = ("consultation".to_owned(), ("consultation", clinic.state()));
    prescriptions.chain(dispensings).chain(deliveries).chain(payment).chain(call).chain([consultation]).collect()
}
