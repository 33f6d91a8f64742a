//! The room: a log, folded into the state that the next decision needs.
//!
//! [`Room::decide`] says what a command comes to, [`Room::apply`] takes a record of the log, [`Room::snapshot`] shows
//! the state to a view. Nothing but `apply` changes a room, so a room is the same wherever its log is replayed.

mod apply;
mod call;
mod decide;
mod face;
mod guest;
mod medicine;
mod parcel;
mod snapshot;
mod timer;

pub use decide::OPEN_FOR;
pub use medicine::{MAX_DISPENSINGS, MAX_ITEMS, MAX_PRESCRIPTIONS};

use crate::case::call::Call;
use crate::case::consultation::{Consultation, ConsultationState, Phase};
use crate::case::delivery::Delivery;
use crate::case::dispensing::Dispensing;
use crate::case::guest::Guest;
use crate::case::payment::Payment;
use crate::case::prescription::{Around, Prescription};
use crate::event::{Person, Policy};
use crate::id::{DispensingId, PharmacyId, PrescriptionId, RoomId, UserId};
use crate::permission::View;
use crate::role::{Actor, Role};
use crate::time::Timestamp;

/// The greatest number of events in one room.
pub const MAX_EVENTS: u64 = 20_000;

/// The last events of a room are kept for what moves the case: chat and exports stop this many events earlier.
pub const RESERVED_EVENTS: u64 = 1_000;

/// One room's state: what its log says, folded. Chat leaves nothing here, so a room stays small however long it talks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    id: RoomId,
    head: u64,
    /// Absent before the first event.
    case: Option<Box<Case>>,
}

/// What a room's first event makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Case {
    patient: Person,
    doctor: Person,
    policy: Policy,
    consultation: Consultation,
    /// Absent when nothing is to be paid.
    payment: Option<Payment>,
    prescriptions: Vec<Prescription>,
    dispensings: Vec<Dispensing>,
    deliveries: Vec<Delivery>,
    /// The latest one; of those before it only the log tells.
    call: Option<Box<Call>>,
    /// Everybody who was ever invited.
    guests: Vec<Guest>,
    /// Administrators who broke the glass, each with the end of their time.
    openings: Vec<(UserId, Timestamp)>,
    /// The last event of each filtered view that has any.
    heads: Vec<(View, u64)>,
}

impl Room {
    /// A room without events.
    pub fn new(id: RoomId) -> Self {
        Self { id, head: 0, case: None }
    }

    pub fn id(&self) -> RoomId {
        self.id
    }

    /// `seq` of the last event; 0 before the first.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// The patient and the doctor; none before the first event.
    pub fn parties(&self) -> Option<(UserId, UserId)> {
        self.case.as_deref().map(|case| (case.patient.id, case.doctor.id))
    }

    /// Where the consultation stands; none before the first event.
    pub fn consultation_state(&self) -> Option<ConsultationState> {
        self.case.as_deref().map(|case| case.consultation.state())
    }

    /// What part of the log this actor sees now; none for who has no part in this case.
    pub fn view_of(&self, actor: &Actor, now: Timestamp) -> Option<View> {
        self.case.as_deref().and_then(|case| case.view_of(actor, now))
    }

    /// `seq` of the last event that this view sees; 0 for none.
    pub fn visible_head(&self, view: &View) -> u64 {
        match view {
            View::Care => self.head,
            View::Pharmacy(_) | View::Courier(_) => {
                let heads = self.case.iter().flat_map(|case| &case.heads);
                heads.filter(|(of, _)| of == view).map(|(_, head)| *head).next().unwrap_or(0)
            }
            View::Guest { guest, .. } => {
                let guests = self.case.iter().flat_map(|case| &case.guests);
                guests.filter(|it| it.person.id == *guest).map(|it| it.head).next().unwrap_or(0)
            }
        }
    }
}

impl Case {
    fn view_of(&self, actor: &Actor, now: Timestamp) -> Option<View> {
        let Actor::Person { id, role, pharmacy, .. } = actor else { return Some(View::Care) };
        match role {
            Role::Patient => (*id == self.patient.id).then_some(View::Care),
            Role::Doctor => (*id == self.doctor.id).then_some(View::Care),
            Role::Pharmacist => pharmacy.filter(|own| self.serves(*own)).map(View::Pharmacy),
            // Who was relieved of a parcel has no part any more: the address is not theirs to look up.
            Role::Courier => {
                self.deliveries.iter().any(|parcel| parcel.courier() == Some(*id)).then_some(View::Courier(*id))
            }
            Role::Admin => self.openings.iter().any(|(admin, until)| admin == id && *until > now).then_some(View::Care),
            Role::Guest => self.guest_view(*id, now),
            Role::Support | Role::System => None,
        }
    }

    /// Whether this pharmacy has or had a prescription of this case.
    fn serves(&self, pharmacy: PharmacyId) -> bool {
        self.dispensings.iter().any(|work| work.pharmacy.id == pharmacy)
    }

    /// Whether nothing is owed, or it is authorized.
    fn paid(&self) -> bool {
        self.payment.as_ref().is_none_or(|payment| payment.state.covers())
    }

    fn prescription(&self, id: PrescriptionId) -> Option<&Prescription> {
        self.prescriptions.iter().find(|prescription| prescription.id == id)
    }

    fn dispensing(&self, id: DispensingId) -> Option<&Dispensing> {
        self.dispensings.iter().find(|work| work.id == id)
    }

    /// The work on this prescription that is not over.
    fn work_on(&self, prescription: &Prescription) -> Option<&Dispensing> {
        prescription.at().and_then(|at| self.dispensing(at)).filter(|work| work.active())
    }

    /// The parcel of this dispensing whose way is not over.
    fn parcel_of(&self, dispensing: DispensingId) -> Option<&Delivery> {
        self.deliveries.iter().find(|parcel| parcel.dispensing == dispensing && parcel.active())
    }

    /// What a prescription's steps depend on besides itself.
    fn around(&self, prescription: &Prescription) -> Around {
        Around {
            in_error: matches!(self.consultation.phase, Phase::EnteredInError),
            dispensing: self.work_on(prescription).map(Dispensing::state),
        }
    }

    /// The pharmacy that has this prescription, and so must hear what becomes of it.
    fn holder(&self, prescription: &Prescription) -> Option<PharmacyId> {
        self.work_on(prescription).map(|work| work.pharmacy.id)
    }

    /// The latest work of this pharmacy on this prescription.
    fn latest_work(&self, prescription: PrescriptionId, pharmacy: PharmacyId) -> Option<&Dispensing> {
        self.dispensings.iter().rev().find(|work| work.prescription == prescription && work.pharmacy.id == pharmacy)
    }
}
