//! Decisions about the call.

use super::subject::{Asker, Move, Subject};
use super::{Case, Room};
use crate::case::call::{Call, CallMove, MAX_MEDIA_CHANGES, MAX_REPORTS};
use crate::case::consultation::ConsultationMove;
use crate::command::{CallRef, Context, LeaveCall, MediaChange, ReportCall, StartCall};
use crate::event::{
    CallConnected, CallEnded, CallInterrupted, CallJoined, CallLeft, CallReported, CallStarted, DevicesChecked, Event,
};
use crate::id::{CallId, UserId};
use crate::media::Check;
use crate::reason::{EndReason, LeaveReason};
use crate::refusal::Refusal;
use crate::time::Timestamp;

impl Case {
    pub(super) fn start_call(
        &self,
        start: &StartCall,
        asker: &Asker,
        context: &mut Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        self.require_unversioned(ConsultationMove::StartCall, asker)?;
        let by = context.actor.user().ok_or(Refusal::Forbidden)?;
        let until = context.now.plus_seconds(self.policy.ring_s);
        let call = CallId((context.fresh)());
        Ok(vec![Event::CallStarted(CallStarted { call, by, media: start.media, until })])
    }

    pub(super) fn check_devices(
        &self,
        check: &Check,
        asker: &Asker,
        context: &Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        self.require_unversioned(ConsultationMove::CheckDevices, asker)?;
        let user = context.actor.user().ok_or(Refusal::Forbidden)?;
        Ok(vec![Event::DevicesChecked(DevicesChecked { user, check: check.clone() })])
    }

    /// Accepts reports after the end of the call too: that is when there is most to report.
    pub(super) fn report_call(&self, report: &ReportCall, context: &Context<'_>) -> Result<Vec<Event>, Refusal> {
        let user = context.actor.user().ok_or(Refusal::Forbidden)?;
        let call = self.call.as_deref().filter(|call| call.id == report.call).ok_or(Refusal::NoSuch("call"))?;
        if !call.has_member(user) || !call.has_member(report.peer) || user == report.peer {
            return Err(Refusal::Invalid { field: "peer", why: "must be another member of this call" });
        }
        if call.reports >= MAX_REPORTS {
            return Err(Refusal::Invalid { field: "call", why: "has reached its maximum number of reports" });
        }
        let (call, peer, quality) = (report.call, report.peer, report.quality.clone());
        if quality.loss_permille > 1000 {
            return Err(Refusal::Invalid { field: "loss_permille", why: "must be at most 1000" });
        }
        Ok(vec![Event::CallReported(CallReported { call, user, peer, quality })])
    }

    /// Returns the call and the asker's id if they may make this move of the call.
    fn require_call(
        &self,
        id: CallId,
        step: CallMove,
        asker: &Asker,
        context: &Context<'_>,
    ) -> Result<(&Call, UserId), Refusal> {
        self.require(Subject::Call(id), Move::Call(step), asker, context)?;
        self.call.as_deref().zip(context.actor.user()).ok_or(Refusal::Forbidden)
    }

    pub(super) fn join_call(
        &self,
        join: &CallRef,
        asker: &Asker,
        context: &Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        let (call, user) = self.require_call(join.call, CallMove::Join, asker, context)?;
        Ok(vec![Event::CallJoined(CallJoined { call: call.id, user })])
    }

    pub(super) fn decline_call(
        &self,
        decline: &CallRef,
        asker: &Asker,
        context: &Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        let (call, _) = self.require_call(decline.call, CallMove::Decline, asker, context)?;
        Ok(vec![ended(call, EndReason::Declined, context.now)])
    }

    pub(super) fn leave_call(
        &self,
        leave: &LeaveCall,
        asker: &Asker,
        context: &Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        let (call, user) = self.require_call(leave.call, CallMove::Leave, asker, context)?;
        Ok(departure(call, user, leave.why, context.now))
    }

    pub(super) fn change_media(
        &self,
        change: &MediaChange,
        asker: &Asker,
        context: &Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        let (call, user) = self.require_call(change.call, CallMove::Media, asker, context)?;
        let event = match (change.connected, change.cause) {
            (true, None) => Event::CallConnected(CallConnected { call: call.id, user }),
            (false, Some(cause)) => Event::CallInterrupted(CallInterrupted { call: call.id, user, cause }),
            (true, Some(_)) => {
                return Err(Refusal::Invalid { field: "cause", why: "is allowed with an interruption only" });
            }
            (false, None) => return Err(Refusal::Invalid { field: "cause", why: "is required with an interruption" }),
        };
        // A repeated report is not logged again.
        if call.present_members().any(|member| member.user == user && member.connected == change.connected) {
            return Ok(Vec::new());
        }
        if call.changes >= MAX_MEDIA_CHANGES {
            return Err(Refusal::Invalid { field: "connected", why: "has changed too often in this call" });
        }
        Ok(vec![event])
    }

    /// Returns the end of the call if these events move the consultation out of the conversation.
    pub(super) fn end_call_with(&self, events: &[Event], now: Timestamp) -> Option<Event> {
        let call = self.call.as_deref().filter(|call| call.is_active())?;
        let leaves = |event: &Event| matches!(event, Event::ConsultationMoved(moved) if !moved.to.is_conversation());
        let ends = |event: &Event| matches!(event, Event::CallEnded(_));
        let must_end = events.iter().any(leaves) && !events.iter().any(ends);
        must_end.then(|| ended(call, EndReason::Consultation, now))
    }

    /// Returns the end of a call that nobody answered in time.
    pub(super) fn overdue_call(&self, now: Timestamp) -> Option<Event> {
        let call = self.call.as_deref()?;
        call.deadline().is_some_and(|until| until <= now).then(|| ended(call, EndReason::Missed, now))
    }
}

/// Returns the events of a member's departure. It ends the call if fewer than two members remain, or guests only; so a
/// caller who gives up ends the ringing.
pub(super) fn departure(call: &Call, user: UserId, why: LeaveReason, now: Timestamp) -> Vec<Event> {
    let left = Event::CallLeft(CallLeft { call: call.id, user, why });
    let remaining = call.present_members().filter(|member| member.user != user);
    let (members, sides) =
        remaining.fold((0, 0), |(members, sides), member| (members + 1, sides + usize::from(!member.guest)));
    if members > 1 && sides > 0 { vec![left] } else { vec![left, ended(call, why.into(), now)] }
}

fn ended(call: &Call, why: EndReason, now: Timestamp) -> Event {
    Event::CallEnded(CallEnded { call: call.id, why, lasted_s: call.lasted_s(now) })
}

impl Room {
    /// Returns the active call with its present members, for signalling between them.
    pub fn call(&self) -> Option<&Call> {
        self.case.as_deref()?.call.as_deref().filter(|call| call.is_active())
    }

    /// Whether calls of this room send media through a relay only.
    pub fn relay_only(&self) -> bool {
        self.case.as_deref().is_some_and(|case| case.policy.relay_only)
    }
}
