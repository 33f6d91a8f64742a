//! Deciding and taking what is about a call.

use super::Case;
use super::face::Face;
use crate::case::call::{
    Call, Check, Checked, Connected, EndReason, Ended, Interrupted, Joined, LeaveReason, Left, MAX_CHANGES,
    MAX_REPORTS, ReportCall, Reported, Stage, StartCall, Started,
};
use crate::case::consultation::{ConsultationState, seconds};
use crate::command::{Command, Context};
use crate::event::Event;
use crate::id::{CallId, UserId};
use crate::permission::View;
use crate::refusal::Refusal;
use crate::role::Role;
use crate::time::Timestamp;

impl Case {
    pub(super) fn start_call(&self, start: &StartCall, context: &mut Context<'_>) -> Result<Vec<Event>, Refusal> {
        let by = context.actor.user().ok_or(Refusal::Forbidden)?;
        let until = context.now.plus(seconds(self.policy.ring_s));
        let call = CallId((context.fresh)());
        Ok(vec![Event::CallStarted(Started { call, by, media: start.media, until })])
    }

    pub(super) fn checked(&self, check: &Check, context: &Context<'_>) -> Result<Vec<Event>, Refusal> {
        let user = context.actor.user().ok_or(Refusal::Forbidden)?;
        Ok(vec![Event::DevicesChecked(Checked { user, check: check.clone() })])
    }

    /// A report may come when the call is over: that is when there is most to report.
    pub(super) fn report_call(&self, report: &ReportCall, context: &Context<'_>) -> Result<Vec<Event>, Refusal> {
        let user = context.actor.user().ok_or(Refusal::Forbidden)?;
        let call = self.call.as_deref().filter(|call| call.id == report.call).ok_or(Refusal::NoSuch("call"))?;
        if !call.had(user) || !call.had(report.peer) || user == report.peer {
            return Err(Refusal::Invalid { field: "peer", why: "was not in this call with you" });
        }
        if call.reports >= MAX_REPORTS {
            return Err(Refusal::Invalid { field: "call", why: "has as many reports as are kept" });
        }
        let (call, peer, quality) = (report.call, report.peer, report.quality.clone());
        if quality.loss_permille > 1000 {
            return Err(Refusal::Invalid { field: "loss_permille", why: "is more than all" });
        }
        Ok(vec![Event::CallReported(Reported { call, user, peer, quality })])
    }

    pub(super) fn decide_call(
        &self,
        command: &Command,
        face: &Face,
        context: &Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        face.demand(command.kind())?;
        let (Some(call), Some(user)) = (self.call.as_deref(), context.actor.user()) else {
            return Err(Refusal::Forbidden);
        };
        let id = call.id;
        match command {
            Command::JoinCall(_) => Ok(vec![Event::CallJoined(Joined { call: id, user })]),
            Command::DeclineCall(_) => Ok(vec![ended(call, EndReason::Declined, context.now)]),
            Command::LeaveCall(of) => Ok(leave(call, user, of.why, context.now)),
            Command::CallMedia(change) => {
                let same = call.present().any(|member| member.user == user && member.up == change.connected);
                let event = match (change.connected, change.cause) {
                    // Said again, it is not written again.
                    (true, None) | (false, Some(_)) if same => return Ok(Vec::new()),
                    (true, None) => Event::CallConnected(Connected { call: id, user }),
                    (false, Some(cause)) => Event::CallInterrupted(Interrupted { call: id, user, cause }),
                    (true, Some(_)) => {
                        return Err(Refusal::Invalid { field: "cause", why: "belongs to an interruption only" });
                    }
                    (false, None) => return Err(Refusal::Invalid { field: "cause", why: "is missing" }),
                };
                if call.changes >= MAX_CHANGES {
                    return Err(Refusal::Invalid { field: "connected", why: "has changed too often in this call" });
                }
                Ok(vec![event])
            }
            _ => Err(face.illegal()),
        }
    }

    /// The end of a call whose consultation leaves the states in which people talk.
    pub(super) fn call_that_ends_with(&self, events: &[Event], now: Timestamp) -> Option<Event> {
        use ConsultationState::{InProgress, Interrupted};
        let call = self.call.as_deref().filter(|call| call.active())?;
        let over = |event: &Event| matches!(event, Event::Moved(to) if !matches!(to.to, InProgress | Interrupted));
        let told = |event: &Event| matches!(event, Event::CallEnded(_));
        (events.iter().any(over) && !events.iter().any(told)).then(|| ended(call, EndReason::Consultation, now))
    }

    pub(super) fn call_overdue(&self, now: Timestamp) -> Option<Event> {
        let call = self.call.as_deref()?;
        call.deadline().is_some_and(|until| until <= now).then(|| ended(call, EndReason::Missed, now))
    }

    /// What is open to the one person who has this role in the case; there may be several guests, of whom a view knows
    /// its own only.
    pub(super) fn call_allowed(&self, call: &Call, view: &View, role: Role) -> Vec<String> {
        match (role, view) {
            (Role::Patient, _) => call.allowed(role, self.patient.id),
            (Role::Doctor, _) => call.allowed(role, self.doctor.id),
            (Role::Guest, View::Guest { guest, .. }) => call.allowed(role, *guest),
            (Role::Guest | Role::Pharmacist | Role::Courier | Role::Admin | Role::Support | Role::System, _) => {
                Vec::new()
            }
        }
    }

    pub(super) fn apply_call(&mut self, event: &Event, seq: u64, at: Timestamp) {
        if let Event::CallStarted(started) = event {
            self.call = Some(Box::new(Call::ring(started.call, started.media, started.by, started.until, seq)));
        }
        let (patient, doctor) = (self.patient.id, self.doctor.id);
        let Some(call) = self.call.as_deref_mut() else { return };
        match event {
            Event::CallJoined(joined) if joined.call == call.id => {
                call.joined(joined.user, ![patient, doctor].contains(&joined.user), at, seq);
            }
            Event::CallLeft(left) if left.call == call.id => call.left(left.user, seq),
            Event::CallConnected(of) if of.call == call.id => call.media(of.user, true, seq),
            Event::CallInterrupted(of) if of.call == call.id => call.media(of.user, false, seq),
            Event::CallEnded(of) if of.call == call.id => call.ended(seq),
            Event::CallReported(of) if of.call == call.id => call.reports = call.reports.saturating_add(1),
            _ => {}
        }
    }
}

/// Who leaves a call of two ends it, and who rang and gives up does too. Guests do not stay among themselves.
pub(super) fn leave(call: &Call, user: UserId, why: LeaveReason, now: Timestamp) -> Vec<Event> {
    let left = Event::CallLeft(Left { call: call.id, user, why });
    let remain = call.present().filter(|member| member.user != user);
    let (people, sides) = remain.fold((0, 0), |(people, sides), it| (people + 1, sides + usize::from(!it.guest)));
    if people > 1 && sides > 0 { vec![left] } else { vec![left, ended(call, why.into(), now)] }
}

fn ended(call: &Call, why: EndReason, now: Timestamp) -> Event {
    Event::CallEnded(Ended { call: call.id, why, lasted_s: call.lasted_s(now) })
}

impl super::Room {
    /// The call that rings or goes on, with who is in it now; for relaying what its members tell each other.
    pub fn call(&self) -> Option<&Call> {
        self.case.as_deref()?.call.as_deref().filter(|call| call.stage != Stage::Ended)
    }

    /// Whether calls of this room go over a relay only.
    pub fn relay_only(&self) -> bool {
        self.case.as_deref().is_some_and(|case| case.policy.relay_only)
    }
}
