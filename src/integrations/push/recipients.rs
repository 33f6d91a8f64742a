//! Derives from a committed change who is notified of what. People are not notified of what they did themselves.

use rooms::event::Event;
use rooms::id::{PharmacyId, RoomId, UserId};
use rooms::party::{Party, Thread};
use rooms::reason::EndReason;
use rooms::role::Role;
use rooms::state::{ConsultationState, DispensingState, PaymentState};
use rooms::time::Timestamp;

use crate::store::devices::NoticeKind;
use crate::store::outbox::CommittedChange;

/// Somebody whom a notice is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Recipient {
    Person(UserId),
    /// Everybody who works at the pharmacy.
    Pharmacy(PharmacyId),
}

/// A notification that is sent unless its recipient sees the event, or answers the call, in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    pub room: RoomId,
    /// The event. A recipient who has seen it is not notified.
    pub seq: u64,
    pub kind: NoticeKind,
    pub recipient: Recipient,
    pub expires_at: Timestamp,
}

/// Returns the notices that follow from a change. Of several of one kind for one recipient, only the last remains.
pub fn notices_for(change: &CommittedChange) -> Vec<Notice> {
    let mut notices: Vec<Notice> = Vec::new();
    for record in &change.records {
        let Some((kind, recipients)) = recipients(&record.event, change) else { continue };
        let expires_at = ring_end(&record.event).unwrap_or_else(|| record.at.plus(kind.lifetime()));
        let own_pharmacy = record.actor.role == Role::Pharmacist;
        for recipient in recipients {
            match recipient {
                Recipient::Person(user) if record.actor.id == Some(user) => continue,
                // A pharmacist acted, so the pharmacy knows.
                Recipient::Pharmacy(_) if own_pharmacy => continue,
                Recipient::Person(_) | Recipient::Pharmacy(_) => {}
            }
            let notice = Notice { room: change.room, seq: record.seq, kind, recipient, expires_at };
            match notices.iter_mut().find(|known| known.kind == kind && known.recipient == recipient) {
                Some(known) => *known = notice,
                None => notices.push(notice),
            }
        }
    }
    notices
}

/// Returns when a call stops ringing.
fn ring_end(event: &Event) -> Option<Timestamp> {
    match event {
        Event::CallStarted(started) => Some(started.until),
        Event::Called(called) => Some(called.until),
        _ => None,
    }
}

/// Returns the kind of notice and its recipients; `None` for events that nobody is notified of.
fn recipients(event: &Event, change: &CommittedChange) -> Option<(NoticeKind, Vec<Recipient>)> {
    use NoticeKind::*;
    let (patient, doctor) = (Recipient::Person(change.patient), Recipient::Person(change.doctor));
    let both = || vec![patient, doctor];
    let notice = match event {
        Event::Requested(_) => (Consultation, vec![doctor]),
        Event::Called(_) => (Call, vec![patient]),
        Event::ConsultationMoved(moved) => match (moved.from, moved.to, moved.party) {
            (ConsultationState::Called, ConsultationState::Waiting, Some(Party::Patient)) => {
                (MissedCall, vec![patient])
            }
            _ => (Consultation, both()),
        },
        Event::Rescheduled(_) | Event::CheckedIn(_) | Event::Noted(_) => (Consultation, both()),
        Event::ChatSent(chat) => match chat.thread {
            Thread::Care => (Message, both()),
            Thread::Pharmacy(pharmacy) => (Message, vec![patient, doctor, Recipient::Pharmacy(pharmacy)]),
        },
        Event::CallStarted(started) => (Call, without(both(), started.by)),
        Event::CallEnded(ended) if ended.why == EndReason::Missed => {
            let by = change.after.as_ref()?.call.as_ref()?.by;
            (MissedCall, without(both(), by))
        }
        Event::Signed(_) => (Prescription, vec![patient]),
        Event::Sent(sent) => (Prescription, vec![Recipient::Pharmacy(sent.pharmacy.id)]),
        Event::Reviewed(_) => (Prescription, both()),
        Event::Answered(answered) => (Prescription, vec![Recipient::Pharmacy(answered.pharmacy)]),
        Event::PrescriptionMoved(moved) => {
            (Prescription, std::iter::once(patient).chain(moved.pharmacy.map(Recipient::Pharmacy)).collect())
        }
        Event::DispensingMoved(moved) if concerns_patient(moved.to) => {
            (Prescription, vec![patient, Recipient::Pharmacy(moved.pharmacy)])
        }
        Event::DeliveryAssigned(assigned) => {
            let couriers = [Some(assigned.courier.id), assigned.former].into_iter().flatten().map(Recipient::Person);
            (Delivery, couriers.chain([patient]).collect())
        }
        Event::DeliveryMoved(moved) => {
            let courier = moved.courier.map(Recipient::Person);
            (Delivery, [patient, Recipient::Pharmacy(moved.pharmacy)].into_iter().chain(courier).collect())
        }
        Event::PaymentMoved(moved) if concerns_payer(moved.to) => (Payment, vec![patient]),
        Event::PaymentMoved(_)
        | Event::DispensingMoved(_)
        | Event::CallEnded(_)
        | Event::ErrorProposed(_)
        | Event::CallJoined(_)
        | Event::CallLeft(_)
        | Event::CallConnected(_)
        | Event::CallInterrupted(_)
        | Event::CallReported(_)
        | Event::DevicesChecked(_)
        | Event::Drafted(_)
        | Event::Amended(_)
        | Event::DeliveryRequested(_)
        | Event::DeliveryReported(_)
        | Event::Exported(_)
        | Event::RecordOpened(_)
        | Event::GuestInvited(_)
        | Event::GuestEntered(_)
        | Event::GuestDismissed(_) => return None,
    };
    Some(notice)
}

fn without(all: Vec<Recipient>, user: UserId) -> Vec<Recipient> {
    all.into_iter().filter(|it| *it != Recipient::Person(user)).collect()
}

/// Returns whether a patient is notified of this step of a dispensing. The other steps show in the app only.
fn concerns_patient(to: DispensingState) -> bool {
    use DispensingState::*;
    match to {
        OnHold | Ready | Completed | ReturnedToStock | Declined | Cancelled => true,
        Received | Accepted | Preparing | Checked | Released => false,
    }
}

/// Returns whether the patient is notified of this state. They see the others on the provider's page.
fn concerns_payer(to: PaymentState) -> bool {
    match to {
        PaymentState::Captured | PaymentState::Refunded | PaymentState::Failed => true,
        PaymentState::Pending | PaymentState::Authorized => false,
    }
}
