//! Applying a record of the log to the room's state.

use super::{Case, Room};
use crate::case::call::Call;
use crate::case::consultation::Consultation;
use crate::case::delivery::Delivery;
use crate::case::dispensing::{Dispensing, KnownPrescription};
use crate::case::guest::Guest;
use crate::case::payment::Payment;
use crate::case::prescription::Prescription;
use crate::case::usage::Usage;
use crate::event::{Event, RecordOpened, Requested};
use crate::id::{CallId, DeliveryId, PharmacyId, PrescriptionId, UserId};
use crate::permission::{View, sees};
use crate::record::Record;

impl Room {
    /// Applies the next record of this room's log. Returns whether it did: a record that is not the next one, or belongs to
    /// another room, changes nothing. An event that does not fit the state still counts, though no log of this engine
    /// contains one.
    pub fn apply(&mut self, record: &Record) -> bool {
        if record.room != self.id || record.seq != self.head + 1 {
            return false;
        }
        self.head = record.seq;
        if let Some(case) = &mut self.case {
            case.apply(record);
        } else if let Event::Requested(requested) = &record.event {
            self.case = Some(Box::new(Case::open(requested, record)));
        }
        if let Some(case) = &mut self.case {
            case.usage.count(&record.actor, &record.event);
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
            break_glass: Vec::new(),
            view_heads: Vec::new(),
            usage: Usage::new(record.at),
        }
    }

    fn apply(&mut self, record: &Record) {
        let (seq, at, event) = (record.seq, record.at, &record.event);
        match event {
            // Opens the room, so it is always the first event.
            Event::Requested(_) => {}
            Event::ConsultationMoved(moved) => self.consultation.apply_move(moved, seq, at, &self.policy),
            Event::Rescheduled(rescheduled) => self.consultation.apply_slot(&rescheduled.slot, seq, at, &self.policy),
            Event::CheckedIn(_) => self.consultation.version = seq,
            Event::Called(called) => self.consultation.apply_call(called.until, seq),
            Event::Noted(noted) => self.consultation.apply_note(&noted.note, seq),
            Event::ErrorProposed(_) => self.consultation.apply_error_proposal(record.actor.id, seq),
            Event::ChatSent(_) | Event::Exported(_) | Event::DevicesChecked(_) => {}
            Event::CallStarted(started) => self.call = Some(Box::new(Call::start(started, seq))),
            Event::CallJoined(joined) => {
                let is_guest = ![self.patient.id, self.doctor.id].contains(&joined.user);
                self.change_call(joined.call, |call| call.apply_joined(joined.user, is_guest, at, seq));
            }
            Event::CallLeft(left) => self.change_call(left.call, |call| call.apply_left(left.user, seq)),
            Event::CallConnected(connected) => {
                self.change_call(connected.call, |call| call.apply_media(connected.user, true, seq));
            }
            Event::CallInterrupted(interrupted) => {
                self.change_call(interrupted.call, |call| call.apply_media(interrupted.user, false, seq));
            }
            Event::CallEnded(ended) => self.change_call(ended.call, |call| call.apply_ended(seq)),
            Event::CallReported(reported) => {
                self.change_call(reported.call, |call| call.reports = call.reports.saturating_add(1));
            }
            Event::GuestInvited(invited) => push_exact(&mut self.guests, Guest::invited(invited)),
            Event::GuestEntered(entered) => {
                self.change_guest(entered.guest.id, |guest| guest.entered = guest.entered.or(Some(seq)));
            }
            Event::GuestDismissed(dismissed) => self.change_guest(dismissed.guest, |guest| guest.dismissed = true),
            Event::Drafted(drafted) => push_exact(&mut self.prescriptions, Prescription::draft(drafted, seq)),
            Event::Amended(amended) => {
                self.change_prescription(amended.prescription, seq, |it| it.items = amended.items.clone());
            }
            Event::Signed(signed) => {
                let review = self.policy.review;
                self.change_prescription(signed.prescription, seq, |it| it.apply_signature(signed.valid_until, review));
            }
            Event::Sent(sent) => {
                self.change_prescription(sent.prescription, seq, |it| {
                    it.apply_sending(sent.dispensing, sent.valid_until, sent.review);
                });
                push_exact(&mut self.dispensings, Dispensing::receive(sent, seq));
                self.inform_pharmacy(sent.prescription, sent.pharmacy.id, seq);
            }
            Event::Reviewed(reviewed) => {
                self.change_prescription(reviewed.prescription, seq, |it| it.apply_verdict(reviewed.verdict));
                self.inform_pharmacy(reviewed.prescription, reviewed.pharmacy, seq);
            }
            Event::Answered(answered) => {
                self.change_prescription(answered.prescription, seq, Prescription::apply_answer);
                self.inform_pharmacy(answered.prescription, answered.pharmacy, seq);
            }
            Event::PrescriptionMoved(moved) => {
                self.change_prescription(moved.prescription, seq, |it| it.apply_move(moved.to));
                if let Some(pharmacy) = moved.pharmacy {
                    self.inform_pharmacy(moved.prescription, pharmacy, seq);
                }
            }
            Event::DispensingMoved(moved) => {
                if let Some(dispensing) = self.dispensings.iter_mut().find(|it| it.id == moved.dispensing) {
                    dispensing.apply_move(moved, seq);
                }
            }
            Event::DeliveryRequested(requested) => {
                push_exact(&mut self.deliveries, Delivery::request(requested, seq, at));
            }
            Event::DeliveryAssigned(assigned) => {
                self.change_delivery(assigned.delivery, |it| it.apply_assignment(&assigned.courier, seq, at));
            }
            Event::DeliveryReported(reported) => self.change_delivery(reported.delivery, Delivery::apply_late_report),
            Event::DeliveryMoved(moved) => self.change_delivery(moved.delivery, |it| it.apply_move(moved, seq, at)),
            Event::PaymentMoved(moved) => self.payment = Some(Payment::from(moved)),
            Event::RecordOpened(opened) => self.grant_break_glass(opened),
        }
        self.advance_view_heads(event, seq);
        self.advance_guest_heads(event, seq);
    }

    fn change_call(&mut self, id: CallId, change: impl FnOnce(&mut Call)) {
        if let Some(call) = self.call.as_deref_mut().filter(|call| call.id == id) {
            change(call);
        }
    }

    fn change_guest(&mut self, id: UserId, change: impl FnOnce(&mut Guest)) {
        if let Some(guest) = self.guests.iter_mut().find(|guest| guest.person.id == id) {
            change(guest);
        }
    }

    fn change_prescription(&mut self, id: PrescriptionId, seq: u64, change: impl FnOnce(&mut Prescription)) {
        if let Some(prescription) = self.prescriptions.iter_mut().find(|prescription| prescription.id == id) {
            change(prescription);
            prescription.version = seq;
        }
    }

    fn change_delivery(&mut self, id: DeliveryId, change: impl FnOnce(&mut Delivery)) {
        if let Some(delivery) = self.deliveries.iter_mut().find(|delivery| delivery.id == id) {
            change(delivery);
        }
    }

    /// Updates what a pharmacy knows of a prescription after an event about it that the pharmacy sees.
    fn inform_pharmacy(&mut self, prescription: PrescriptionId, pharmacy: PharmacyId, seq: u64) {
        let Some(state) = self.prescription(prescription).map(Prescription::state) else { return };
        let mut latest_first = self.dispensings.iter_mut().rev();
        let latest = latest_first.find(|it| it.prescription == prescription && it.pharmacy.id == pharmacy);
        if let Some(dispensing) = latest {
            dispensing.known = KnownPrescription { state, version: seq };
        }
    }

    /// Starts an administrator's access, or extends it.
    fn grant_break_glass(&mut self, opened: &RecordOpened) {
        self.break_glass.retain(|(admin, _)| *admin != opened.by);
        self.break_glass.push((opened.by, opened.until));
    }

    fn advance_view_heads(&mut self, event: &Event, seq: u64) {
        let audience = event.audience();
        let pharmacy = audience.pharmacy.map(View::Pharmacy);
        let couriers = audience.couriers.into_iter().flatten().map(View::Courier);
        for view in pharmacy.into_iter().chain(couriers) {
            match self.view_heads.iter_mut().find(|(of, _)| *of == view) {
                Some((_, head)) => *head = seq,
                None => push_exact(&mut self.view_heads, (view, seq)),
            }
        }
    }

    fn advance_guest_heads(&mut self, event: &Event, seq: u64) {
        for guest in &mut self.guests {
            if sees(&View::Guest { guest: guest.person.id, after: guest.after() }, seq, event) {
                guest.head = seq;
            }
        }
    }
}

/// Appends to one of a case's lists without spare capacity: most lists have one or two items, and cases are many.
fn push_exact<T>(list: &mut Vec<T>, item: T) {
    list.reserve_exact(1);
    list.push(item);
}
