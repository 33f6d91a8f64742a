//! Deciding a command: who may, on which version, and then the state machines.

use std::time::Duration;

use super::face::{Face, Subject};
use super::{Case, MAX_EVENTS, RESERVED_EVENTS, Room};
use crate::case::consultation::{ConsultationState as To, Phase, Step, seconds};
use crate::case::guest::DismissReason;
use crate::case::payment::PaymentState;
use crate::command::{Chat, Command, Context, RecordPayment, Request};
use crate::event::{
    Called, ChatSent, CheckedIn, Event, Explained, Exported, Noted, PaymentMoved, Person, RecordOpened, Requested,
    Rescheduled, Slot, Thread,
};
use crate::id::RoomId;
use crate::permission::{View, may};
use crate::record::MAX_AMOUNT;
use crate::refusal::Refusal;
use crate::role::{Actor, Role};
use crate::text::{Line, Prose};
use crate::time::Timestamp;

/// How long break-glass lasts.
pub const OPEN_FOR: Duration = Duration::from_secs(15 * 60);

impl Room {
    /// What a command comes to. Changes nothing: the caller numbers, stores and then applies the events.
    ///
    /// Checked in this order: the role, the actor's part in the case, that the thing exists for them, the version they
    /// saw, the present state, and the command's own data. The timer may have nothing to do: then there are no events.
    pub fn decide(&self, command: &Command, context: &mut Context<'_>) -> Result<Vec<Event>, Refusal> {
        let role = context.actor.role();
        if !may(role, command) {
            return Err(Refusal::Forbidden);
        }
        let Some(case) = self.case.as_deref() else {
            return match (command, self.head, context.actor) {
                (Command::Request(request), 0, Actor::Person { id, name, .. }) => {
                    open(self.id, request, Person { id: *id, name: name.clone() }, context)
                }
                _ => Err(Refusal::Forbidden),
            };
        };
        let view = case.part(command, context)?;
        let mut events = case.decide(command, &view, role, context)?;
        events.extend(case.call_that_ends_with(&events, context.now));
        events.extend(case.guests_who_go_with(&events));
        let limit = match command {
            // The clock's events are few: each deadline follows from an event that did fit.
            Command::Timer(_) => u64::MAX,
            Command::Chat(_)
            | Command::Export(_)
            | Command::StartCall(_)
            | Command::CallMedia(_)
            | Command::ReportCall(_)
            | Command::CheckDevices(_) => MAX_EVENTS - RESERVED_EVENTS,
            _ => MAX_EVENTS,
        };
        if self.head.saturating_add(events.len() as u64) > limit {
            return Err(Refusal::RoomFull { max: limit });
        }
        Ok(events)
    }
}

/// The first events of a room.
fn open(room: RoomId, request: &Request, patient: Person, context: &Context<'_>) -> Result<Vec<Event>, Refusal> {
    let policy = context.policy;
    let (doctor, slot) = match (request.slot, request.doctor) {
        (Some(id), None) => {
            let slot = context.facts.slot.clone().filter(|slot| slot.id == id).ok_or(Refusal::NoSuch("slot"))?;
            not_over(&slot, context.now)?;
            (slot.doctor.clone(), Some(slot))
        }
        (None, Some(id)) => {
            let doctor = context.facts.doctor.clone().filter(|doctor| doctor.id == id);
            (doctor.ok_or(Refusal::NoSuch("doctor"))?, None)
        }
        (Some(_), Some(_)) | (None, None) => {
            return Err(Refusal::Invalid { field: "slot", why: "name either a slot or a doctor" });
        }
    };
    if policy.price > MAX_AMOUNT {
        return Err(Refusal::Invalid { field: "price", why: "is larger than the record can say" });
    }
    let hold_until = slot.is_some().then(|| context.now.plus(seconds(policy.hold_s)));
    let reason = request.reason.clone();
    let requested = Requested { patient, doctor, slot, hold_until, reason, policy: policy.clone() };
    let mut events = vec![Event::Requested(requested)];
    if policy.price > 0 {
        events.push(Event::PaymentMoved(PaymentMoved {
            from: None,
            to: PaymentState::Pending,
            amount: policy.price,
            currency: policy.currency.clone(),
            reference: Line::parse(&room.to_string()).expect("an id is a short line"),
        }));
    }
    Ok(events)
}

fn not_over(slot: &Slot, now: Timestamp) -> Result<(), Refusal> {
    if slot.ends_at > now { Ok(()) } else { Err(Refusal::Invalid { field: "slot", why: "is in the past" }) }
}

impl Case {
    /// The part of the case in which the actor asks this.
    fn part(&self, command: &Command, context: &Context<'_>) -> Result<View, Refusal> {
        match self.view_of(context.actor, context.now) {
            Some(view) => Ok(view),
            // An administrator acts on a case without reading it; only a copy needs the glass broken first.
            None if context.actor.role() == Role::Admin && !matches!(command, Command::Export(_)) => Ok(View::Care),
            None => Err(Refusal::Forbidden),
        }
    }

    fn decide(
        &self,
        command: &Command,
        view: &View,
        role: Role,
        context: &mut Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        let Some(subject) = Subject::of(command) else {
            return self.decide_at_large(command, view, role, context);
        };
        let face = self.face(subject, view, role)?;
        face.expect(context.expect)?;
        match command {
            Command::Amend(amend) => self.amend(amend, &face, context),
            Command::Sign(sign) => self.sign(sign, &face, context),
            Command::CancelPrescription(cancel) => self.cancel_prescription(cancel, &face),
            Command::Send(send) => self.send(send, &face, context),
            Command::Review(review) => self.review(review, &face),
            Command::Answer(answer) => self.answer(answer, &face),
            Command::MoveDispensing(step) => self.move_dispensing(step, &face, context),
            Command::AssignDelivery(assign) => self.assign(assign, &face, context),
            Command::MoveDelivery(step) => self.move_delivery(step, role, &face, context),
            Command::JoinCall(_) | Command::DeclineCall(_) | Command::LeaveCall(_) | Command::CallMedia(_) => {
                self.decide_call(command, &face, context)
            }
            _ => self.decide_consultation(command, &face, context).map(|event| self.with_move(command, event)),
        }
    }

    /// What is about no part of the case: it has no version, and mostly no state that could forbid it.
    fn decide_at_large(
        &self,
        command: &Command,
        view: &View,
        role: Role,
        context: &mut Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        let (actor, now) = (context.actor, context.now);
        match command {
            Command::Chat(chat) => self.chat(chat, view),
            Command::StartCall(start) => {
                self.face(Subject::Consultation, view, role)?.demand(Step::StartCall.key())?;
                self.start_call(start, context)
            }
            Command::CheckDevices(check) => {
                self.face(Subject::Consultation, view, role)?.demand(Step::CheckDevices.key())?;
                self.checked(check, context)
            }
            Command::InviteGuest(invite) => {
                self.face(Subject::Consultation, view, role)?.demand(Step::InviteGuest.key())?;
                Ok(self.invite(invite, context))
            }
            Command::EnterAsGuest(_) => self.enter_as_guest(context),
            Command::DismissGuest(of) => self.dismiss(of.guest, DismissReason::Removed, now),
            Command::ReportCall(report) => self.report_call(report, context),
            Command::Draft(draft) => {
                self.face(Subject::Consultation, view, role)?.demand(Step::Draft.key())?;
                self.draft(draft, context)
            }
            Command::Presence(change) => {
                Ok(self.consultation.presence(change.party, change.here).into_iter().collect())
            }
            Command::RecordPayment(record) => self.record_payment(record),
            Command::Export(purpose) => {
                if actor.role() == Role::Admin && purpose.purpose.is_none() {
                    return Err(Refusal::Invalid { field: "purpose", why: "an administrator must give one" });
                }
                Ok(vec![Event::Exported(Exported { purpose: purpose.purpose.clone() })])
            }
            Command::OpenRecord(why) => {
                let by = actor.user().ok_or(Refusal::Forbidden)?;
                let until = now.plus(OPEN_FOR);
                Ok(vec![Event::RecordOpened(RecordOpened { by, reason: why.reason.clone(), until })])
            }
            // The clock, and nothing else is left here.
            _ => Ok(self.overdue(now)),
        }
    }

    fn chat(&self, chat: &Chat, view: &View) -> Result<Vec<Event>, Refusal> {
        match (view, chat.thread) {
            (View::Care, Thread::Care) => {}
            (View::Guest { after, .. }, Thread::Care) if *after < u64::MAX => {}
            (View::Care, Thread::Pharmacy(pharmacy)) if self.serves(pharmacy) => {}
            (View::Care, Thread::Pharmacy(_)) => return Err(Refusal::NoSuch("pharmacy")),
            (View::Pharmacy(own), Thread::Pharmacy(pharmacy)) if *own == pharmacy => {}
            (View::Pharmacy(_) | View::Courier(_) | View::Guest { .. }, _) => return Err(Refusal::Forbidden),
        }
        Ok(vec![Event::ChatSent(ChatSent { text: chat.text.clone(), thread: chat.thread })])
    }

    fn decide_consultation(&self, command: &Command, face: &Face, context: &Context<'_>) -> Result<Event, Refusal> {
        // Of these commands the kind is also the move's name. A second request is among no open moves.
        face.demand(command.kind())?;
        let consultation = &self.consultation;
        let to = |to| Ok(consultation.to(to, None, None));
        let because = |to, reason: &Prose| Ok(consultation.to(to, None, Some(reason.clone())));
        match command {
            Command::Confirm(_) => to(To::Booked),
            Command::Reschedule(wish) => {
                let slot = context.facts.slot.clone().filter(|slot| slot.id == wish.slot);
                let slot = slot.ok_or(Refusal::NoSuch("slot"))?;
                self.reschedule(slot, context.now)
            }
            Command::Cancel(why) => because(To::Cancelled, &why.reason),
            Command::CheckIn(check_in) => {
                if check_in.consent != self.policy.consent {
                    return Err(Refusal::Invalid { field: "consent", why: "is not the version in force" });
                }
                let (consent, identity) = (check_in.consent.clone(), check_in.identity.clone());
                Ok(Event::CheckedIn(CheckedIn { consent, identity }))
            }
            Command::Admit(_) => Ok(Event::Called(Called { until: context.now.plus(seconds(self.policy.ring_s)) })),
            Command::Enter(_) => to(To::InProgress),
            Command::PutBack(_) => to(To::Waiting),
            Command::Refer(why) => because(To::Referred, &why.reason),
            Command::End(_) => to(To::WrapUp),
            Command::Complete(note) => Ok(Event::Noted(Noted { note: note.note.clone() })),
            Command::MarkError(why) => match &consultation.phase {
                Phase::Closed { error_proposed_by: Some(first), .. } if context.actor.user() == Some(*first) => {
                    Err(Refusal::Invalid { field: "actor", why: "another administrator must confirm it" })
                }
                Phase::Closed { error_proposed_by: Some(_), .. } => because(To::EnteredInError, &why.reason),
                _ => Ok(Event::ErrorProposed(Explained { reason: why.reason.clone() })),
            },
            _ => Err(face.illegal()),
        }
    }

    /// Checking in is two events: what was agreed to, and the place in the queue.
    fn with_move(&self, command: &Command, event: Event) -> Vec<Event> {
        match command {
            Command::CheckIn(_) => vec![event, self.consultation.to(To::Waiting, None, None)],
            _ => vec![event],
        }
    }

    fn reschedule(&self, slot: Slot, now: Timestamp) -> Result<Event, Refusal> {
        let Some(from) = self.consultation.slot.as_ref().map(|slot| slot.id) else {
            return Err(Refusal::NoSuch("slot"));
        };
        if slot.doctor.id != self.doctor.id {
            return Err(Refusal::Invalid { field: "slot", why: "is another doctor's" });
        }
        if slot.id == from {
            return Err(Refusal::Invalid { field: "slot", why: "is the present one" });
        }
        not_over(&slot, now)?;
        Ok(Event::Rescheduled(Rescheduled { from, slot }))
    }

    fn record_payment(&self, record: &RecordPayment) -> Result<Vec<Event>, Refusal> {
        let Some(payment) = &self.payment else { return Err(Refusal::NoSuch("payment")) };
        if !payment.state.next().contains(&record.to) {
            return Err(Refusal::Illegal {
                subject: "payment",
                state: payment.state.as_str().to_owned(),
                allowed: payment.state.next().iter().map(|to| format!("payment.record:{}", to.as_str())).collect(),
            });
        }
        if record.currency != payment.currency {
            return Err(Refusal::Invalid { field: "currency", why: "is not the one that was asked for" });
        }
        let price = self.policy.price;
        if record.amount > price || (record.to.covers() && record.amount != price) {
            return Err(Refusal::Invalid { field: "amount", why: "is not the one that was asked for" });
        }
        let moved = Event::PaymentMoved(PaymentMoved {
            from: Some(payment.state),
            to: record.to,
            amount: record.amount,
            currency: record.currency.clone(),
            reference: record.reference.clone(),
        });
        Ok(std::iter::once(moved).chain(self.settled(record.to)).collect())
    }

    /// What the payment means for a consultation that waits for it: paid is confirmed, and what cannot be paid any more
    /// gives its slot back. A walk-in that has paid still has to check in.
    fn settled(&self, payment: PaymentState) -> Option<Event> {
        let consultation = &self.consultation;
        match (&consultation.phase, payment) {
            (Phase::Requested { .. }, PaymentState::Authorized | PaymentState::Captured) => {
                consultation.slot.is_some().then(|| consultation.to(To::Booked, None, None))
            }
            (Phase::Requested { .. }, PaymentState::Failed | PaymentState::Refunded) => {
                Some(consultation.to(To::Expired, None, None))
            }
            _ => None,
        }
    }
}
