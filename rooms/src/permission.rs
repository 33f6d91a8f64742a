//! Who may ask what, and who sees what: two exhaustive matches.
//!
//! Both are pure. [`sees`] looks at nothing but the view, the event's number and its own body, so whether somebody sees it is
//! settled for ever when it is written, and every node, the archive and a later replay agree on it.

use serde::{Deserialize, Serialize};

use crate::case::delivery;
use crate::command::Command;
use crate::event::{Event, Thread};
use crate::id::{PharmacyId, UserId};
use crate::role::Role;

/// The part of a room's log that somebody sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum View {
    /// All of it: the patient, the doctor, and an administrator who broke the glass.
    Care,
    /// What concerns one pharmacy's work, from the prescription that was sent to it on.
    Pharmacy(PharmacyId),
    /// What concerns the parcels that one courier was given.
    Courier(UserId),
    /// The talk and the calls, from behind `after` on: a guest's, who sees nothing from before coming in.
    Guest { guest: UserId, after: u64 },
}

/// Whether somebody in this role may ever ask this. Whether they may in a certain case, and now, is
/// [`Room::decide`](crate::room::Room::decide)'s to say.
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
        Command::MoveDelivery(step) => delivery::may_ever(role, step.to),
        Command::Export(_) => matches!(role, Patient | Doctor | Admin),
    }
}

/// Whether this view contains this event, the `seq`th of its room.
pub fn sees(view: &View, seq: u64, event: &Event) -> bool {
    match view {
        View::Care => true,
        View::Guest { after, .. } => seq > *after && is_for_guests(event),
        View::Pharmacy(own) => concerned_pharmacy(event) == Some(*own),
        View::Courier(own) => concerned_couriers(event).contains(&Some(*own)),
    }
}

/// Like [`sees`], for a record in its canonical form. The patient and the doctor see all, so for them nothing is parsed.
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

/// Whether an event belongs to what guests are there for: the talk and the calls.
fn is_for_guests(event: &Event) -> bool {
    match event {
        Event::ChatSent(chat) => chat.thread == Thread::Care,
        Event::CallStarted(_)
        | Event::CallJoined(_)
        | Event::CallLeft(_)
        | Event::CallConnected(_)
        | Event::CallInterrupted(_)
        | Event::CallEnded(_)
        | Event::GuestEntered(_)
        | Event::GuestDismissed(_) => true,
        Event::Requested(_)
        | Event::Moved(_)
        | Event::Rescheduled(_)
        | Event::CheckedIn(_)
        | Event::Called(_)
        | Event::Noted(_)
        | Event::ErrorProposed(_)
        | Event::CallReported(_)
        | Event::DevicesChecked(_)
        | Event::GuestInvited(_)
        | Event::Drafted(_)
        | Event::Amended(_)
        | Event::Signed(_)
        | Event::Sent(_)
        | Event::Reviewed(_)
        | Event::Answered(_)
        | Event::PrescriptionMoved(_)
        | Event::DispensingMoved(_)
        | Event::DeliveryRequested(_)
        | Event::DeliveryAssigned(_)
        | Event::DeliveryMoved(_)
        | Event::DeliveryReported(_)
        | Event::PaymentMoved(_)
        | Event::Exported(_)
        | Event::RecordOpened(_) => false,
    }
}

/// The one pharmacy that an event concerns, if any.
pub fn concerned_pharmacy(event: &Event) -> Option<PharmacyId> {
    match event {
        Event::ChatSent(chat) => match chat.thread {
            Thread::Care => None,
            Thread::Pharmacy(pharmacy) => Some(pharmacy),
        },
        Event::Sent(sent) => Some(sent.pharmacy.id),
        Event::Reviewed(reviewed) => Some(reviewed.pharmacy),
        Event::Answered(answered) => Some(answered.pharmacy),
        Event::PrescriptionMoved(moved) => moved.pharmacy,
        Event::DispensingMoved(moved) => Some(moved.pharmacy),
        Event::DeliveryRequested(requested) => Some(requested.pharmacy.id),
        Event::DeliveryAssigned(assigned) => Some(assigned.pharmacy.id),
        Event::DeliveryMoved(moved) | Event::DeliveryReported(moved) => Some(moved.pharmacy),
        Event::Requested(_)
        | Event::Moved(_)
        | Event::Rescheduled(_)
        | Event::CheckedIn(_)
        | Event::Called(_)
        | Event::Noted(_)
        | Event::ErrorProposed(_)
        | Event::Drafted(_)
        | Event::Amended(_)
        | Event::Signed(_)
        | Event::PaymentMoved(_)
        | Event::CallStarted(_)
        | Event::CallJoined(_)
        | Event::CallLeft(_)
        | Event::CallConnected(_)
        | Event::CallInterrupted(_)
        | Event::CallEnded(_)
        | Event::CallReported(_)
        | Event::DevicesChecked(_)
        | Event::GuestInvited(_)
        | Event::GuestEntered(_)
        | Event::GuestDismissed(_)
        | Event::Exported(_)
        | Event::RecordOpened(_) => None,
    }
}

/// The couriers that an event concerns: whose parcel it is, and who was relieved of it.
pub fn concerned_couriers(event: &Event) -> [Option<UserId>; 2] {
    match event {
        Event::DeliveryAssigned(assigned) => [Some(assigned.courier.id), assigned.former],
        Event::DeliveryMoved(moved) | Event::DeliveryReported(moved) => [moved.courier, None],
        Event::Requested(_)
        | Event::Moved(_)
        | Event::Rescheduled(_)
        | Event::CheckedIn(_)
        | Event::Called(_)
        | Event::Noted(_)
        | Event::ErrorProposed(_)
        | Event::ChatSent(_)
        | Event::Drafted(_)
        | Event::Amended(_)
        | Event::Signed(_)
        | Event::Sent(_)
        | Event::Reviewed(_)
        | Event::Answered(_)
        | Event::PrescriptionMoved(_)
        | Event::DispensingMoved(_)
        | Event::DeliveryRequested(_)
        | Event::PaymentMoved(_)
        | Event::CallStarted(_)
        | Event::CallJoined(_)
        | Event::CallLeft(_)
        | Event::CallConnected(_)
        | Event::CallInterrupted(_)
        | Event::CallEnded(_)
        | Event::CallReported(_)
        | Event::DevicesChecked(_)
        | Event::GuestInvited(_)
        | Event::GuestEntered(_)
        | Event::GuestDismissed(_)
        | Event::Exported(_)
        | Event::RecordOpened(_) => [None, None],
    }
}
