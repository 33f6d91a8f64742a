//! Deciding a command: checks role and part in the case, then hands the command to its aggregate.

use super::subject::{Asker, Subject};
use super::{Case, Room};
use crate::case::consultation::ConsultationMove;
use crate::case::usage::Allowance;
use crate::command::{Command, Context};
use crate::event::Event;
use crate::party::Person;
use crate::permission::{View, may};
use crate::reason::DismissReason;
use crate::refusal::Refusal;
use crate::role::{Actor, Role};
use crate::state::ConsultationState as To;

impl Room {
    /// Decides a command. Changes nothing: the caller numbers, stores and then applies the events.
    ///
    /// Checks, in this order: the role, the actor's part in the case, that the subject exists for them, the version they
    /// saw, the current state, and the command's own data. A command that changes nothing yields no events.
    pub fn decide(&self, command: &Command, context: &mut Context<'_>) -> Result<Vec<Event>, Refusal> {
        let role = context.actor.role();
        if !may(role, command) {
            return Err(Refusal::Forbidden);
        }
        let Some(case) = self.case.as_deref() else { return self.open(command, context) };
        let asker = Asker { role, view: case.view_for(command, context)?, now: context.now };
        let mut events = case.decide(command, &asker, context)?;
        events.extend(case.end_call_with(&events, context.now));
        events.extend(case.dismiss_guests_with(&events));
        let allowance = allowance(command, &events);
        case.usage.check(allowance, &context.actor.by(), events.len(), context.limits, context.now)?;
        Ok(events)
    }

    /// Decides the command that opens the room; refuses any other.
    fn open(&self, command: &Command, context: &Context<'_>) -> Result<Vec<Event>, Refusal> {
        let (Command::Request(request), 0, Actor::Person { id, name, .. }) = (command, self.head, context.actor) else {
            return Err(Refusal::Forbidden);
        };
        super::consultation::open(self.id, request, Person { id: *id, name: name.clone() }, context)
    }
}

/// Returns what this command may use of the room's space. A late report leads nowhere, so it is no step to the end.
fn allowance(command: &Command, events: &[Event]) -> Allowance {
    match events {
        [Event::DeliveryReported(_)] => Allowance::Ordinary,
        _ => Allowance::of(command),
    }
}

impl Case {
    /// Returns the view in which the actor sends this command.
    fn view_for(&self, command: &Command, context: &Context<'_>) -> Result<View, Refusal> {
        match self.view_of(context.actor, context.now) {
            Some(view) => Ok(view),
            // An administrator acts on a case without reading it. Only an export needs break-glass first.
            None if context.actor.role() == Role::Admin && !matches!(command, Command::Export(_)) => Ok(View::Care),
            None => Err(Refusal::Forbidden),
        }
    }

    /// Decides a command to an open room. One exhaustive match, so that a new command does not compile until it is
    /// decided here.
    fn decide(&self, command: &Command, asker: &Asker, context: &mut Context<'_>) -> Result<Vec<Event>, Refusal> {
        use ConsultationMove as Step;
        match command {
            // A room opens once; a second request is never among the allowed moves.
            Command::Request(_) => Err(self.current_subject(Subject::Consultation, asker, context)?.illegal()),
            Command::Confirm(_) => self.move_consultation(Step::Confirm, To::Booked, None, asker, context),
            Command::Reschedule(reschedule) => self.reschedule(reschedule, asker, context),
            Command::Cancel(why) => {
                self.move_consultation(Step::Cancel, To::Cancelled, Some(&why.reason), asker, context)
            }
            Command::CheckIn(check_in) => self.check_in(check_in, asker, context),
            Command::Admit(_) => self.admit(asker, context),
            Command::Enter(_) => self.move_consultation(Step::Enter, To::InProgress, None, asker, context),
            Command::PutBack(_) => self.move_consultation(Step::PutBack, To::Waiting, None, asker, context),
            Command::Refer(why) => self.move_consultation(Step::Refer, To::Referred, Some(&why.reason), asker, context),
            Command::End(_) => self.move_consultation(Step::End, To::WrapUp, None, asker, context),
            Command::Complete(note) => self.complete(note, asker, context),
            Command::MarkError(why) => self.mark_error(why, asker, context),
            Command::Presence(change) => {
                Ok(self.consultation.presence_changed(change.party, change.here).into_iter().collect())
            }
            Command::Timer(_) => Ok(self.overdue(context.now)),
            Command::RecordPayment(report) => self.record_payment(report),
            Command::Chat(chat) => self.chat(chat, &asker.view),
            Command::StartCall(start) => self.start_call(start, asker, context),
            Command::JoinCall(join) => self.join_call(join, asker, context),
            Command::DeclineCall(decline) => self.decline_call(decline, asker, context),
            Command::LeaveCall(leave) => self.leave_call(leave, asker, context),
            Command::CallMedia(change) => self.change_media(change, asker, context),
            Command::ReportCall(report) => self.report_call(report, context),
            Command::CheckDevices(check) => self.check_devices(check, asker, context),
            Command::InviteGuest(invite) => self.invite_guest(invite, asker, context),
            Command::EnterAsGuest(_) => self.enter_as_guest(context),
            Command::DismissGuest(dismiss) => self.dismiss_guest(dismiss.guest, DismissReason::Removed, context.now),
            Command::Draft(draft) => self.draft(draft, asker, context),
            Command::Amend(amend) => self.amend(amend, asker, context),
            Command::Sign(sign) => self.sign(sign, asker, context),
            Command::CancelPrescription(cancel) => self.cancel_prescription(cancel, asker, context),
            Command::Send(send) => self.send(send, asker, context),
            Command::Review(review) => self.review(review, asker, context),
            Command::Answer(answer) => self.answer(answer, asker, context),
            Command::MoveDispensing(command) => self.move_dispensing(command, asker, context),
            Command::AssignDelivery(assign) => self.assign_delivery(assign, asker, context),
            Command::MoveDelivery(command) => self.move_delivery(command, asker, context),
            Command::Export(export) => Self::export(export, asker),
            Command::OpenRecord(why) => Self::open_record(why, context),
        }
    }
}
