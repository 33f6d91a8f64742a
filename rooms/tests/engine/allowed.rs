//! `allowed` in a snapshot and `decide` say the same: a screen needs no rules of its own.

use rooms::command::{Command, Nothing};
use rooms::permission::may;
use rooms::refusal::Refusal;
use rooms::role::{Actor, Role};
use rooms::room::snapshot::Allowed;
use rooms::state::{DeliveryState, DispensingState};

use crate::commands::*;
use crate::support::*;

/// For everybody with a view, every name there is, on everything they see: offered if and only if not refused for the
/// state or the person.
pub fn screens_and_decisions_agree(clinic: &Clinic) {
    for who in clinic.everybody().iter().filter(|who| who.role() != Role::System) {
        let Some(view) = clinic.room.view_of(who, clinic.now) else { continue };
        let seen = clinic.room.snapshot(&view);
        let check = |allowed: &Allowed, key: &str, command: Command| {
            let offered = allowed.get(&who.role()).is_some_and(|keys| keys.iter().any(|open| open == key));
            let answer = clinic.would(who, &command, None);
            let open = !matches!(answer, Err(Refusal::Illegal { .. } | Refusal::Forbidden | Refusal::NoSuch(_)));
            assert_eq!(offered, open, "{key} for {:?}: {answer:?}, offered {allowed:?}", who.role());
            assert!(!offered || may(who.role(), &command), "{key} is offered to a role that never may");
            if let Err(Refusal::Illegal { allowed: told, .. }) = answer {
                assert_eq!(&told, allowed.get(&who.role()).unwrap_or(&vec![]), "the refusal tells what is open");
            }
        };
        if let Some(consultation) = &seen.consultation {
            for key in AT_LARGE {
                check(&consultation.allowed, key, at_large(key));
            }
        }
        if let Some(call) = &seen.call {
            for key in of_call_keys() {
                check(&call.allowed, key, of_call(key, call, 1));
            }
        }
        for prescription in &seen.prescriptions {
            for key in OF_PRESCRIPTION {
                // A pharmacy that does not have it yet: otherwise sending is refused for its data.
                check(&prescription.allowed, key, of_prescription(key, prescription, 2));
            }
        }
        for work in &seen.dispensings {
            let moves = DispensingState::ALL.iter().map(|to| format!("dispensing.move:{}", to.as_str()));
            for key in moves.chain(["chat.send".to_owned()]) {
                check(&work.allowed, &key, of_dispensing(&key, work));
            }
        }
        for parcel in &seen.deliveries {
            let moves = DeliveryState::ALL.iter().map(|to| format!("delivery.move:{}", to.as_str()));
            for key in moves.chain(["delivery.assign".to_owned()]) {
                check(&parcel.allowed, &key, of_delivery(&key, parcel, 1, clinic.now));
            }
        }
    }
}

/// A name in `allowed` begins with the kind of the command to send.
#[test]
fn every_offered_name_is_a_command_kind() {
    let mut clinic = Clinic::plain();
    clinic.parcel();
    let care = clinic.care();
    let consultation = care.consultation.expect("care sees it");
    let maps = [&consultation.allowed, &care.prescriptions[0].allowed, &care.deliveries[0].allowed];
    for key in maps.into_iter().flat_map(|allowed| allowed.values().flatten()) {
        let kind = key.split(':').next().expect("a first part");
        assert!(Command::KINDS.contains(&kind), "{key}");
    }
}

/// The patient sees the doctor's open moves; each view outside care sees only its own role's.
#[test]
fn views_outside_care_see_only_their_own_open_moves() {
    let mut clinic = Clinic::plain();
    clinic.parcel();
    for who in [pharmacist(1), courier(1)] {
        let view = clinic.room.view_of(&who, clinic.now).expect("a part");
        let seen = clinic.room.snapshot(&view);
        let works = seen.dispensings.iter().map(|work| &work.allowed);
        for allowed in seen.deliveries.iter().map(|parcel| &parcel.allowed).chain(works) {
            assert!(allowed.keys().all(|role| *role == who.role()), "{allowed:?}");
        }
    }
    assert!(clinic.would(&Actor::System, &Command::Timer(Nothing {}), None).is_ok_and(|events| events.is_empty()));
}
