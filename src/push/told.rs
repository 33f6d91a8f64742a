//! Who is told what: a pure look at what was appended. What somebody did themselves they know.

use rooms::event::Event;
use rooms::id::{PharmacyId, RoomId, UserId};
use rooms::party::{Party, Thread};
use rooms::reason::EndReason;
use rooms::role::Role;
use rooms::state::{ConsultationState, DispensingState, PaymentState};
use rooms::time::Timestamp;

use crate::store::devices::NoticeKind;
use crate::store::outgoing::News;

/// Somebody who may have to be notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Told {
    Person(UserId),
    /// Everybody who works there.
    Pharmacy(PharmacyId),
}

/// A notification that may be needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    pub room: RoomId,
    /// The event that somebody has to have seen for it not to be needed.
    pub seq: u64,
    pub kind: NoticeKind,
    pub told: Told,
    /// From then on it is of no use.
    pub expires_at: Timestamp,
}

/// What follows from an append. Of several notices of one kind for the same people the last is enough.
pub fn notices(news: &News) -> Vec<Notice> {
    let mut notices: Vec<Notice> = Vec::new();
    for record in &news.records {
        let Some((kind, told)) = told(&record.event, news) else { continue };
        let expires_at = ends(&record.event).unwrap_or_else(|| record.at.plus(kind.life()));
        let own_pharmacy = record.actor.role == Role::Pharmacist;
        for told in told {
            match told {
                Told::Person(user) if record.actor.id == Some(user) => continue,
                // Who works there did it, or saw it done.
                Told::Pharmacy(_) if own_pharmacy => continue,
                Told::Person(_) | Told::Pharmacy(_) => {}
            }
            let notice = Notice { room: news.room, seq: record.seq, kind, told, expires_at };
            match notices.iter_mut().find(|known| known.kind == kind && known.told == told) {
                Some(known) => *known = notice,
                None => notices.push(notice),
            }
        }
    }
    notices
}

/// When a ring is over.
fn ends(event: &Event) -> Option<Timestamp> {
    match event {
        Event::CallStarted(started) => Some(started.until),
        Event::Called(called) => Some(called.until),
        _ => None,
    }
}

fn told(event: &Event, news: &News) -> Option<(NoticeKind, Vec<Told>)> {
    use NoticeKind::*;
    let (patient, doctor) = (Told::Person(news.patient), Told::Person(news.doctor));
    let both = || vec![patient, doctor];
    let answer = match event {
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
            Thread::Pharmacy(pharmacy) => (Message, vec![patient, doctor, Told::Pharmacy(pharmacy)]),
        },
        Event::CallStarted(started) => (Call, others(both(), started.by)),
        Event::CallEnded(ended) if ended.why == EndReason::Missed => {
            let by = news.after.as_ref()?.call.as_ref()?.by;
            (MissedCall, others(both(), by))
        }
        Event::Signed(_) => (Prescription, vec![patient]),
        Event::Sent(sent) => (Prescription, vec![Told::Pharmacy(sent.pharmacy.id)]),
        Event::Reviewed(_) => (Prescription, both()),
        Event::Answered(answered) => (Prescription, vec![Told::Pharmacy(answered.pharmacy)]),
        Event::PrescriptionMoved(moved) => {
            (Prescription, std::iter::once(patient).chain(moved.pharmacy.map(Told::Pharmacy)).collect())
        }
        Event::DispensingMoved(moved) if concerns_patient(moved.to) => {
            (Prescription, vec![patient, Told::Pharmacy(moved.pharmacy)])
        }
        Event::DeliveryAssigned(assigned) => {
            let couriers = [Some(assigned.courier.id), assigned.former].into_iter().flatten().map(Told::Person);
            (Delivery, couriers.chain([patient]).collect())
        }
        Event::DeliveryMoved(moved) => {
            let courier = moved.courier.map(Told::Person);
            (Delivery, [patient, Told::Pharmacy(moved.pharmacy)].into_iter().chain(courier).collect())
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
    Some(answer)
}

fn others(all: Vec<Told>, but: UserId) -> Vec<Told> {
    all.into_iter().filter(|told| *told != Told::Person(but)).collect()
}

/// The steps of a pharmacy's work that a patient acts on; the others are for who looks.
fn concerns_patient(to: DispensingState) -> bool {
    use DispensingState::*;
    match to {
        OnHold | Ready | Completed | ReturnedToStock | Declined | Cancelled => true,
        Received | Accepted | Preparing | Checked | Released => false,
    }
}

/// What a provider says after the patient has left its page.
fn concerns_payer(to: PaymentState) -> bool {
    match to {
        PaymentState::Captured | PaymentState::Refunded | PaymentState::Failed => true,
        PaymentState::Pending | PaymentState::Authorized => false,
    }
}
