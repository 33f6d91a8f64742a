//! The audience of each event: one table of who receives it beside patient and doctor, who see everything.

use super::Event;
use crate::id::{PharmacyId, UserId};
use crate::party::Thread;

/// Who receives an event, beside patient and doctor. Follows from the event alone, so it is fixed when the event is
/// written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audience {
    /// Whether guests receive it: conversation and calls.
    pub guests: bool,
    /// The pharmacy that it concerns.
    pub pharmacy: Option<PharmacyId>,
    /// The couriers that it concerns: the parcel's courier and the one it was taken from.
    pub couriers: [Option<UserId>; 2],
    /// Whether it leaves the hub: by notification, to a partner or to a webhook. Call media, drafts and access to the
    /// record stay inside.
    pub outside: bool,
}

/// Patient and doctor only.
const CARE: Audience = Audience { guests: false, pharmacy: None, couriers: [None, None], outside: false };
/// Patient and doctor, and the outside.
const OUTSIDE: Audience = Audience { outside: true, ..CARE };
/// Patient, doctor and guests.
const GUESTS: Audience = Audience { guests: true, ..CARE };

impl Event {
    /// Returns who receives this event, beside patient and doctor.
    pub fn audience(&self) -> Audience {
        match self {
            Event::Requested(_)
            | Event::ConsultationMoved(_)
            | Event::Rescheduled(_)
            | Event::CheckedIn(_)
            | Event::Called(_)
            | Event::Noted(_)
            | Event::Signed(_)
            | Event::PaymentMoved(_) => OUTSIDE,
            Event::ErrorProposed(_)
            | Event::CallReported(_)
            | Event::DevicesChecked(_)
            | Event::GuestInvited(_)
            | Event::Drafted(_)
            | Event::Amended(_)
            | Event::Exported(_)
            | Event::RecordOpened(_) => CARE,
            Event::ChatSent(sent) => match sent.thread {
                Thread::Care => Audience { guests: true, ..OUTSIDE },
                Thread::Pharmacy(pharmacy) => Audience { pharmacy: Some(pharmacy), ..OUTSIDE },
            },
            Event::CallStarted(_) | Event::CallEnded(_) => Audience { guests: true, ..OUTSIDE },
            Event::CallJoined(_)
            | Event::CallLeft(_)
            | Event::CallConnected(_)
            | Event::CallInterrupted(_)
            | Event::GuestEntered(_)
            | Event::GuestDismissed(_) => GUESTS,
            Event::Sent(sent) => Audience { pharmacy: Some(sent.pharmacy.id), ..OUTSIDE },
            Event::Reviewed(reviewed) => Audience { pharmacy: Some(reviewed.pharmacy), ..OUTSIDE },
            Event::Answered(answered) => Audience { pharmacy: Some(answered.pharmacy), ..OUTSIDE },
            Event::PrescriptionMoved(moved) => Audience { pharmacy: moved.pharmacy, ..OUTSIDE },
            Event::DispensingMoved(moved) => Audience { pharmacy: Some(moved.pharmacy), ..OUTSIDE },
            Event::DeliveryRequested(requested) => Audience { pharmacy: Some(requested.pharmacy.id), ..OUTSIDE },
            Event::DeliveryAssigned(assigned) => Audience {
                pharmacy: Some(assigned.pharmacy.id),
                couriers: [Some(assigned.courier.id), assigned.former],
                ..OUTSIDE
            },
            Event::DeliveryMoved(moved) => {
                Audience { pharmacy: Some(moved.pharmacy), couriers: [moved.courier, None], ..OUTSIDE }
            }
            Event::DeliveryReported(moved) => {
                Audience { pharmacy: Some(moved.pharmacy), couriers: [moved.courier, None], ..CARE }
            }
        }
    }
}
