//! Building a view's snapshot.
//!
//! A snapshot follows only from events that its view contains: an event outside the view leaves the snapshot unchanged.

use std::collections::BTreeMap;

use super::snapshot::{
    Allowed, CallMember, CallView, ConsultationView, DeliveryView, DispensingView, GuestView, PaymentView,
    PrescriptionView, Snapshot,
};
use super::subject::{Move, sees_delivery, sees_dispensing};
use super::{Case, Room};
use crate::case::call::Call;
use crate::case::consultation::{ConsultationEnd as End, ConsultationPhase as Phase};
use crate::case::delivery::Delivery;
use crate::case::dispensing::{Dispensing, DispensingStage};
use crate::case::guest::Guest;
use crate::case::payment::Payment;
use crate::case::prescription::Prescription;
use crate::party::{HandOver, Person};
use crate::permission::View;
use crate::role::Role;
use crate::text::Text;
use crate::time::Timestamp;

impl Room {
    /// Returns the state as this view may see it at `now`. The hub adds presence and read receipts. A snapshot of a room without
    /// events, of which nobody has a view, names nobody.
    pub fn snapshot(&self, view: &View, now: Timestamp) -> Snapshot {
        let mut snapshot = Snapshot {
            room: self.id,
            patient: Person { id: uuid::Uuid::nil().into(), name: Text::stored("-").expect("one character") },
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
                snapshot.consultation = Some(case.consultation_view(now));
                snapshot.call = case.call.as_deref().map(|call| case.call_view(call, view));
                snapshot.guests = case.admitted_guests().map(guest_view).collect();
                snapshot.payment = case.payment.as_ref().map(payment_view);
            }
            View::Guest { after, .. } if *after < u64::MAX => {
                snapshot.doctor = Some(case.doctor.clone());
                snapshot.call = case.call.as_deref().map(|call| case.call_view(call, view));
                snapshot.guests = case.entered_guests();
            }
            // A guest who has not entered yet learns only whose consultation it is.
            View::Guest { .. } => {}
            View::Pharmacy(_) => snapshot.doctor = Some(case.doctor.clone()),
            View::Courier(_) => {}
        }
        snapshot.prescriptions = case.prescriptions.iter().filter_map(|p| case.prescription_view(p, view)).collect();
        let dispensings = case.dispensings.iter().filter(|dispensing| sees_dispensing(view, dispensing));
        snapshot.dispensings = dispensings.map(|dispensing| case.dispensing_view(dispensing, view)).collect();
        let deliveries = case.deliveries.iter().filter(|delivery| sees_delivery(view, delivery));
        snapshot.deliveries = deliveries.filter_map(|delivery| case.delivery_view(delivery, view)).collect();
        snapshot
    }
}

/// Returns the roles whose moves a view may know. Outside care only its own, since other roles' moves depend on more.
fn roles(view: &View) -> &'static [Role] {
    match view {
        View::Care => &[Role::Patient, Role::Doctor, Role::Pharmacist, Role::Courier, Role::Admin],
        View::Pharmacy(_) => &[Role::Pharmacist],
        View::Courier(_) => &[Role::Courier],
        View::Guest { .. } => &[Role::Guest],
    }
}

/// Returns the names of the moves that each role of this view may make. Roles without moves are absent.
fn allowed<M>(view: &View, moves_of: impl Fn(Role) -> Vec<M>, wrap: fn(M) -> Move) -> Allowed {
    let names = |role: &Role| -> Vec<String> {
        moves_of(*role).into_iter().map(|step| wrap(step).as_str().into_owned()).collect()
    };
    roles(view).iter().map(|role| (*role, names(role))).filter(|(_, names)| !names.is_empty()).collect()
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
    fn entered_guests(&self) -> Vec<GuestView> {
        self.admitted_guests().filter(|guest| guest.entered.is_some()).map(guest_view).collect()
    }

    fn consultation_view(&self, now: Timestamp) -> ConsultationView {
        let consultation = &self.consultation;
        let mut view = ConsultationView {
            state: consultation.state(),
            version: consultation.version,
            slot: consultation.slot.clone(),
            reason: consultation.reason.clone(),
            consent: self.policy.consent.clone(),
            until: consultation.deadline(),
            check_in_from: consultation.check_in_from(&self.policy),
            waiting_since: None,
            missing: None,
            started_at: None,
            ended_at: None,
            note: None,
            allowed: allowed(&View::Care, |role| self.consultation_moves(role, now), Move::Consultation),
        };
        match &consultation.phase {
            Phase::Requested { .. } | Phase::Booked { .. } | Phase::EnteredInError => {}
            Phase::Waiting { place, .. } | Phase::Called { place, .. } => view.waiting_since = Some(place.since),
            Phase::InProgress { conversation } => view.started_at = Some(conversation.started_at),
            Phase::Interrupted { conversation, missing, .. } => {
                view.started_at = Some(conversation.started_at);
                view.missing = *missing;
            }
            Phase::WrapUp { interval } | Phase::Closed { end: End::Referred { interval }, .. } => {
                (view.started_at, view.ended_at) = (Some(interval.started_at), Some(interval.ended_at));
            }
            Phase::Closed { end: End::Completed { interval, note }, .. } => {
                (view.started_at, view.ended_at) = (Some(interval.started_at), Some(interval.ended_at));
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
            members: call
                .present_members()
                .map(|member| CallMember { user: member.user, connected: member.connected })
                .collect(),
            relay_only: self.policy.relay_only,
            allowed: allowed(view, |role| self.call_moves(call, view, role), Move::Call),
        }
    }

    /// None if the view does not contain it.
    fn prescription_view(&self, prescription: &Prescription, view: &View) -> Option<PrescriptionView> {
        let dispensing = match view {
            View::Care => prescription.dispensing().and_then(|id| self.dispensing(id)),
            View::Pharmacy(own) => Some(self.latest_dispensing(prescription.id, *own)?),
            View::Courier(_) | View::Guest { .. } => return None,
        };
        let (state, version, replaces) = match (view, dispensing) {
            (View::Pharmacy(_), Some(dispensing)) => (dispensing.known.state, dispensing.known.version, None),
            _ => (prescription.state(), prescription.version, prescription.replaces),
        };
        Some(PrescriptionView {
            id: prescription.id,
            state,
            version,
            items: prescription.items.clone(),
            replaces,
            valid_until: prescription.valid_until(),
            // The pharmacy that holds it or completed it.
            pharmacy: dispensing
                .filter(|it| it.is_active() || it.stage == DispensingStage::Completed)
                .map(|it| it.pharmacy.clone()),
            allowed: allowed(view, |role| self.prescription_moves(prescription, view, role), Move::Prescription),
        })
    }

    fn dispensing_view(&self, dispensing: &Dispensing, view: &View) -> DispensingView {
        DispensingView {
            id: dispensing.id,
            prescription: dispensing.prescription,
            pharmacy: dispensing.pharmacy.clone(),
            state: dispensing.state(),
            version: dispensing.version,
            hand_over: dispensing.hand_over.clone(),
            hold: match dispensing.stage {
                DispensingStage::OnHold(reason) => Some(reason),
                _ => None,
            },
            allowed: allowed(view, |role| self.dispensing_moves(dispensing, role), Move::Dispensing),
        }
    }

    /// None if the dispensing is missing, which no log of this engine causes.
    fn delivery_view(&self, delivery: &Delivery, view: &View) -> Option<DeliveryView> {
        let dispensing = self.dispensing(delivery.dispensing)?;
        let HandOver::Delivery(address) = &dispensing.hand_over else { return None };
        let transit = delivery.transit();
        Some(DeliveryView {
            id: delivery.id,
            dispensing: dispensing.id,
            pharmacy: dispensing.pharmacy.clone(),
            recipient: self.patient.clone(),
            address: address.clone(),
            state: delivery.state(),
            version: delivery.version,
            courier: transit.map(|transit| transit.courier.clone()),
            window: transit.and_then(|transit| transit.window),
            attempts: delivery.attempts(),
            allowed: allowed(view, |role| delivery.allowed(role), Move::Delivery),
        })
    }
}
