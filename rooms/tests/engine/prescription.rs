//! The prescription and its dispensing.

use rooms::command::*;
use rooms::event::Event;
use rooms::party::{Policy, Thread};
use rooms::permission::View;
use rooms::reason::ReviewVerdict;
use rooms::refusal::Refusal;

use crate::support::*;

fn under_review() -> Clinic {
    Clinic::new(Policy { review: true, ..Policy::default() })
}

fn review(clinic: &Clinic, verdict: ReviewVerdict, why: Option<&str>) -> Command {
    Command::Review(Review { prescription: clinic.prescription(), verdict, text: why.map(text) })
}

fn cancel(clinic: &Clinic) -> Command {
    Command::CancelPrescription(CancelPrescription { prescription: clinic.prescription(), reason: text("allergy") })
}

fn amend(clinic: &Clinic) -> Command {
    Command::Amend(Amend { prescription: clinic.prescription(), items: vec![item(), item()] })
}

#[test]
fn prescription_moves_from_draft_to_hand_over_at_the_counter() {
    let mut clinic = Clinic::with_default_policy();
    clinic.in_progress();
    assert_eq!(clinic.ok(&doctor(), draft()), ["prescription.drafted"]);
    let prescription = clinic.prescription();
    assert_eq!(clinic.ok(&doctor(), Command::Sign(PrescriptionRef { prescription })), ["prescription.signed"]);
    assert_eq!(clinic.medicine_states().0, "released");
    clinic.send(1, NewHandOver::Pickup);
    assert_eq!(clinic.medicine_states(), ("released", "received", ""));
    let dispensing = clinic.dispensing();
    let accepted = clinic.ok(&pharmacist(1), move_dispensing(dispensing, "accepted"));
    assert_eq!(accepted, ["dispensing.moved", "prescription.moved"]);
    assert_eq!(clinic.medicine_states().0, "with_pharmacy");
    clinic.dispense(1, &["preparing", "on_hold", "preparing", "checked", "ready"]);
    assert!(clinic.care().deliveries.is_empty(), "nobody requested a delivery");
    clinic.dispense(1, &["completed"]);
    assert_eq!(clinic.medicine_states(), ("completed", "completed", ""));
    assert_eq!(clinic.care().prescriptions[0].pharmacy, Some(pharmacy(1)));
}

#[test]
fn prescribing_requires_a_conversation() {
    let mut clinic = Clinic::with_default_policy();
    clinic.waiting();
    assert!(matches!(clinic.submit(&doctor(), draft()), Err(Refusal::Illegal { subject: "consultation", .. })));
    let mut clinic = Clinic::with_default_policy();
    clinic.in_progress().ok(&doctor(), Command::End(Nothing {}));
    clinic.ok(&doctor(), draft());
    // A draft can still be signed after the note.
    clinic.ok(&doctor(), Command::Complete(Note { note: text("rest") }));
    let prescription = clinic.prescription();
    clinic.ok(&doctor(), Command::Sign(PrescriptionRef { prescription }));
    assert!(matches!(clinic.submit(&doctor(), draft()), Err(Refusal::Illegal { .. })));
}

#[test]
fn items_are_bounded() {
    let mut clinic = Clinic::with_default_policy();
    clinic.in_progress();
    let with = |change: &dyn Fn(&mut NewItem)| {
        let mut one = item();
        change(&mut one);
        Command::Draft(Draft { items: vec![one] })
    };
    for (command, wrong) in [
        (Command::Draft(Draft { items: vec![] }), "items"),
        (Command::Draft(Draft { items: vec![item(); 21] }), "items"),
        (with(&|item| item.quantity = 0), "quantity"),
        (with(&|item| item.quantity = 10_000), "quantity"),
        (with(&|item| item.days = 0), "days"),
        (with(&|item| item.days = 91), "days"),
    ] {
        match clinic.submit(&doctor(), command) {
            Err(Refusal::Invalid { field, .. }) => assert_eq!(field, wrong),
            other => panic!("{other:?}"),
        }
    }
    clinic.ok(&doctor(), Command::Draft(Draft { items: vec![item(); 20] }));
    clinic.ok(&doctor(), with(&|item| (item.quantity, item.days) = (9999, 90)));
}

#[test]
fn draft_changes_in_place_and_signed_prescription_is_superseded() {
    let mut clinic = Clinic::with_default_policy();
    clinic.in_progress().ok(&doctor(), draft());
    let first = clinic.prescription();
    assert_eq!(clinic.ok(&doctor(), amend(&clinic)), ["prescription.amended"]);
    assert_eq!(clinic.care().prescriptions[0].items.len(), 2);
    clinic.ok(&doctor(), Command::Sign(PrescriptionRef { prescription: first }));
    assert_eq!(clinic.ok(&doctor(), amend(&clinic)), ["prescription.moved", "prescription.drafted"]);
    let care = clinic.care();
    assert_eq!(care.prescriptions[0].state.as_str(), "superseded");
    assert_eq!((care.prescriptions[1].state.as_str(), care.prescriptions[1].replaces), ("draft", Some(first)));
}

#[test]
fn superseding_cancels_the_work_of_a_pharmacy_that_has_not_claimed_it() {
    let mut clinic = Clinic::with_default_policy();
    clinic.sent(1, NewHandOver::Pickup);
    let kinds = clinic.ok(&doctor(), amend(&clinic));
    assert_eq!(kinds, ["prescription.moved", "dispensing.moved", "prescription.drafted"]);
    let seen = clinic.room.snapshot(&View::Pharmacy(pharmacy_id(1)), clinic.now);
    assert_eq!(seen.prescriptions[0].state.as_str(), "superseded");
    assert_eq!(seen.dispensings[0].state.as_str(), "cancelled");
    assert_eq!(seen.prescriptions.len(), 1, "the new draft is not in the pharmacy's view");

    let mut clinic = Clinic::with_default_policy();
    clinic.sent(1, NewHandOver::Pickup).dispense(1, &["accepted"]);
    assert!(matches!(clinic.submit(&doctor(), amend(&clinic)), Err(Refusal::Illegal { .. })));
}

#[test]
fn doctor_can_cancel_until_the_hand_over() {
    for steps in
        [&[][..], &["accepted"], &["accepted", "preparing", "on_hold"], &["accepted", "preparing", "checked", "ready"]]
    {
        let mut clinic = Clinic::with_default_policy();
        clinic.sent(1, NewHandOver::Pickup).dispense(1, steps);
        clinic.ok(&doctor(), cancel(&clinic));
        assert_eq!(clinic.medicine_states(), ("cancelled", "cancelled", ""));
        let seen = clinic.room.snapshot(&View::Pharmacy(pharmacy_id(1)), clinic.now);
        assert_eq!(seen.prescriptions[0].state.as_str(), "cancelled");
    }
    let mut clinic = Clinic::with_default_policy();
    clinic.sent(1, NewHandOver::Pickup).dispense(1, &["accepted", "preparing", "checked", "ready", "completed"]);
    assert!(matches!(clinic.submit(&doctor(), cancel(&clinic)), Err(Refusal::Illegal { .. })));
}

#[test]
fn declined_prescription_can_be_sent_to_another_pharmacy() {
    let mut clinic = Clinic::with_default_policy();
    clinic.sent(1, NewHandOver::Pickup).dispense(1, &["accepted", "declined"]);
    assert_eq!(clinic.medicine_states(), ("released", "declined", ""));
    assert_eq!(clinic.care().prescriptions[0].pharmacy, None);
    let before = clinic.room.snapshot(&View::Pharmacy(pharmacy_id(1)), clinic.now);
    clinic.send(2, to_home());
    clinic.dispense(2, &["accepted"]);
    clinic.ok(&doctor(), cancel(&clinic));
    assert_eq!(
        clinic.room.snapshot(&View::Pharmacy(pharmacy_id(1)), clinic.now),
        before,
        "the first pharmacy sees no later event"
    );
    assert_eq!(before.prescriptions[0].state.as_str(), "released");
}

#[test]
fn patient_can_move_an_unclaimed_prescription_to_another_pharmacy() {
    let mut clinic = Clinic::with_default_policy();
    clinic.sent(1, NewHandOver::Pickup);
    let again = |n| {
        let pharmacy = pharmacy_id(n);
        Command::Send(SendPrescription {
            prescription: clinic.prescription(),
            pharmacy,
            hand_over: NewHandOver::Pickup,
        })
    };
    let (same, other, none) = (again(1), again(2), again(9));
    assert!(matches!(clinic.decide(&patient(), &same, None), Err(Refusal::Invalid { field: "pharmacy", .. })));
    assert_eq!(clinic.decide(&patient(), &none, None), Err(Refusal::NoSuch("pharmacy")));
    assert_eq!(clinic.ok(&patient(), other), ["dispensing.moved", "prescription.sent"]);
    assert_eq!(clinic.care().dispensings[0].state.as_str(), "cancelled");
    clinic.dispense(2, &["accepted"]);
    assert!(matches!(clinic.submit(&patient(), same), Err(Refusal::Illegal { .. })), "a claimed prescription stays");
}

#[test]
fn nothing_is_dispensed_under_review_before_the_verdict() {
    let mut clinic = under_review();
    clinic.signed();
    assert_eq!(clinic.medicine_states().0, "signed");
    clinic.send(1, NewHandOver::Pickup);
    assert_eq!(clinic.medicine_states(), ("in_review", "received", ""));
    let accept = move_dispensing(clinic.dispensing(), "accepted");
    assert!(matches!(clinic.submit(&pharmacist(1), accept.clone()), Err(Refusal::Illegal { .. })));
    let silent = review(&clinic, ReviewVerdict::Query, None);
    assert!(matches!(clinic.submit(&pharmacist(1), silent), Err(Refusal::Invalid { field: "text", .. })));
    clinic.ok(&pharmacist(1), review(&clinic, ReviewVerdict::Query, Some("why so much?")));
    assert_eq!(clinic.medicine_states().0, "queried");
    let prescription = clinic.prescription();
    clinic.ok(&doctor(), Command::Answer(Answer { prescription, text: text("body weight") }));
    assert_eq!(clinic.medicine_states().0, "in_review");
    clinic.ok(&pharmacist(1), review(&clinic, ReviewVerdict::Approve, None));
    assert_eq!(clinic.medicine_states(), ("released", "received", ""));
    clinic.ok(&pharmacist(1), accept);
    // One review is enough for every pharmacy.
    clinic.dispense(1, &["declined"]);
    clinic.send(2, NewHandOver::Pickup);
    assert_eq!(clinic.medicine_states(), ("released", "received", ""));
}

#[test]
fn rejected_or_declined_review_ends_the_pharmacys_work() {
    let mut clinic = under_review();
    clinic.sent(1, NewHandOver::Pickup);
    let mut declined = clinic.clone();
    let kinds = clinic.ok(&pharmacist(1), review(&clinic, ReviewVerdict::Reject, Some("interaction")));
    assert_eq!(kinds, ["prescription.reviewed", "dispensing.moved"]);
    assert_eq!(clinic.medicine_states(), ("rejected", "declined", ""));
    declined.dispense(1, &["declined"]);
    assert_eq!(declined.medicine_states(), ("signed", "declined", ""));
    declined.send(2, NewHandOver::Pickup);
    assert_eq!(declined.medicine_states(), ("in_review", "received", ""), "still not reviewed");
}

#[test]
fn amending_a_queried_prescription_creates_a_new_draft() {
    let mut clinic = under_review();
    clinic.sent(1, NewHandOver::Pickup);
    clinic.ok(&pharmacist(1), review(&clinic, ReviewVerdict::Query, Some("twice?")));
    clinic.ok(&doctor(), amend(&clinic));
    let care = clinic.care();
    assert_eq!(care.prescriptions[0].state.as_str(), "superseded");
    assert_eq!(care.dispensings[0].state.as_str(), "cancelled");
    assert_eq!(clinic.medicine_states().0, "draft");
}

#[test]
fn unclaimed_prescription_expires() {
    let mut clinic = Clinic::with_default_policy();
    clinic.sent(1, NewHandOver::Pickup).ok(&doctor(), Command::End(Nothing {}));
    let valid_until = clinic.care().prescriptions[0].valid_until.expect("signed");
    assert_eq!(clinic.room.wake_at(), Some(valid_until));
    let mut claimed = clinic.clone();
    clinic.now = valid_until;
    assert_eq!(clinic.timer(), ["prescription.moved", "dispensing.moved"]);
    assert_eq!(clinic.medicine_states(), ("expired", "cancelled", ""));
    claimed.dispense(1, &["accepted"]);
    assert_eq!(claimed.room.wake_at(), None, "claimed in time");
}

#[test]
fn each_dispensing_move_requires_exactly_its_own_data() {
    let mut clinic = Clinic::with_default_policy();
    clinic.sent(1, NewHandOver::Pickup);
    let dispensing = clinic.dispensing();
    let bare = |to: &str| MoveDispensing { dispensing, to: named(to), hold: None, reason: None, proof: None };
    let field = |clinic: &Clinic, step: MoveDispensing| match clinic.decide(
        &pharmacist(1),
        &Command::MoveDispensing(step),
        None,
    ) {
        Err(Refusal::Invalid { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(&clinic, bare("declined")), "reason");
    assert_eq!(field(&clinic, MoveDispensing { proof: Some(proof()), ..bare("accepted") }), "proof");
    assert_eq!(field(&clinic, MoveDispensing { reason: Some(text("x")), ..bare("accepted") }), "reason");
    clinic.dispense(1, &["accepted", "preparing"]);
    assert_eq!(field(&clinic, bare("on_hold")), "hold");
    clinic.dispense(1, &["checked", "ready"]);
    assert_eq!(field(&clinic, bare("completed")), "proof");
    assert_eq!(field(&clinic, bare("returned_to_stock")), "reason");
    clinic.dispense(1, &["returned_to_stock"]);
    assert_eq!(clinic.medicine_states(), ("released", "returned_to_stock", ""));
}

#[test]
fn pharmacy_sees_nothing_of_another_pharmacys_work() {
    let mut clinic = Clinic::with_default_policy();
    clinic.sent(1, NewHandOver::Pickup);
    let dispensing = clinic.dispensing();
    assert_eq!(clinic.submit(&pharmacist(2), move_dispensing(dispensing, "accepted")), Err(Refusal::Forbidden));
    clinic.dispense(1, &["declined"]);
    clinic.send(2, NewHandOver::Pickup);
    let second = clinic.dispensing();
    assert_eq!(clinic.submit(&pharmacist(1), move_dispensing(second, "accepted")), Err(Refusal::NoSuch("dispensing")));
    assert_eq!(
        clinic.submit(&pharmacist(2), move_dispensing(dispensing, "accepted")),
        Err(Refusal::NoSuch("dispensing"))
    );
    let seen = clinic.room.snapshot(&View::Pharmacy(pharmacy_id(2)), clinic.now);
    assert_eq!((seen.consultation, seen.payment, seen.dispensings.len()), (None, None, 1));
}

#[test]
fn each_thread_has_its_own_members() {
    let mut clinic = Clinic::with_default_policy();
    clinic.sent(1, NewHandOver::Pickup);
    let own = Thread::Pharmacy(pharmacy_id(1));
    for who in [patient(), doctor(), pharmacist(1)] {
        clinic.ok(&who, chat(own));
    }
    assert_eq!(clinic.submit(&pharmacist(1), chat(Thread::Care)), Err(Refusal::Forbidden));
    let other = chat(Thread::Pharmacy(pharmacy_id(2)));
    assert_eq!(clinic.submit(&patient(), other.clone()), Err(Refusal::NoSuch("pharmacy")));
    assert_eq!(clinic.submit(&pharmacist(1), other), Err(Refusal::Forbidden));
    clinic.dispense(1, &["declined"]);
    clinic.ok(&pharmacist(1), chat(own));
    clinic.ok(&patient(), chat(Thread::Care));
    let head = clinic.room.visible_head(&View::Pharmacy(pharmacy_id(1)));
    assert_eq!(head, clinic.room.head() - 1);
}

#[test]
fn prescriptions_of_a_room_are_bounded() {
    let mut clinic = Clinic::with_default_policy();
    clinic.in_progress();
    for _ in 0..rooms::room::MAX_PRESCRIPTIONS {
        clinic.ok(&doctor(), draft());
    }
    assert!(matches!(clinic.submit(&doctor(), draft()), Err(Refusal::Invalid { field: "prescription", .. })));
    let prescription = clinic.prescription();
    clinic.ok(&doctor(), Command::Sign(PrescriptionRef { prescription }));
    for n in 0..rooms::room::MAX_DISPENSINGS as u128 {
        clinic.send(1 + n % 2, NewHandOver::Pickup);
    }
    let pharmacy = pharmacy_id(3);
    let again = Command::Send(SendPrescription { prescription, pharmacy, hand_over: NewHandOver::Pickup });
    assert!(matches!(clinic.submit(&patient(), again), Err(Refusal::Invalid { field: "pharmacy", .. })));
}

#[test]
fn nothing_new_follows_from_a_consultation_entered_in_error() {
    let mut clinic = Clinic::with_default_policy();
    clinic.signed().ok(&doctor(), Command::Refer(reason()));
    for n in [1, 2] {
        clinic.ok(&admin(n), Command::MarkError(reason()));
    }
    let prescription = clinic.prescription();
    let send = SendPrescription { prescription, pharmacy: pharmacy_id(1), hand_over: NewHandOver::Pickup };
    assert!(matches!(clinic.submit(&patient(), Command::Send(send)), Err(Refusal::Illegal { .. })));
    assert!(matches!(clinic.submit(&doctor(), amend(&clinic)), Err(Refusal::Illegal { .. })));
    let cancelled = cancel(&clinic);
    assert!(
        clinic.submit(&doctor(), cancelled).is_ok_and(|events| matches!(events[..], [Event::PrescriptionMoved(_)]))
    );
}
