//! The room: a log, folded into the state that the next decision needs.
//!
//! [`Room::decide`] turns a command into events, [`Room::apply`] applies a record of the log, and [`Room::snapshot`] shows
//! the state to a view. Only `apply` changes a room, so replaying a log yields the same room everywhere.

mod apply;
mod call;
mod chat;
mod consultation;
mod decide;
mod delivery;
mod dispensing;
mod guest;
mod payment;
mod prescription;
mod record;
pub mod snapshot;
mod subject;
mod timer;
mod view;

pub use self::prescription::{MAX_DISPENSINGS, MAX_ITEMS, MAX_PRESCRIPTIONS};
pub use self::record::BREAK_GLASS_DURATION;
use crate::case::call::Call;
use crate::case::consultation::Consultation;
use crate::case::delivery::Delivery;
use crate::case::dispensing::Dispensing;
use crate::case::guest::Guest;
use crate::case::payment::Payment;
use crate::case::prescription::Prescription;
use crate::case::usage::Usage;
use crate::id::{DeliveryId, DispensingId, PharmacyId, PrescriptionId, RoomId, UserId};
use crate::party::{Person, Policy};
use crate::permission::View;
use crate::role::{Actor, Role};
use crate::state::ConsultationState;
use crate::time::Timestamp;

/// One room's state, folded from its log. Chat leaves nothing here, so a room stays small however long the conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    id: RoomId,
    head: u64,
    /// Absent before the first event.
    case: Option<Box<Case>>,
}

/// The case that the room's first event opens.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Case {
    patient: Person,
    doctor: Person,
    policy: Policy,
    consultation: Consultation,
    /// Absent if there is nothing to pay.
    payment: Option<Payment>,
    prescriptions: Vec<Prescription>,
    dispensings: Vec<Dispensing>,
    deliveries: Vec<Delivery>,
    /// The latest call. Earlier calls are in the log only.
    call: Option<Box<Call>>,
    /// Every guest who was ever invited.
    guests: Vec<Guest>,
    /// The administrators with break-glass access, each with its end.
    break_glass: Vec<(UserId, Timestamp)>,
    /// The last event of each filtered view that has one.
    view_heads: Vec<(View, u64)>,
    /// How much of the room's space is used, and by whom.
    usage: Usage,
}

impl Room {
    /// Creates a room without events.
    pub fn new(id: RoomId) -> Self {
        Self { id, head: 0, case: None }
    }

    pub fn id(&self) -> RoomId {
        self.id
    }

    /// Returns the `seq` of the last event; 0 before the first.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Returns the patient and the doctor; none before the first event.
    pub fn parties(&self) -> Option<(UserId, UserId)> {
        self.case.as_deref().map(|case| (case.patient.id, case.doctor.id))
    }

    /// Returns the state of the consultation; none before the first event.
    pub fn consultation_state(&self) -> Option<ConsultationState> {
        self.case.as_deref().map(|case| case.consultation.state())
    }

    /// Returns the view that this actor has now; none for an actor without a part in this case.
    pub fn view_of(&self, actor: &Actor, now: Timestamp) -> Option<View> {
        self.case.as_deref().and_then(|case| case.view_of(actor, now))
    }

    /// Returns the `seq` of the last event that this view contains; 0 if it contains none.
    pub fn visible_head(&self, view: &View) -> u64 {
        match view {
            View::Care => self.head,
            View::Pharmacy(_) | View::Courier(_) => {
                let heads = self.case.iter().flat_map(|case| &case.view_heads);
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
            // A courier who lost the parcel to another has no part any more, and must not read the address.
            Role::Courier => {
                self.deliveries.iter().any(|delivery| delivery.courier() == Some(*id)).then_some(View::Courier(*id))
            }
            Role::Admin => {
                self.break_glass.iter().any(|(admin, until)| admin == id && *until > now).then_some(View::Care)
            }
            Role::Guest => self.guest_view(*id, now),
            Role::Support | Role::System => None,
        }
    }

    /// Whether this pharmacy holds or held a prescription of this case.
    fn serves(&self, pharmacy: PharmacyId) -> bool {
        self.dispensings.iter().any(|dispensing| dispensing.pharmacy.id == pharmacy)
    }

    /// Whether nothing is due, or the payment is authorized.
    fn is_paid(&self) -> bool {
        self.payment.as_ref().is_none_or(|payment| payment.state.covers())
    }

    fn prescription(&self, id: PrescriptionId) -> Option<&Prescription> {
        self.prescriptions.iter().find(|prescription| prescription.id == id)
    }

    fn dispensing(&self, id: DispensingId) -> Option<&Dispensing> {
        self.dispensings.iter().find(|dispensing| dispensing.id == id)
    }

    fn delivery(&self, id: DeliveryId) -> Option<&Delivery> {
        self.deliveries.iter().find(|delivery| delivery.id == id)
    }
}
