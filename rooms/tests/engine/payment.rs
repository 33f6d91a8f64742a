//! The payment: what it means for the consultation, and what the provider is to do next.

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
fn an_unpaid_consultation_is_not_confirmed_and_a_paid_one_is_at_once() {
    let mut clinic = priced();
    assert_eq!(clinic.ok(&patient(), request_slot(1)), ["consultation.requested", "payment.moved"]);
    let confirm = Command::Confirm(Nothing {});
    assert!(!allowed(clinic.ask(&patient(), confirm.clone())).contains(&"consultation.confirm".to_owned()));
    assert_eq!(clinic.ask(&patient(), pay(PaymentState::Authorized, 2500)), Err(Refusal::Forbidden));
    let short = clinic.ask(&Actor::System, pay(PaymentState::Authorized, 1));
    assert!(matches!(short, Err(Refusal::Invalid { field: "amount", .. })));
    let paid = clinic.ok(&Actor::System, pay(PaymentState::Authorized, 2500));
    assert_eq!((paid, clinic.state()), (vec!["payment.moved", "consultation.moved"], "booked"));
    allowed(clinic.ask(&patient(), confirm));
    assert_eq!(clinic.ok(&Actor::System, pay(PaymentState::Captured, 2500)), ["payment.moved"]);

    let free = Clinic::plain().request().ask(&Actor::System, pay(PaymentState::Captured, 0));
    assert_eq!(free, Err(Refusal::NoSuch("payment")));
}

#[test]
fn a_walk_in_pays_before_checking_in() {
    let mut clinic = priced();
    clinic.ok(&patient(), walk_in());
    allowed(clinic.ask(&patient(), check_in()));
    assert_eq!(clinic.ok(&Actor::System, pay(PaymentState::Authorized, 2500)), ["payment.moved"]);
    clinic.ok(&patient(), check_in());
    assert_eq!(clinic.state(), "waiting");
}

#[test]
fn a_payment_that_fails_gives_the_slot_back_at_once() {
    let mut clinic = priced();
    clinic.ok(&patient(), request_slot(1));
    let failed = clinic.ok(&Actor::System, pay(PaymentState::Failed, 2500));
    assert_eq!((failed, clinic.state()), (vec!["payment.moved", "consultation.moved"], "expired"));
    assert_eq!(clinic.care().payment_due(), None);
}

#[test]
fn a_late_fact_never_moves_a_payment_backwards() {
    let mut clinic = priced();
    clinic.ok(&patient(), request_slot(1));
    clinic.ok(&Actor::System, pay(PaymentState::Captured, 2500));
    allowed(clinic.ask(&Actor::System, pay(PaymentState::Authorized, 2500)));
    let too_much = clinic.ask(&Actor::System, pay(PaymentState::Refunded, 2501));
    assert!(matches!(too_much, Err(Refusal::Invalid { field: "amount", .. })));
    clinic.ok(&Actor::System, pay(PaymentState::Refunded, 1000));
    allowed(clinic.ask(&Actor::System, pay(PaymentState::Captured, 2500)));
    assert_eq!(clinic.care().payment.expect("a payment").state, PaymentState::Refunded);
}

#[test]
fn what_is_due_follows_the_case() {
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
    alone.pass(secs(3 * 3600));
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

    // Paid when the hold was over already: the money goes back.
    late.pass(secs(301));
    late.timer();
    assert_eq!((late.state(), late.care().payment_due()), ("expired", Some(PaymentAction::Release)));
    late.ok(&Actor::System, pay(PaymentState::Authorized, 2500));
    assert_eq!((late.state(), late.care().payment_due()), ("expired", Some(PaymentAction::Release)));
}

/// A wish that is granted leaves another one or none, never the same: so wishes come to an end.
#[test]
fn a_wish_that_is_granted_is_not_made_again() {
    for state in ConsultationState::ALL {
        for missing in [None, Some(Party::Patient), Some(Party::Doctor)] {
            for payment in PaymentState::ALL {
                let Some(wish) = due_action(payment, state, missing) else { continue };
                let granted = match (wish, payment) {
                    (PaymentAction::Authorize, _) => PaymentState::Authorized,
                    (PaymentAction::Capture, _) => PaymentState::Captured,
                    (PaymentAction::Release, PaymentState::Pending) => PaymentState::Failed,
                    (PaymentAction::Release | PaymentAction::Refund, _) => PaymentState::Refunded,
                };
                assert!(payment.next().contains(&granted), "{payment:?} while {state:?}");
                assert_ne!(due_action(granted, state, missing), Some(wish), "{payment:?} while {state:?}");
                assert_eq!(PaymentAction::from_name(wish.as_str()), Some(wish));
            }
        }
    }
}

/// A completed consultation keeps its price, a cancelled one never does; and whoever did not come settles the rest.
#[test]
fn money_is_kept_only_for_a_consultation_that_took_place_or_that_the_patient_missed() {
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
