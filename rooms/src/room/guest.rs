//! Deciding and taking what is about guests.

use super::Case;
use crate::case::call::LeaveReason;
use crate::case::guest::{
    DismissReason, Dismissed, Entered, GOOD_FOR, Guest, InviteGuest, Invited, MAX_GUESTS, MAX_INVITED, welcome,
};
use crate::command::Context;
use crate::event::{Event, Person};
use crate::id::UserId;
use crate::permission::{View, sees};
use crate::refusal::Refusal;
use crate::time::Timestamp;

impl Case {
    /// Those who may come in, or have.
    pub(super) fn guests(&self) -> impl Iterator<Item = &Guest> {
        self.guests.iter().filter(|guest| !guest.dismissed)
    }

    pub(super) fn guest(&self, id: UserId) -> Option<&Guest> {
        self.guests().find(|guest| guest.person.id == id)
    }

    /// What a guest sees: nothing before coming in, and nothing after the link's time.
    pub(super) fn guest_view(&self, id: UserId, now: Timestamp) -> Option<View> {
        let guest = self.guest(id).filter(|guest| guest.until > now)?;
        Some(View::Guest { guest: id, after: guest.after() })
    }

    pub(super) fn may_invite(&self) -> bool {
        self.guests().count() < MAX_GUESTS && self.guests.len() < MAX_INVITED
    }

    pub(super) fn invite(&self, invite: &InviteGuest, context: &mut Context<'_>) -> Vec<Event> {
        let guest = Person { id: UserId((context.fresh)()), name: invite.name.clone() };
        let slot_end = self.consultation.slot.as_ref().map_or(context.now, |slot| slot.ends_at);
        let until = slot_end.max(context.now).plus(GOOD_FOR);
        vec![Event::GuestInvited(Invited { guest, kind: invite.kind, until })]
    }

    /// Coming in again changes nothing: a page that is loaded anew is no new guest.
    pub(super) fn enter_as_guest(&self, context: &Context<'_>) -> Result<Vec<Event>, Refusal> {
        let guest = context.actor.user().and_then(|id| self.guest(id)).ok_or(Refusal::Forbidden)?;
        let entered = Entered { guest: guest.person.clone(), kind: guest.kind };
        Ok(if guest.entered.is_none() { vec![Event::GuestEntered(entered)] } else { Vec::new() })
    }

    /// The end of a guest's part, and with it of their part in the call.
    pub(super) fn dismiss(&self, id: UserId, why: DismissReason, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        self.guest(id).ok_or(Refusal::NoSuch("guest"))?;
        let call = self.call.as_deref().filter(|call| call.has(id));
        let mut events = call.map_or_else(Vec::new, |call| super::call::leave(call, id, LeaveReason::Hangup, now));
        events.push(Event::GuestDismissed(Dismissed { guest: id, why }));
        Ok(events)
    }

    /// The guests whose time is over.
    pub(super) fn guests_overdue(&self, now: Timestamp) -> Vec<Event> {
        let overdue = self.guests().filter(|guest| guest.until <= now);
        overdue
            .flat_map(|guest| self.dismiss(guest.person.id, DismissReason::Expired, now).unwrap_or_default())
            .collect()
    }

    /// The guests of a consultation that leaves the states in which it has any.
    pub(super) fn guests_who_go_with(&self, events: &[Event]) -> Vec<Event> {
        let over = |event: &Event| matches!(event, Event::Moved(moved) if !welcome(moved.to));
        if !events.iter().any(over) {
            return Vec::new();
        }
        let dismissed = |guest| Event::GuestDismissed(Dismissed { guest, why: DismissReason::Consultation });
        let told = |id| events.iter().any(|event| matches!(event, Event::GuestDismissed(it) if it.guest == id));
        self.guests().map(|guest| guest.person.id).filter(|id| !told(*id)).map(dismissed).collect()
    }

    pub(super) fn apply_guest(&mut self, event: &Event, seq: u64) {
        match event {
            Event::GuestInvited(invited) => {
                self.guests.reserve_exact(1);
                self.guests.push(Guest {
                    person: invited.guest.clone(),
                    kind: invited.kind,
                    until: invited.until,
                    entered: None,
                    head: 0,
                    dismissed: false,
                });
            }
            Event::GuestEntered(entered) => {
                for guest in self.guests.iter_mut().filter(|guest| guest.person.id == entered.guest.id) {
                    guest.entered = guest.entered.or(Some(seq));
                }
            }
            Event::GuestDismissed(dismissed) => {
                for guest in self.guests.iter_mut().filter(|guest| guest.person.id == dismissed.guest) {
                    guest.dismissed = true;
                }
            }
            _ => {}
        }
    }

    pub(super) fn advance_guests(&mut self, event: &Event, seq: u64) {
        for guest in &mut self.guests {
            if sees(&View::Guest { guest: guest.person.id, after: guest.after() }, seq, event) {
                guest.head = seq;
            }
        }
    }
}
