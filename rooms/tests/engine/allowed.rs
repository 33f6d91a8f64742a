//! The `allowed` moves of a snapshot are exactly what `decide` accepts, so a screen needs no rules of its own.

use rooms::command::{Command, Nothing};
use rooms::permission::may;
use rooms::refusal::Refusal;
use rooms::role::{Actor, Role};
use rooms::room::snapshot::Allowed;
use rooms::state::{DeliveryState, DispensingState};

use crate::commands::*;
use crate::support::*;

/// Checks every move on every subject, for everybody with a view: it is allowed if and only if `decide` does not refuse it
/// for the state or the person.
pub fn assert_allowed_matches_decide(clinic: &Clinic) {
    for who in clinic.everybody().iter().filter(|who| who.role() != Role::System) {
        let Some(view) = clinic.room.view_of(who, clinic.now) else { continue };
        let seen = clinic.room.snapshot(&view, clinic.now);
        let check = |allowed: &Allowed, key: &str, command: Command| {
            let offered = allowed.get(&who.role()).is_some_and(|keys| keys.iter().any(|open| open == key));
            let answer = clinic.decide(who, &command, None);
            let open = !matches!(
                answer,
                Err(Refusal::Illegal { .. } | Refusal::Forbidden | Refusal::NoSuch(_) | Refusal::TooEarly { .. })
            );
            assert_eq!(offered, open, "{key} for {:?}: {answer:?}, offered {allowed:?}", who.role());
            assert!(!offered || may(who.role(), &command), "{key} is offered to a role that never may");
            if let Err(Refusal::Illegal { allowed: listed, .. }) = answer {
                assert_eq!(&listed, allowed.get(&who.role()).unwrap_or(&vec![]), "the refusal lists the allowed moves");
            }
        };
        if let Some(consultation) = &seen.consultation {
            for key in CONSULTATION_MOVES {
                check(&consultation.allowed, key, consultation_command(key));
            }
        }
        if let Some(call) = &seen.call {
            for key in call_moves() {
                check(&call.allowed, key, call_command(key, call, 1));
            }
        }
        for prescription in &seen.prescriptions {
            for key in PRESCRIPTION_MOVES {
                // Sends to a pharmacy that does not hold it: otherwise the refusal is about the data.
                check(&prescription.allowed, key, prescription_command(key, prescription, 2));
            }
        }
        for work in &seen.dispensings {
            let moves = DispensingState::ALL.iter().map(|to| format!("dispensing.move:{}", to.as_str()));
            for key in moves.chain(["chat.send".to_owned()]) {
                check(&work.allowed, &key, dispensing_command(&key, work));
            }
        }
        for parcel in &seen.deliveries {
            let moves = DeliveryState::ALL.iter().map(|to| format!("delivery.move:{}", to.as_str()));
            for key in moves.chain(["delivery.assign".to_owned()]) {
                check(&parcel.allowed, &key, delivery_command(&key, parcel, 1, clinic.now));
            }
        }
    }
}

/// A robot presses every allowed move as it stands in a snapshot, whoever's it is: the page of one role shows the moves of the
/// others, too. Each is accepted from somebody who holds the role.
pub fn assert_allowed_moves_are_accepted(clinic: &Clinic) {
    for pick in [0, 1] {
        let care = clinic.care();
        let open = possible(&care, pick, clinic.now).into_iter().filter(|(who, _)| *who != Actor::System);
        for (who, command) in open {
            let holders: Vec<Actor> =
                if who.role() == Role::Admin { vec![admin(1), admin(2)] } else { vec![who.clone()] };
            let is_refused = |who: &Actor| {
                let answer = clinic.decide(who, &command, None);
                matches!(answer, Err(Refusal::Illegal { .. } | Refusal::Forbidden | Refusal::TooEarly { .. }))
            };
            assert!(!holders.iter().all(is_refused), "{} by {:?} is offered and refused", command.kind(), who.role());
        }
    }
}

/// Without break-glass no administrator may export, so nobody's page offers it to them.
#[test]
fn export_is_offered_to_an_administrator_only_while_a_break_glass_access_is_open() {
    let mut clinic = Clinic::with_default_policy();
    clinic.booked();
    let offers = |clinic: &Clinic| {
        let consultation = clinic.care().consultation.expect("care sees it");
        consultation.allowed[&Role::Admin].iter().any(|key| key == "record.export")
    };
    assert!(!offers(&clinic));
    clinic.ok(&admin(1), Command::OpenRecord(reason()));
    assert!(offers(&clinic));
    clinic.advance(rooms::room::BREAK_GLASS_DURATION);
    assert!(!offers(&clinic));
}

/// The name of a move starts with the kind of the command to send.
#[test]
fn every_allowed_move_starts_with_a_command_kind() {
    let mut clinic = Clinic::with_default_policy();
    clinic.assigned_delivery();
    let care = clinic.care();
    let consultation = care.consultation.expect("care sees it");
    let maps = [&consultation.allowed, &care.prescriptions[0].allowed, &care.deliveries[0].allowed];
    for key in maps.into_iter().flat_map(|allowed| allowed.values().flatten()) {
        let kind = key.split(':').next().expect("a first part");
        assert!(Command::KINDS.contains(&kind), "{key}");
    }
}

/// The patient sees the doctor's moves too; each view outside care contains only its own role's.
#[test]
fn views_outside_care_contain_only_their_own_moves() {
    let mut clinic = Clinic::with_default_policy();
    clinic.assigned_delivery();
    for who in [pharmacist(1), courier(1)] {
        let view = clinic.room.view_of(&who, clinic.now).expect("a part");
        let seen = clinic.room.snapshot(&view, clinic.now);
        let works = seen.dispensings.iter().map(|work| &work.allowed);
        for allowed in seen.deliveries.iter().map(|parcel| &parcel.allowed).chain(works) {
            assert!(allowed.keys().all(|role| *role == who.role()), "{allowed:?}");
        }
    }
    assert!(clinic.decide(&Actor::System, &Command::Timer(Nothing {}), None).is_ok_and(|events| events.is_empty()));
}
