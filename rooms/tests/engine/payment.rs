//! The payment: its effect on the consultation, and the provider's next action.

use rooms::case::payment::{PaymentAction, due_action};
use rooms::command::*;
use rooms::party::{Party, Policy};
use rooms::refusal::Refusal;
use rooms::role::Actor;
use rooms::state::{ConsultationState, PaymentState};

use crate::support::*;

fn priced() -> Clinic {
    Clinic::new(Policy { price: 2500, ..Policy::default() })
}

fn pay(to: PaymentState, amount: u64) -> Command {
    Command::RecordPayment(RecordPayment { to, amount, currency: text("EUR"), reference: text("pay_1") })
}

fn allowed(refusal: Result<Vec<rooms::event::Event>, Refusal>) -> Vec<String> {
    match refusal {
        Err(Refusal::Illegal { allowed, .. }) => allowed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn payment_confirms_the_consultation_at_once() {
    let mut clinic = priced();
    assert_eq!(clinic.ok(&patient(), request_slot(1)), ["consultation.requested", "payment.moved"]);
    let confirm = Command::Confirm(Nothing {});
    assert!(!allowed(clinic.submit(&patient(), confirm.clone())).contains(&"consultation.confirm".to_owned()));
    assert_eq!(clinic.submit(&patient(), pay(PaymentState::Authorized, 2500)), Err(Refusal::Forbidden));
    let short = clinic.submit(&Actor::System, pay(PaymentState::Authorized, 1));
    assert!(matches!(short, Err(Refusal::Invalid { field: "amount", .. })));
    let paid = clinic.ok(&Actor::System, pay(PaymentState::Authorized, 2500));
    assert_eq!((paid, clinic.state()), (vec!["payment.moved", "consultation.moved"], "booked"));
    allowed(clinic.submit(&patient(), confirm));
    assert_eq!(clinic.ok(&Actor::System, pay(PaymentState::Captured, 2500)), ["payment.moved"]);

    let free = Clinic::with_default_policy().request().submit(&Actor::System, pay(PaymentState::Captured, 0));
    assert_eq!(free, Err(Refusal::NoSuch("payment")));
}

#[test]
fn walk_in_pays_before_checking_in() {
    let mut clinic = priced();
    clinic.ok(&patient(), walk_in());
    allowed(clinic.submit(&patient(), check_in()));
    assert_eq!(clinic.ok(&Actor::System, pay(PaymentState::Authorized, 2500)), ["payment.moved"]);
    clinic.ok(&patient(), check_in());
    assert_eq!(clinic.state(), "waiting");
}

#[test]
fn failed_payment_releases_the_slot_at_once() {
    let mut clinic = priced();
    clinic.ok(&patient(), request_slot(1));
    let failed = clinic.ok(&Actor::System, pay(PaymentState::Failed, 2500));
    assert_eq!((failed, clinic.state()), (vec!["payment.moved", "consultation.moved"], "expired"));
    assert_eq!(clinic.care().payment_due(), None);
}

#[test]
fn late_report_never_moves_a_payment_backwards() {
    let mut clinic = priced();
    clinic.ok(&patient(), request_slot(1));
    clinic.ok(&Actor::System, pay(PaymentState::Captured, 2500));
    allowed(clinic.submit(&Actor::System, pay(PaymentState::Authorized, 2500)));
    let too_much = clinic.submit(&Actor::System, pay(PaymentState::Refunded, 2501));
    assert!(matches!(too_much, Err(Refusal::Invalid { field: "amount", .. })));
    clinic.ok(&Actor::System, pay(PaymentState::Refunded, 1000));
    allowed(clinic.submit(&Actor::System, pay(PaymentState::Captured, 2500)));
    assert_eq!(clinic.care().payment.expect("a payment").state, PaymentState::Refunded);
}

#[test]
fn due_payment_action_follows_the_case() {
    let mut clinic = priced();
    clinic.ok(&patient(), request_slot(1));
    assert_eq!(clinic.care().payment_due(), Some(PaymentAction::Authorize));
    let mut late = clinic.clone();
    clinic.ok(&Actor::System, pay(PaymentState::Authorized, 2500));
    assert_eq!(clinic.care().payment_due(), None);
    let mut cancelled = clinic.clone();
    cancelled.ok(&doctor(), Command::Cancel(reason()));
    assert_eq!(cancelled.care().payment_due(), Some(PaymentAction::Release));

    let mut alone = clinic.clone();
    alone.ok(&patient(), check_in());
    alone.advance(secs(3 * 3600));
    alone.timer();
    assert_eq!((alone.state(), alone.care().payment_due()), ("no_show", Some(PaymentAction::Release)));
    clinic.ok(&patient(), check_in());
    clinic.ok(&doctor(), Command::Admit(Nothing {}));
    clinic.ok(&patient(), Command::Enter(Nothing {}));
    clinic.ok(&patient(), Command::End(Nothing {}));
    assert_eq!(clinic.care().payment_due(), None);
    clinic.ok(&doctor(), Command::Complete(Note { note: text("rest") }));
    assert_eq!(clinic.care().payment_due(), Some(PaymentAction::Capture));
    clinic.ok(&Actor::System, pay(PaymentState::Captured, 2500));
    assert_eq!(clinic.care().payment_due(), None);
    clinic.ok(&admin(1), Command::MarkError(reason()));
    clinic.ok(&admin(2), Command::MarkError(reason()));
    assert_eq!(clinic.care().payment_due(), Some(PaymentAction::Refund));

    // A payment after the hold expired is released.
    late.advance(secs(301));
    late.timer();
    assert_eq!((late.state(), late.care().payment_due()), ("expired", Some(PaymentAction::Release)));
    late.ok(&Actor::System, pay(PaymentState::Authorized, 2500));
    assert_eq!((late.state(), late.care().payment_due()), ("expired", Some(PaymentAction::Release)));
}

/// A completed action is followed by another one or none, never by itself, so actions come to an end.
#[test]
fn completed_payment_action_is_not_due_again() {
    for state in ConsultationState::ALL {
        for missing in [None, Some(Party::Patient), Some(Party::Doctor)] {
            for payment in PaymentState::ALL {
                let Some(action) = due_action(payment, state, missing) else { continue };
                let completed = match (action, payment) {
                    (PaymentAction::Authorize, _) => PaymentState::Authorized,
                    (PaymentAction::Capture, _) => PaymentState::Captured,
                    (PaymentAction::Release, PaymentState::Pending) => PaymentState::Failed,
                    (PaymentAction::Release | PaymentAction::Refund, _) => PaymentState::Refunded,
                };
                assert!(payment.next().contains(&completed), "{payment:?} while {state:?}");
                assert_ne!(due_action(completed, state, missing), Some(action), "{payment:?} while {state:?}");
                assert_eq!(PaymentAction::from_name(action.as_str()), Some(action));
            }
        }
    }
}

/// A completed consultation keeps its price, a cancelled one never does, and a no-show only if the patient was missing.
#[test]
fn price_is_collected_only_for_a_completed_consultation_or_a_missing_patient() {
    for state in ConsultationState::ALL {
        for missing in [None, Some(Party::Patient), Some(Party::Doctor)] {
            let captures = due_action(PaymentState::Authorized, state, missing) == Some(PaymentAction::Capture);
            let earned = state == ConsultationState::Completed
                || (state == ConsultationState::NoShow && missing == Some(Party::Patient));
            assert_eq!(captures, earned, "{state:?} without {missing:?}");
            if earned {
                assert_eq!(due_action(PaymentState::Captured, state, missing), None);
            }
        }
    }
}
