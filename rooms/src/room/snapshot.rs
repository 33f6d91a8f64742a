//! The state as a view may see it.
//!
//! A snapshot says nothing that does not follow from events which its view sees: an event outside a view leaves that
//! view's snapshot as it was.

use std::collections::BTreeMap;

use super::face::{sees_delivery, sees_dispensing};
use super::{Case, Room};
use crate::case::call::Call;
use crate::case::consultation::{End, Phase};
use crate::case::delivery::Delivery;
use crate::case::dispensing::{Dispensing, Stage};
use crate::case::guest::Guest;
use crate::case::payment::Payment;
use crate::case::prescription::Prescription;
use crate::event::{HandOver, Person};
use crate::permission::View;
use crate::role::Role;
use crate::text::Line;
use crate::wire::snapshot::{
    Allowed, CallMember, CallView, ConsultationView, DeliveryView, DispensingView, GuestView, PaymentView,
    PrescriptionView, Snapshot,
};

impl Room {
    /// The state as this view may see it, without marks and presence, which the hub knows. Of a room without events,
    /// which nobody has a view of, it names nobody.
    pub fn snapshot(&self, view: &View) -> Snapshot {
        let mut snapshot = Snapshot {
            room: self.id,
            patient: Person { id: uuid::Uuid::nil().into(), name: Line::parse("-").expect("one character") },
            doctor: None,
            consultation: None,
            prescriptions: Vec::new(),
            dispensings: Vec::new(),
            deliveries: Vec::new(),
            payment: None,
            call: None,
            guests: Vec::new(),
            presence: Vec::new(),
            marks: BTreeMap::new(),
        };
        let Some(case) = self.case.as_deref() else { return snapshot };
        snapshot.patient = case.patient.clone();
        match view {
            View::Care => {
                snapshot.doctor = Some(case.doctor.clone());
                snapshot.consultation = Some(case.consultation_view());
                snapshot.call = case.call.as_deref().map(|call| case.call_view(call, view));
                snapshot.guests = case.guests().map(guest_view).collect();
                snapshot.payment = case.payment.as_ref().map(payment_view);
            }
            View::Guest { after, .. } if *after < u64::MAX => {
                snapshot.doctor = Some(case.doctor.clone());
                snapshot.call = case.call.as_deref().map(|call| case.call_view(call, view));
                snapshot.guests = case.guests().filter(|guest| guest.entered.is_some()).map(guest_view).collect();
            }
            // Whoever has not come in yet learns only whose consultation it is.
            View::Guest { .. } => {}
            View::Pharmacy(_) => snapshot.doctor = Some(case.doctor.clone()),
            View::Courier(_) => {}
        }
        snapshot.prescriptions = case.prescriptions.iter().filter_map(|p| case.prescription_view(p, view)).collect();
        let works = case.dispensings.iter().filter(|work| sees_dispensing(view, work));
        snapshot.dispensings = works.map(|work| case.dispensing_view(work, view)).collect();
        let parcels = case.deliveries.iter().filter(|parcel| sees_delivery(view, parcel));
        snapshot.deliveries = parcels.filter_map(|parcel| case.delivery_view(parcel, view)).collect();
        snapshot
    }
}

/// The roles whose open moves a view may know: outside of care only their own, since those of others depend on more.
fn roles(view: &View) -> &'static [Role] {
    match view {
        View::Care => &[Role::Patient, Role::Doctor, Role::Pharmacist, Role::Courier, Role::Admin],
        View::Pharmacy(_) => &[Role::Pharmacist],
        View::Courier(_) => &[Role::Courier],
        View::Guest { .. } => &[Role::Guest],
    }
}

fn allowed(view: &View, of: impl Fn(Role) -> Vec<String>) -> Allowed {
    roles(view).iter().map(|role| (*role, of(*role))).filter(|(_, open)| !open.is_empty()).collect()
}

fn guest_view(guest: &Guest) -> GuestView {
    GuestView {
        id: guest.person.id,
        name: guest.person.name.clone(),
        kind: guest.kind,
        until: guest.until,
        entered: guest.entered.is_some(),
    }
}

fn payment_view(payment: &Payment) -> PaymentView {
    PaymentView { state: payment.state, amount: payment.amount, currency: payment.currency.clone() }
}

impl Case {
    fn consultation_view(&self) -> ConsultationView {
        let consultation = &self.consultation;
        let mut view = ConsultationView {
            state: consultation.state(),
            version: consultation.version,
            slot: consultation.slot.clone(),
            reason: consultation.reason.clone(),
            consent: self.policy.consent.clone(),
            until: consultation.deadline(),
            waiting_since: None,
            missing: None,
            started_at: None,
            ended_at: None,
            note: None,
            allowed: allowed(&View::Care, |role| self.at_large_allowed(role)),
        };
        match &consultation.phase {
            Phase::Requested { .. } | Phase::Booked { .. } | Phase::EnteredInError => {}
            Phase::Waiting { place, .. } | Phase::Called { place, .. } => view.waiting_since = Some(place.since),
            Phase::InProgress { talk } => view.started_at = Some(talk.started_at),
            Phase::Interrupted { talk, missing, .. } => {
                view.started_at = Some(talk.started_at);
                view.missing = *missing;
            }
            Phase::WrapUp { span } | Phase::Closed { end: End::Referred { span }, .. } => {
                (view.started_at, view.ended_at) = (Some(span.started_at), Some(span.ended_at));
            }
            Phase::Closed { end: End::Completed { span, note }, .. } => {
                (view.started_at, view.ended_at) = (Some(span.started_at), Some(span.ended_at));
                view.note = Some(note.clone());
            }
            Phase::Closed { end: End::NoShow { missing }, .. } => view.missing = Some(*missing),
            Phase::Closed { end: End::Cancelled | End::Expired, .. } => {}
        }
        view
    }

    fn call_view(&self, call: &Call, view: &View) -> CallView {
        CallView {
            id: call.id,
            state: call.state(),
            version: call.version,
            media: call.media,
            by: call.by,
            until: call.deadline(),
            members: call.present().map(|member| CallMember { user: member.user, connected: member.up }).collect(),
            relay_only: self.policy.relay_only,
            allowed: allowed(view, |role| self.call_allowed(call, view, role)),
        }
    }

    /// None when the view has nothing of it.
    fn prescription_view(&self, prescription: &Prescription, view: &View) -> Option<PrescriptionView> {
        let work = match view {
            View::Care => prescription.at().and_then(|at| self.dispensing(at)),
            View::Pharmacy(own) => Some(self.latest_work(prescription.id, *own)?),
            View::Courier(_) | View::Guest { .. } => return None,
        };
        let (state, version, replaces) = match (view, work) {
            (View::Pharmacy(_), Some(work)) => (work.known.state, work.known.version, None),
            _ => (prescription.state(), prescription.version, prescription.replaces),
        };
        Some(PrescriptionView {
            id: prescription.id,
            state,
            version,
            items: prescription.items.clone(),
            replaces,
            valid_until: prescription.valid_until(),
            // The pharmacy that has it or handed it out.
            pharmacy: work.filter(|work| work.active() || work.stage == Stage::Completed).map(|w| w.pharmacy.clone()),
            allowed: allowed(view, |role| self.prescription_allowed(prescription, view, role)),
        })
    }

    fn dispensing_view(&self, work: &Dispensing, view: &View) -> DispensingView {
        DispensingView {
            id: work.id,
            prescription: work.prescription,
            pharmacy: work.pharmacy.clone(),
            state: work.state(),
            version: work.version,
            hand_over: work.hand_over.clone(),
            hold: match work.stage {
                Stage::OnHold(reason) => Some(reason),
                _ => None,
            },
            allowed: allowed(view, |role| self.dispensing_allowed(work, role)),
        }
    }

    /// None when the dispensing is missing, which no log of this engine brings about.
    fn delivery_view(&self, parcel: &Delivery, view: &View) -> Option<DeliveryView> {
        let work = self.dispensing(parcel.dispensing)?;
        let HandOver::Delivery(address) = &work.hand_over else { return None };
        let given = parcel.given();
        Some(DeliveryView {
            id: parcel.id,
            dispensing: work.id,
            pharmacy: work.pharmacy.clone(),
            recipient: self.patient.clone(),
            address: address.clone(),
            state: parcel.state(),
            version: parcel.version,
            courier: given.map(|given| given.courier.clone()),
            window: given.and_then(|given| given.window),
            attempts: given.map_or(0, |given| given.attempts),
            allowed: allowed(view, |role| parcel.allowed(role)),
        })
    }
}
