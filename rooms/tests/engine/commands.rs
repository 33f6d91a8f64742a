//! Builds well-formed commands from the names of moves.

use rooms::case::call::CallMove;
use rooms::command::*;
use rooms::media::Media;
use rooms::party::{GuestKind, Thread};
use rooms::reason::{InterruptionCause, LeaveReason, ReviewVerdict};
use rooms::role::{Actor, Role};
use rooms::room::snapshot::{Allowed, CallView, DeliveryView, DispensingView, PrescriptionView, Snapshot};
use rooms::time::Timestamp;

use crate::support::*;

/// The name of every move of the consultation.
pub const CONSULTATION_MOVES: [&str; 18] = [
    "consultation.confirm",
    "consultation.reschedule",
    "consultation.cancel",
    "consultation.check_in",
    "consultation.admit",
    "consultation.enter",
    "consultation.put_back",
    "consultation.refer",
    "consultation.end",
    "consultation.complete",
    "consultation.mark_error",
    "chat.send",
    "call.start",
    "call.check",
    "guest.invite",
    "prescription.draft",
    "record.export",
    "record.open",
];

/// The name of every move of a prescription.
pub const PRESCRIPTION_MOVES: [&str; 6] = [
    "prescription.amend",
    "prescription.sign",
    "prescription.cancel",
    "prescription.send",
    "prescription.review",
    "prescription.answer",
];

pub fn consultation_command(key: &str) -> Command {
    match key {
        "consultation.confirm" => Command::Confirm(Nothing {}),
        "consultation.reschedule" => Command::Reschedule(Reschedule { slot: slot(2).id }),
        "consultation.cancel" => Command::Cancel(reason()),
        "consultation.check_in" => check_in(),
        "consultation.admit" => Command::Admit(Nothing {}),
        "consultation.enter" => Command::Enter(Nothing {}),
        "consultation.put_back" => Command::PutBack(Nothing {}),
        "consultation.refer" => Command::Refer(reason()),
        "consultation.end" => Command::End(Nothing {}),
        "consultation.complete" => Command::Complete(Note { note: text("better") }),
        "consultation.mark_error" => Command::MarkError(reason()),
        "chat.send" => chat(Thread::Care),
        "call.start" => Command::StartCall(StartCall { media: Media::Video }),
        "call.check" => Command::CheckDevices(device_check()),
        "guest.invite" => Command::InviteGuest(InviteGuest { name: text("Gu Est"), kind: GuestKind::Relative }),
        "prescription.draft" => draft(),
        "record.export" => Command::Export(Purpose { purpose: Some(text("asked for it")) }),
        "record.open" => Command::OpenRecord(reason()),
        other => panic!("{other} is not in the list"),
    }
}

/// Builds a command to a prescription. `pick` selects the pharmacy and the verdict.
pub fn prescription_command(key: &str, view: &PrescriptionView, pick: u128) -> Command {
    let prescription = view.id;
    match key {
        "prescription.amend" => Command::Amend(Amend { prescription, items: vec![item(), item()] }),
        "prescription.sign" => Command::Sign(PrescriptionRef { prescription }),
        "prescription.cancel" => Command::CancelPrescription(CancelPrescription { prescription, reason: text("no") }),
        "prescription.send" => Command::Send(SendPrescription {
            prescription,
            pharmacy: pharmacy_id(1 + pick % 3),
            hand_over: if pick.is_multiple_of(2) { to_home() } else { NewHandOver::Pickup },
        }),
        "prescription.review" => Command::Review(Review {
            prescription,
            verdict: [ReviewVerdict::Approve, ReviewVerdict::Approve, ReviewVerdict::Query, ReviewVerdict::Reject]
                [pick as usize % 4],
            text: Some(text("why so much?")),
        }),
        "prescription.answer" => Command::Answer(Answer { prescription, text: text("so it is") }),
        other => panic!("{other} is not in the list"),
    }
}

pub fn dispensing_command(key: &str, view: &DispensingView) -> Command {
    match key {
        "chat.send" => chat(Thread::Pharmacy(view.pharmacy.id)),
        key => move_dispensing(view.id, key.strip_prefix("dispensing.move:").expect("a move")),
    }
}

pub fn delivery_command(key: &str, view: &DeliveryView, pick: u128, now: Timestamp) -> Command {
    match key {
        "delivery.assign" => assign(view.id, 1 + pick % 2),
        key => move_delivery(view.id, key.strip_prefix("delivery.move:").expect("a move"), now),
    }
}

/// Returns the name of every move of a call.
pub fn call_moves() -> [&'static str; 4] {
    CallMove::ALL.map(CallMove::as_str)
}

/// Builds a command to a call. `pick` selects whether media connects.
pub fn call_command(key: &str, view: &CallView, pick: u128) -> Command {
    let call = view.id;
    match key {
        "call.join" => Command::JoinCall(CallRef { call }),
        "call.decline" => Command::DeclineCall(CallRef { call }),
        "call.leave" => Command::LeaveCall(LeaveCall { call, why: LeaveReason::Hangup }),
        "call.media" => {
            let connected = !pick.is_multiple_of(3);
            Command::CallMedia(MediaChange {
                call,
                connected,
                cause: (!connected).then_some(InterruptionCause::Network),
            })
        }
        other => panic!("{other} is not in the list"),
    }
}

/// Returns every allowed move as a command, with an actor who may send it.
pub fn possible(care: &Snapshot, pick: u128, now: Timestamp) -> Vec<(Actor, Command)> {
    let mut all = Vec::new();
    let mut add = |allowed: &Allowed, who: &dyn Fn(Role) -> Actor, command: &dyn Fn(&str) -> Command| {
        for (role, keys) in allowed {
            all.extend(keys.iter().map(|key| (who(*role), command(key))));
        }
    };
    if let Some(consultation) = &care.consultation {
        add(&consultation.allowed, &|role| someone(role, 1, pick), &consultation_command);
    }
    if let Some(view) = &care.call {
        add(&view.allowed, &|role| someone(role, 1, pick), &|key| call_command(key, view, pick));
    }
    for view in &care.prescriptions {
        let n = view.pharmacy.as_ref().map_or(1, |at| (1..4).find(|n| pharmacy_id(*n) == at.id).expect("known"));
        add(&view.allowed, &|role| someone(role, n, pick), &|key| prescription_command(key, view, pick));
    }
    for view in &care.dispensings {
        let n = (1..4).find(|n| pharmacy_id(*n) == view.pharmacy.id).expect("known");
        add(&view.allowed, &|role| someone(role, n, pick), &|key| dispensing_command(key, view));
    }
    for view in &care.deliveries {
        let n = (1..4).find(|n| pharmacy_id(*n) == view.pharmacy.id).expect("known");
        let who = |role| match (&view.courier, role) {
            (Some(own), Role::Courier) => (1..3).map(courier).find(|c| user(c) == own.id).expect("known"),
            _ => someone(role, n, pick),
        };
        add(&view.allowed, &who, &|key| delivery_command(key, view, pick, now));
    }
    all
}

fn someone(role: Role, n: u128, pick: u128) -> Actor {
    match role {
        Role::Patient => patient(),
        Role::Doctor => doctor(),
        Role::Pharmacist => pharmacist(n),
        Role::Courier => courier(1),
        Role::Admin => admin(1 + pick % 2),
        Role::Support => support(),
        Role::Guest | Role::System => Actor::System,
    }
}
