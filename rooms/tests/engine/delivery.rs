//! The parcel.

use rooms::command::*;
use rooms::event::Event;
use rooms::permission::View;
use rooms::refusal::Refusal;
use rooms::role::Actor;
use rooms::state::DeliveryState;
use rooms::time::Timestamp;

use crate::support::*;

fn before(clinic: &Clinic, s: i64) -> Timestamp {
    Timestamp::from_micros(clinic.now.micros() - s * 1_000_000)
}

fn late(clinic: &Clinic, to: &str, s: i64) -> Command {
    let Command::MoveDelivery(mut step) = move_delivery(clinic.delivery(), to, clinic.now) else { unreachable!() };
    step.occurred_at = Some(before(clinic, s));
    Command::MoveDelivery(step)
}

#[test]
fn a_parcel_goes_from_the_pharmacy_to_the_patient() {
    let mut clinic = Clinic::plain();
    clinic.sent(1, to_home()).dispense(1, &["accepted", "preparing", "checked"]);
    let dispensing = clinic.dispensing();
    let ready = clinic.ok(&pharmacist(1), move_dispensing(dispensing, "ready"));
    assert_eq!(ready, ["dispensing.moved", "delivery.requested"]);
    assert_eq!(clinic.medicine(), ("with_pharmacy", "ready", "requested"));
    let delivery = clinic.delivery();
    assert_eq!(clinic.ask(&pharmacist(1), assign(delivery, 9)), Err(Refusal::NoSuch("courier")));
    assert_eq!(clinic.ok(&pharmacist(1), assign(delivery, 1)), ["delivery.assigned"]);
    let picked_up = clinic.ok(&courier(1), move_delivery(delivery, "picked_up", clinic.now));
    assert_eq!(picked_up, ["delivery.moved", "dispensing.moved"]);
    assert_eq!(clinic.medicine(), ("with_pharmacy", "released", "picked_up"));
    clinic.deliver(&["in_transit", "out_for_delivery"]);
    let delivered = clinic.ok(&courier(1), move_delivery(delivery, "delivered", clinic.now));
    assert_eq!(delivered, ["delivery.moved", "dispensing.moved", "prescription.moved"]);
    assert_eq!(clinic.medicine(), ("completed", "completed", "delivered"));
}

#[test]
fn a_courier_sees_the_parcel_and_nothing_clinical() {
    let mut clinic = Clinic::plain();
    clinic.parcel();
    let view = clinic.room.view_of(&courier(1), clinic.now).expect("has a parcel");
    assert_eq!(view, View::Courier(user(&courier(1))));
    let seen = clinic.room.snapshot(&view);
    assert_eq!((seen.doctor.clone(), seen.consultation.clone(), seen.payment.clone()), (None, None, None));
    assert!(seen.prescriptions.is_empty() && seen.dispensings.is_empty());
    assert_eq!(seen.deliveries[0].address.as_str(), "2 Side Street");
    assert_eq!(clinic.room.visible_head(&view), clinic.room.head());
    assert!(!serde_json::to_string(&seen).expect("a snapshot is JSON").contains("Amoxicillin"));
}

#[test]
fn a_relieved_courier_has_no_part_any_more() {
    let mut clinic = Clinic::plain();
    clinic.parcel();
    let delivery = clinic.delivery();
    assert!(matches!(clinic.ask(&pharmacist(1), assign(delivery, 1)), Err(Refusal::Invalid { field: "courier", .. })));
    clinic.ok(&pharmacist(1), assign(delivery, 2));
    assert_eq!(clinic.room.view_of(&courier(1), clinic.now), None);
    assert_eq!(clinic.ask(&courier(1), move_delivery(delivery, "picked_up", clinic.now)), Err(Refusal::Forbidden));
    // The last thing they see is that it is somebody else's.
    assert_eq!(clinic.room.visible_head(&View::Courier(user(&courier(1)))), clinic.room.head());
    clinic.ok(&courier(2), move_delivery(delivery, "picked_up", clinic.now));
    assert!(matches!(clinic.ask(&pharmacist(1), assign(delivery, 1)), Err(Refusal::Illegal { .. })));
}

#[test]
fn the_third_failed_attempt_sends_it_back() {
    let mut clinic = Clinic::plain();
    clinic.parcel().deliver(&["picked_up"]);
    for attempt in 1..=3 {
        clinic.deliver(&["out_for_delivery"]);
        let delivery = clinic.delivery();
        let failed = clinic.ok(&courier(1), move_delivery(delivery, "attempt_failed", clinic.now));
        assert_eq!(clinic.care().deliveries[0].attempts, attempt);
        if attempt < 3 {
            assert_eq!(failed, ["delivery.moved"]);
            clinic.ok(&patient(), move_delivery(delivery, "rescheduled", clinic.now));
            assert_eq!(clinic.care().deliveries[0].window, Some(clinic.now.plus(secs(7200))));
        } else {
            assert_eq!(failed, ["delivery.moved", "delivery.moved"]);
        }
    }
    assert_eq!(clinic.medicine(), ("with_pharmacy", "released", "returning"));
    let delivery = clinic.delivery();
    clinic.deliver(&["returned"]);
    let restocked = clinic.ok(&pharmacist(1), move_delivery(delivery, "restocked", clinic.now));
    assert_eq!(restocked, ["delivery.moved", "dispensing.moved", "prescription.moved"]);
    assert_eq!(clinic.medicine(), ("released", "returned_to_stock", "restocked"));
}

#[test]
fn late_facts_are_kept_and_move_nothing() {
    let mut clinic = Clinic::plain();
    clinic.parcel();
    clinic.pass(secs(600));
    clinic.deliver(&["picked_up", "out_for_delivery"]);
    let state = clinic.room.snapshot(&View::Care);
    assert_eq!(clinic.ok(&courier(1), late(&clinic, "in_transit", 60)), ["delivery.reported"]);
    assert_eq!(clinic.ok(&courier(1), late(&clinic, "attempt_failed", 60)), ["delivery.reported"]);
    assert_eq!(clinic.room.snapshot(&View::Care), state);
    assert_eq!(clinic.ask(&courier(1), late(&clinic, "lost", 60)), Err(Refusal::Forbidden));
    clinic.pass(secs(60));
    // Earlier than now, later than the present state: a fact like another, with its own time.
    assert_eq!(clinic.ok(&courier(1), late(&clinic, "attempt_failed", 30)), ["delivery.moved"]);
    let at = before(&clinic, 30);
    assert!(
        matches!(&clinic.log.last().expect("one").event, Event::DeliveryMoved(moved) if moved.occurred_at == Some(at))
    );
    assert_eq!(clinic.ok(&courier(1), late(&clinic, "delivered", 31)), ["delivery.reported"]);
    assert!(matches!(clinic.ask(&courier(1), late(&clinic, "returned", 20)), Err(Refusal::Illegal { .. })));
    assert!(matches!(
        clinic.ask(&courier(1), late(&clinic, "returning", -400)),
        Err(Refusal::Invalid { field: "occurred_at", .. })
    ));
    // A clock that is a little ahead is nobody's fault.
    clinic.ok(&courier(1), late(&clinic, "returning", -20));
    assert_eq!(clinic.medicine().2, "returning");
}

#[test]
fn a_parcel_that_is_called_off_can_be_fetched_at_the_counter() {
    for who in [patient(), pharmacist(1)] {
        let mut clinic = Clinic::plain();
        clinic.parcel();
        let dispensing = clinic.dispensing();
        assert!(matches!(
            clinic.ask(&pharmacist(1), move_dispensing(dispensing, "completed")),
            Err(Refusal::Illegal { .. })
        ));
        let delivery = clinic.delivery();
        clinic.ok(&who, move_delivery(delivery, "cancelled", clinic.now));
        assert_eq!(clinic.medicine(), ("with_pharmacy", "ready", "cancelled"));
        clinic.dispense(1, &["completed"]);
        assert_eq!(clinic.medicine().0, "completed");
    }
    let mut clinic = Clinic::plain();
    clinic.parcel().deliver(&["picked_up"]);
    let delivery = clinic.delivery();
    let too_late = clinic.ask(&patient(), move_delivery(delivery, "cancelled", clinic.now));
    assert!(matches!(too_late, Err(Refusal::Illegal { .. })));
}

#[test]
fn a_cancelled_prescription_calls_the_parcel_off_and_tells_the_courier_no_reason() {
    let mut clinic = Clinic::plain();
    clinic.parcel();
    let prescription = clinic.prescription();
    let cancel = Command::CancelPrescription(CancelPrescription { prescription, reason: text("allergy") });
    let kinds = clinic.ok(&doctor(), cancel.clone());
    assert_eq!(kinds, ["prescription.moved", "dispensing.moved", "delivery.moved"]);
    assert_eq!(clinic.medicine(), ("cancelled", "cancelled", "cancelled"));
    assert!(!clinic.log.last().expect("one").canonical().contains("allergy"));

    let mut clinic = Clinic::plain();
    clinic.parcel().deliver(&["picked_up"]);
    assert!(matches!(clinic.ask(&doctor(), cancel), Err(Refusal::Illegal { .. })), "with the courier is handed over");
}

#[test]
fn lost_and_damaged_are_an_administrators_word_and_set_the_prescription_free() {
    for to in ["lost", "damaged"] {
        let mut clinic = Clinic::plain();
        clinic.parcel();
        let delivery = clinic.delivery();
        assert!(matches!(clinic.ask(&admin(1), move_delivery(delivery, to, clinic.now)), Err(Refusal::Illegal { .. })));
        clinic.deliver(&["picked_up", "in_transit"]);
        assert_eq!(clinic.ask(&courier(1), move_delivery(delivery, to, clinic.now)), Err(Refusal::Forbidden));
        clinic.ok(&admin(1), move_delivery(delivery, to, clinic.now));
        assert_eq!(clinic.medicine(), ("released", "cancelled", to));
        assert_eq!(clinic.room.view_of(&admin(1), clinic.now), None, "acting is not reading");
    }
}

#[test]
fn each_step_of_a_parcel_carries_its_own_data() {
    let mut clinic = Clinic::plain();
    clinic.parcel().deliver(&["picked_up", "out_for_delivery"]);
    let delivery = clinic.delivery();
    let bare =
        |to: &str| MoveDelivery { delivery, to: named(to), reason: None, proof: None, window: None, occurred_at: None };
    let field = |clinic: &Clinic, who: &Actor, step| match clinic.would(who, &Command::MoveDelivery(step), None) {
        Err(Refusal::Invalid { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(&clinic, &courier(1), bare("delivered")), "proof");
    assert_eq!(field(&clinic, &courier(1), bare("attempt_failed")), "reason");
    let with_window = MoveDelivery { window: Some(clinic.now), ..bare("delivered") };
    assert_eq!(field(&clinic, &courier(1), MoveDelivery { proof: Some(proof()), ..with_window }), "window");
    clinic.deliver(&["attempt_failed"]);
    assert_eq!(field(&clinic, &patient(), bare("rescheduled")), "window");
    let past = MoveDelivery { window: Some(clinic.now), ..bare("rescheduled") };
    assert_eq!(field(&clinic, &patient(), past), "window");
}

/// Rank grows with every move but the one that tries again.
#[test]
fn parcels_only_go_forward() {
    use DeliveryState::*;
    for from in DeliveryState::ALL {
        for to in from.next() {
            let again = (from, *to) == (Rescheduled, OutForDelivery);
            let back = [Returning, Returned, Restocked, Disposed, Cancelled, Lost, Damaged].contains(to);
            assert!(again || back || *to > from, "{from:?} to {to:?}");
            assert!(!back || ![Delivered, Restocked, Disposed, Cancelled, Lost, Damaged].contains(&from));
        }
    }
}

#[test]
fn a_report_that_skips_steps_finds_its_way_and_none_leads_back() {
    let names = |from: &str, to: &str| -> Vec<&'static str> {
        let from: DeliveryState = named(from);
        from.path_to(named(to)).iter().map(|state| state.as_str()).collect()
    };
    assert_eq!(names("assigned", "delivered"), ["picked_up", "out_for_delivery", "delivered"]);
    assert_eq!(names("in_transit", "attempt_failed"), ["out_for_delivery", "attempt_failed"]);
    assert_eq!(names("assigned", "in_transit"), ["picked_up", "in_transit"]);
    assert_eq!(names("rescheduled", "delivered"), ["out_for_delivery", "delivered"]);
    for (from, to) in [("delivered", "in_transit"), ("out_for_delivery", "picked_up"), ("attempt_failed", "delivered")]
    {
        assert!(names(from, to).is_empty(), "{from} to {to}");
    }
    for from in DeliveryState::ALL {
        for to in DeliveryState::ALL {
            let mut at = from;
            for step in from.path_to(to) {
                assert!(at.next().contains(&step), "{at:?} to {step:?}");
                at = step;
            }
        }
    }
}

#[test]
fn the_hub_gives_a_parcel_to_a_partner_and_passes_on_that_it_was_lost() {
    let mut clinic = Clinic::plain();
    clinic.sent(1, to_home()).dispense(1, &["accepted", "preparing", "checked", "ready"]);
    let delivery = clinic.delivery();
    assert_eq!(clinic.ok(&Actor::System, assign(delivery, 1)), ["delivery.assigned"]);
    clinic.deliver(&["picked_up"]);
    assert!(clinic.ask(&Actor::System, move_delivery(delivery, "in_transit", clinic.now)).is_err());
    clinic.ok(&Actor::System, move_delivery(delivery, "lost", clinic.now));
    assert_eq!(clinic.medicine().2, "lost");
}
