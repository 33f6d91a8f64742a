//! Taking a record of the log.

use super::{Case, Room};
use crate::case::consultation::Consultation;
use crate::case::delivery::{Delivery, Stage as DeliveryStage};
use crate::case::dispensing::{Dispensing, Known, Stage as DispensingStage};
use crate::case::payment::Payment;
use crate::case::prescription::{Prescription, PrescriptionState, Stage};
use crate::event::{Event, Requested, Sent};
use crate::id::{DeliveryId, PrescriptionId};
use crate::permission::{View, concerned_couriers, concerned_pharmacy};
use crate::record::Record;
use crate::time::Timestamp;

impl Room {
    /// Takes the next record of this room's log and says whether it did: one that is not the next, or another room's,
    /// changes nothing. A record whose event does not fit the state, which no log of this engine has, still counts.
    pub fn apply(&mut self, record: &Record) -> bool {
        if record.room != self.id || record.seq != self.head + 1 {
            return false;
        }
        self.head = record.seq;
        match (&mut self.case, &record.event) {
            (Some(case), event) => case.apply(event, record),
            (None, Event::Requested(requested)) => self.case = Some(Box::new(Case::open(requested, record))),
            (None, _) => {}
        }
        true
    }
}

impl Case {
    fn open(requested: &Requested, record: &Record) -> Self {
        Self {
            patient: requested.patient.clone(),
            doctor: requested.doctor.clone(),
            policy: requested.policy.clone(),
            consultation: Consultation::open(requested, record.seq, record.at),
            payment: None,
            prescriptions: Vec::new(),
            dispensings: Vec::new(),
            deliveries: Vec::new(),
            call: None,
            guests: Vec::new(),
            openings: Vec::new(),
            heads: Vec::new(),
        }
    }

    fn apply(&mut self, event: &Event, record: &Record) {
        let (seq, at) = (record.seq, record.at);
        match event {
            // Only ever the first.
            Event::Requested(_) => {}
            Event::Moved(moved) => self.consultation.moved(moved, seq, at, &self.policy),
            Event::Rescheduled(rescheduled) => self.consultation.rescheduled(&rescheduled.slot, seq, &self.policy),
            Event::CheckedIn(_) => self.consultation.version = seq,
            Event::Called(called) => self.consultation.called(called.until, seq),
            Event::Noted(noted) => self.consultation.noted(&noted.note, seq),
            Event::ErrorProposed(_) => self.consultation.error_proposed(record.actor.id, seq),
            Event::ChatSent(_) | Event::Exported(_) | Event::DevicesChecked(_) => {}
            Event::CallStarted(_)
            | Event::CallJoined(_)
            | Event::CallLeft(_)
            | Event::CallConnected(_)
            | Event::CallInterrupted(_)
            | Event::CallEnded(_)
            | Event::CallReported(_) => self.apply_call(event, seq, at),
            Event::GuestInvited(_) | Event::GuestEntered(_) | Event::GuestDismissed(_) => self.apply_guest(event, seq),
            Event::Drafted(drafted) => add(
                &mut self.prescriptions,
                Prescription {
                    id: drafted.prescription,
                    version: seq,
                    items: drafted.items.clone(),
                    replaces: drafted.replaces,
                    stage: Stage::Draft,
                },
            ),
            Event::Amended(amended) => {
                self.change(amended.prescription, seq, |prescription| prescription.items = amended.items.clone());
            }
            Event::Signed(signed) => {
                let review = self.policy.review;
                self.change(signed.prescription, seq, |prescription| prescription.signed(signed.valid_until, review));
            }
            Event::Sent(sent) => self.sent(sent, seq),
            Event::Reviewed(reviewed) => {
                self.change(reviewed.prescription, seq, |prescription| prescription.reviewed(reviewed.verdict));
            }
            Event::Answered(answered) => self.change(answered.prescription, seq, Prescription::answered),
            Event::PrescriptionMoved(moved) => {
                self.change(moved.prescription, seq, |prescription| prescription.moved(moved.to));
            }
            Event::DispensingMoved(moved) => {
                if let Some(work) = self.dispensings.iter_mut().find(|work| work.id == moved.dispensing) {
                    work.moved(moved, seq);
                }
            }
            Event::DeliveryRequested(requested) => add(
                &mut self.deliveries,
                Delivery {
                    id: requested.delivery,
                    version: seq,
                    dispensing: requested.dispensing,
                    pharmacy: requested.pharmacy.id,
                    since: at,
                    stage: DeliveryStage::Requested,
                },
            ),
            Event::DeliveryAssigned(assigned) => {
                if let Some(parcel) = self.parcel_mut(assigned.delivery) {
                    parcel.assigned(&assigned.courier, seq, at);
                }
            }
            Event::DeliveryMoved(moved) => {
                if let Some(parcel) = self.parcel_mut(moved.delivery) {
                    parcel.moved(moved, seq, at);
                }
            }
            Event::DeliveryReported(_) => {}
            Event::PaymentMoved(moved) => {
                self.payment =
                    Some(Payment { state: moved.to, amount: moved.amount, currency: moved.currency.clone() });
            }
            Event::RecordOpened(opened) => self.opened(opened.by, opened.until),
        }
        self.learn(event, seq);
        self.advance_heads(event, seq);
        self.advance_guests(event, seq);
    }

    fn change(&mut self, id: PrescriptionId, seq: u64, how: impl FnOnce(&mut Prescription)) {
        if let Some(prescription) = self.prescriptions.iter_mut().find(|prescription| prescription.id == id) {
            how(prescription);
            prescription.version = seq;
        }
    }

    fn parcel_mut(&mut self, id: DeliveryId) -> Option<&mut Delivery> {
        self.deliveries.iter_mut().find(|parcel| parcel.id == id)
    }

    fn sent(&mut self, sent: &Sent, seq: u64) {
        self.change(sent.prescription, seq, |prescription| {
            prescription.sent(sent.dispensing, sent.valid_until, sent.review);
        });
        add(
            &mut self.dispensings,
            Dispensing {
                id: sent.dispensing,
                version: seq,
                prescription: sent.prescription,
                pharmacy: sent.pharmacy.clone(),
                hand_over: sent.hand_over.clone(),
                stage: DispensingStage::Received,
                known: Known { state: PrescriptionState::Released, version: seq },
            },
        );
    }

    fn opened(&mut self, by: crate::id::UserId, until: Timestamp) {
        self.openings.retain(|(admin, _)| *admin != by);
        self.openings.push((by, until));
    }

    /// Keeps what a pharmacy knows of a prescription: its state by the last event about it that the pharmacy sees.
    fn learn(&mut self, event: &Event, seq: u64) {
        let prescription = match event {
            Event::Sent(sent) => sent.prescription,
            Event::Reviewed(reviewed) => reviewed.prescription,
            Event::Answered(answered) => answered.prescription,
            Event::PrescriptionMoved(moved) => moved.prescription,
            _ => return,
        };
        let Some(pharmacy) = concerned_pharmacy(event) else { return };
        let Some(state) = self.prescription(prescription).map(Prescription::state) else { return };
        let works = self.dispensings.iter_mut().rev();
        for work in works.filter(|work| work.prescription == prescription && work.pharmacy.id == pharmacy).take(1) {
            work.known = Known { state, version: seq };
        }
    }

    fn advance_heads(&mut self, event: &Event, seq: u64) {
        let pharmacy = concerned_pharmacy(event).map(View::Pharmacy);
        let couriers = concerned_couriers(event).into_iter().flatten().map(View::Courier);
        for view in pharmacy.into_iter().chain(couriers) {
            match self.heads.iter_mut().find(|(of, _)| *of == view) {
                Some((_, head)) => *head = seq,
                None => add(&mut self.heads, (view, seq)),
            }
        }
    }
}

/// Adds to one of a case's lists, without places for more: most have one or two items, and cases are many.
fn add<T>(list: &mut Vec<T>, item: T) {
    list.reserve_exact(1);
    list.push(item);
}
