//! The delivery.

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
fn delivery_moves_from_the_pharmacy_to_the_patient() {
    let mut clinic = Clinic::with_default_policy();
    clinic.sent(1, to_home()).dispense(1, &["accepted", "preparing", "checked"]);
    let dispensing = clinic.dispensing();
    let ready = clinic.ok(&pharmacist(1), move_dispensing(dispensing, "ready"));
    assert_eq!(ready, ["dispensing.moved", "delivery.requested"]);
    assert_eq!(clinic.medicine_states(), ("with_pharmacy", "ready", "requested"));
    let delivery = clinic.delivery();
    assert_eq!(clinic.submit(&pharmacist(1), assign(delivery, 9)), Err(Refusal::NoSuch("courier")));
    assert_eq!(clinic.ok(&pharmacist(1), assign(delivery, 1)), ["delivery.assigned"]);
    let picked_up = clinic.ok(&courier(1), move_delivery(delivery, "picked_up", clinic.now));
    assert_eq!(picked_up, ["delivery.moved", "dispensing.moved"]);
    assert_eq!(clinic.medicine_states(), ("with_pharmacy", "released", "picked_up"));
    clinic.deliver(&["in_transit", "out_for_delivery"]);
    let delivered = clinic.ok(&courier(1), move_delivery(delivery, "delivered", clinic.now));
    assert_eq!(delivered, ["delivery.moved", "dispensing.moved", "prescription.moved"]);
    assert_eq!(clinic.medicine_states(), ("completed", "completed", "delivered"));
}

#[test]
fn courier_sees_the_delivery_and_nothing_clinical() {
    let mut clinic = Clinic::with_default_policy();
    clinic.assigned_delivery();
    let view = clinic.room.view_of(&courier(1), clinic.now).expect("has a parcel");
    assert_eq!(view, View::Courier(user(&courier(1))));
    let seen = clinic.room.snapshot(&view, clinic.now);
    assert_eq!((seen.doctor.clone(), seen.consultation.clone(), seen.payment.clone()), (None, None, None));
    assert!(seen.prescriptions.is_empty() && seen.dispensings.is_empty());
    assert_eq!(seen.deliveries[0].address.as_str(), "2 Side Street");
    assert_eq!(clinic.room.visible_head(&view), clinic.room.head());
    assert!(!serde_json::to_string(&seen).expect("a snapshot is JSON").contains("Amoxicillin"));
}

#[test]
fn replaced_courier_loses_access() {
    let mut clinic = Clinic::with_default_policy();
    clinic.assigned_delivery();
    let delivery = clinic.delivery();
    assert!(matches!(
        clinic.submit(&pharmacist(1), assign(delivery, 1)),
        Err(Refusal::Invalid { field: "courier", .. })
    ));
    clinic.ok(&pharmacist(1), assign(delivery, 2));
    assert_eq!(clinic.room.view_of(&courier(1), clinic.now), None);
    assert_eq!(clinic.submit(&courier(1), move_delivery(delivery, "picked_up", clinic.now)), Err(Refusal::Forbidden));
    // The last event they see assigns the parcel to another courier.
    assert_eq!(clinic.room.visible_head(&View::Courier(user(&courier(1)))), clinic.room.head());
    clinic.ok(&courier(2), move_delivery(delivery, "picked_up", clinic.now));
    assert!(matches!(clinic.submit(&pharmacist(1), assign(delivery, 1)), Err(Refusal::Illegal { .. })));
}

#[test]
fn third_failed_attempt_returns_the_parcel() {
    let mut clinic = Clinic::with_default_policy();
    clinic.assigned_delivery().deliver(&["picked_up"]);
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
    assert_eq!(clinic.medicine_states(), ("with_pharmacy", "released", "returning"));
    let delivery = clinic.delivery();
    clinic.deliver(&["returned"]);
    let restocked = clinic.ok(&pharmacist(1), move_delivery(delivery, "restocked", clinic.now));
    assert_eq!(restocked, ["delivery.moved", "dispensing.moved", "prescription.moved"]);
    assert_eq!(clinic.medicine_states(), ("released", "returned_to_stock", "restocked"));
}

#[test]
fn late_reports_are_recorded_and_change_no_state() {
    let mut clinic = Clinic::with_default_policy();
    clinic.assigned_delivery();
    clinic.advance(secs(600));
    clinic.deliver(&["picked_up", "out_for_delivery"]);
    let state = clinic.room.snapshot(&View::Care, clinic.now);
    assert_eq!(clinic.ok(&courier(1), late(&clinic, "in_transit", 60)), ["delivery.reported"]);
    assert_eq!(clinic.ok(&courier(1), late(&clinic, "attempt_failed", 60)), ["delivery.reported"]);
    assert_eq!(clinic.room.snapshot(&View::Care, clinic.now), state);
    assert_eq!(clinic.submit(&courier(1), late(&clinic, "lost", 60)), Err(Refusal::Forbidden));
    clinic.advance(secs(60));
    // Before now but after the current state began: an ordinary move with its own time.
    assert_eq!(clinic.ok(&courier(1), late(&clinic, "attempt_failed", 30)), ["delivery.moved"]);
    let at = before(&clinic, 30);
    assert!(
        matches!(&clinic.log.last().expect("one").event, Event::DeliveryMoved(moved) if moved.occurred_at == Some(at))
    );
    // A step that the parcel has not taken, and cannot have taken, is no late report.
    assert!(matches!(clinic.submit(&courier(1), late(&clinic, "delivered", 31)), Err(Refusal::Invalid { .. })));
    assert_eq!(clinic.ok(&courier(1), late(&clinic, "out_for_delivery", 31)), ["delivery.reported"]);
    assert!(matches!(clinic.submit(&courier(1), late(&clinic, "returned", 20)), Err(Refusal::Illegal { .. })));
    assert!(matches!(
        clinic.submit(&courier(1), late(&clinic, "returning", -400)),
        Err(Refusal::Invalid { field: "occurred_at", .. })
    ));
    // A clock that runs slightly ahead is tolerated.
    clinic.ok(&courier(1), late(&clinic, "returning", -20));
    assert_eq!(clinic.medicine_states().2, "returning");
}

#[test]
fn medicine_of_a_cancelled_delivery_can_be_picked_up() {
    for who in [patient(), pharmacist(1)] {
        let mut clinic = Clinic::with_default_policy();
        clinic.assigned_delivery();
        let dispensing = clinic.dispensing();
        assert!(matches!(
            clinic.submit(&pharmacist(1), move_dispensing(dispensing, "completed")),
            Err(Refusal::Illegal { .. })
        ));
        let delivery = clinic.delivery();
        clinic.ok(&who, move_delivery(delivery, "cancelled", clinic.now));
        assert_eq!(clinic.medicine_states(), ("with_pharmacy", "ready", "cancelled"));
        clinic.dispense(1, &["completed"]);
        assert_eq!(clinic.medicine_states().0, "completed");
    }
    let mut clinic = Clinic::with_default_policy();
    clinic.assigned_delivery().deliver(&["picked_up"]);
    let delivery = clinic.delivery();
    let too_late = clinic.submit(&patient(), move_delivery(delivery, "cancelled", clinic.now));
    assert!(matches!(too_late, Err(Refusal::Illegal { .. })));
}

#[test]
fn cancelled_prescription_cancels_the_delivery_without_a_reason_for_the_courier() {
    let mut clinic = Clinic::with_default_policy();
    clinic.assigned_delivery();
    let prescription = clinic.prescription();
    let cancel = Command::CancelPrescription(CancelPrescription { prescription, reason: text("allergy") });
    let kinds = clinic.ok(&doctor(), cancel.clone());
    assert_eq!(kinds, ["prescription.moved", "dispensing.moved", "delivery.moved"]);
    assert_eq!(clinic.medicine_states(), ("cancelled", "cancelled", "cancelled"));
    assert!(!clinic.log.last().expect("one").canonical().contains("allergy"));

    let mut clinic = Clinic::with_default_policy();
    clinic.assigned_delivery().deliver(&["picked_up"]);
    assert!(
        matches!(clinic.submit(&doctor(), cancel), Err(Refusal::Illegal { .. })),
        "a parcel with the courier counts as handed over"
    );
}

#[test]
fn only_administrators_report_loss_or_damage_and_the_prescription_is_released() {
    for to in ["lost", "damaged"] {
        let mut clinic = Clinic::with_default_policy();
        clinic.assigned_delivery();
        let delivery = clinic.delivery();
        assert!(matches!(
            clinic.submit(&admin(1), move_delivery(delivery, to, clinic.now)),
            Err(Refusal::Illegal { .. })
        ));
        clinic.deliver(&["picked_up", "in_transit"]);
        assert_eq!(clinic.submit(&courier(1), move_delivery(delivery, to, clinic.now)), Err(Refusal::Forbidden));
        clinic.ok(&admin(1), move_delivery(delivery, to, clinic.now));
        assert_eq!(clinic.medicine_states(), ("released", "cancelled", to));
        assert_eq!(clinic.room.view_of(&admin(1), clinic.now), None, "moving a delivery grants no view");
    }
}

#[test]
fn each_delivery_move_requires_exactly_its_own_data() {
    let mut clinic = Clinic::with_default_policy();
    clinic.assigned_delivery().deliver(&["picked_up", "out_for_delivery"]);
    let delivery = clinic.delivery();
    let bare =
        |to: &str| MoveDelivery { delivery, to: named(to), reason: None, proof: None, window: None, occurred_at: None };
    let field = |clinic: &Clinic, who: &Actor, step| match clinic.decide(who, &Command::MoveDelivery(step), None) {
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

/// The order of the states grows with every move but the next attempt.
#[test]
fn delivery_moves_only_forward() {
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
fn path_fills_in_skipped_states_and_never_leads_back() {
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
fn hub_assigns_a_partners_courier_and_reports_a_loss() {
    let mut clinic = Clinic::with_default_policy();
    clinic.sent(1, to_home()).dispense(1, &["accepted", "preparing", "checked", "ready"]);
    let delivery = clinic.delivery();
    assert_eq!(clinic.ok(&Actor::System, assign(delivery, 1)), ["delivery.assigned"]);
    clinic.deliver(&["picked_up"]);
    assert!(clinic.submit(&Actor::System, move_delivery(delivery, "in_transit", clinic.now)).is_err());
    clinic.ok(&Actor::System, move_delivery(delivery, "lost", clinic.now));
    assert_eq!(clinic.medicine_states().2, "lost");
}
