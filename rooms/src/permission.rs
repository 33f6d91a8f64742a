//! Permissions: which role may send which command, and which view contains which event.
//!
//! All of it is pure. [`sees`] reads nothing but the view, the event's number and its body. So an event's visibility is
//! fixed when it is written, and every node, the archive and a later replay agree on it.

use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::event::Event;
use crate::id::{PharmacyId, UserId};
use crate::role::Role;
use crate::state::DeliveryState;

/// The part of a room's log that a person sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum View {
    /// The whole log: for the patient, the doctor, and an administrator after break-glass.
    Care,
    /// The events that concern one pharmacy's work, from the first prescription sent to it.
    Pharmacy(PharmacyId),
    /// The events that concern the parcels assigned to one courier.
    Courier(UserId),
    /// Conversation and calls after the event `after`: a guest sees nothing from before they entered.
    Guest { guest: UserId, after: u64 },
}

/// Whether this role may ever send this command. [`Room::decide`](crate::room::Room::decide) decides whether it may in
/// this case and state.
pub fn may(role: Role, command: &Command) -> bool {
    use Role::*;
    match command {
        Command::Request(_) | Command::CheckIn(_) | Command::Enter(_) | Command::Send(_) => matches!(role, Patient),
        Command::Confirm(_) => matches!(role, Patient | System),
        Command::Reschedule(_) | Command::End(_) => matches!(role, Patient | Doctor),
        Command::Cancel(_) => matches!(role, Patient | Doctor | Admin),
        Command::Admit(_)
        | Command::PutBack(_)
        | Command::Refer(_)
        | Command::Complete(_)
        | Command::Draft(_)
        | Command::Amend(_)
        | Command::Sign(_)
        | Command::CancelPrescription(_)
        | Command::Answer(_) => matches!(role, Doctor),
        Command::MarkError(_) | Command::OpenRecord(_) => matches!(role, Admin),
        Command::Presence(_) | Command::Timer(_) | Command::RecordPayment(_) => matches!(role, System),
        Command::Chat(_) => matches!(role, Patient | Doctor | Pharmacist | Guest),
        Command::StartCall(_)
        | Command::DeclineCall(_)
        | Command::CheckDevices(_)
        | Command::InviteGuest(_)
        | Command::DismissGuest(_) => matches!(role, Patient | Doctor),
        Command::JoinCall(_) | Command::LeaveCall(_) | Command::CallMedia(_) | Command::ReportCall(_) => {
            matches!(role, Patient | Doctor | Guest)
        }
        Command::EnterAsGuest(_) => matches!(role, Guest),
        Command::Review(_) | Command::MoveDispensing(_) => matches!(role, Pharmacist),
        Command::AssignDelivery(_) => matches!(role, Pharmacist | System),
        Command::MoveDelivery(delivery) => may_move_delivery(role, delivery.to),
        Command::Export(_) => matches!(role, Patient | Doctor | Admin),
    }
}

/// Whether this role may ever move a parcel to this state.
pub fn may_move_delivery(role: Role, to: DeliveryState) -> bool {
    use DeliveryState::*;
    match to {
        // Other commands lead here: a move of the dispensing to `ready`, and `delivery.assign`.
        Requested | Assigned => false,
        PickedUp | InTransit | OutForDelivery | AttemptFailed | Delivered | Returning => role == Role::Courier,
        Rescheduled => matches!(role, Role::Courier | Role::Patient | Role::Pharmacist),
        Returned => matches!(role, Role::Courier | Role::Pharmacist),
        Restocked | Disposed => role == Role::Pharmacist,
        Cancelled => matches!(role, Role::Patient | Role::Pharmacist),
        Lost | Damaged => matches!(role, Role::Admin | Role::System),
    }
}

/// Whether this view contains this event, the `seq`th of its room.
pub fn sees(view: &View, seq: u64, event: &Event) -> bool {
    match view {
        View::Care => true,
        View::Guest { after, .. } => seq > *after && event.audience().guests,
        View::Pharmacy(own) => event.audience().pharmacy == Some(*own),
        View::Courier(own) => event.audience().couriers.contains(&Some(*own)),
    }
}

/// Like [`sees`], for a record in canonical form. Patient and doctor see everything, so nothing is parsed for them.
pub fn sees_canonical(view: &View, seq: u64, canonical: &str) -> bool {
    #[derive(Deserialize)]
    struct Body {
        #[serde(flatten)]
        event: Event,
    }
    match view {
        View::Care => true,
        View::Guest { after, .. } if seq <= *after => false,
        View::Pharmacy(_) | View::Courier(_) | View::Guest { .. } => {
            serde_json::from_str::<Body>(canonical).is_ok_and(|body| sees(view, seq, &body.event))
        }
    }
}
