//! Decisions about guests.

use super::Case;
use super::subject::Asker;
use crate::case::consultation::ConsultationMove;
use crate::case::guest::{Guest, LINK_VALIDITY, MAX_GUESTS, MAX_INVITATIONS};
use crate::command::{Context, InviteGuest};
use crate::event::{Event, GuestDismissed, GuestEntered, GuestInvited};
use crate::id::UserId;
use crate::party::Person;
use crate::permission::View;
use crate::reason::{DismissReason, LeaveReason};
use crate::refusal::Refusal;
use crate::time::Timestamp;

impl Case {
    /// Returns the guests who may enter or have entered.
    pub(super) fn admitted_guests(&self) -> impl Iterator<Item = &Guest> {
        self.guests.iter().filter(|guest| !guest.dismissed)
    }

    fn admitted_guest(&self, id: UserId) -> Option<&Guest> {
        self.admitted_guests().find(|guest| guest.person.id == id)
    }

    /// Returns a guest's view: nothing from before their entry, and nothing once the link has expired.
    pub(super) fn guest_view(&self, id: UserId, now: Timestamp) -> Option<View> {
        let guest = self.admitted_guest(id).filter(|guest| guest.until > now)?;
        Some(View::Guest { guest: id, after: guest.after() })
    }

    pub(super) fn admits_another_guest(&self) -> bool {
        self.admitted_guests().count() < MAX_GUESTS && self.guests.len() < MAX_INVITATIONS
    }

    pub(super) fn invite_guest(
        &self,
        invite: &InviteGuest,
        asker: &Asker,
        context: &mut Context<'_>,
    ) -> Result<Vec<Event>, Refusal> {
        self.require_unversioned(ConsultationMove::InviteGuest, asker)?;
        let guest = Person { id: UserId((context.fresh)()), name: invite.name.clone().into() };
        let slot_end = self.consultation.slot.as_ref().map_or(context.now, |slot| slot.ends_at);
        let until = slot_end.max(context.now).plus(LINK_VALIDITY);
        Ok(vec![Event::GuestInvited(GuestInvited { guest, kind: invite.kind, until })])
    }

    /// Entering again changes nothing: a guest who reloads the page is no new guest.
    pub(super) fn enter_as_guest(&self, context: &Context<'_>) -> Result<Vec<Event>, Refusal> {
        let guest = context.actor.user().and_then(|id| self.admitted_guest(id)).ok_or(Refusal::Forbidden)?;
        if guest.entered.is_some() {
            return Ok(Vec::new());
        }
        Ok(vec![Event::GuestEntered(GuestEntered { guest: guest.person.clone(), kind: guest.kind })])
    }

    /// Ends a guest's access, and their membership in the call.
    pub(super) fn dismiss_guest(&self, id: UserId, why: DismissReason, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        self.admitted_guest(id).ok_or(Refusal::NoSuch("guest"))?;
        let call = self.call.as_deref().filter(|call| call.has_present(id));
        let mut events = call.map_or_else(Vec::new, |call| super::call::departure(call, id, LeaveReason::Hangup, now));
        events.push(Event::GuestDismissed(GuestDismissed { guest: id, why }));
        Ok(events)
    }

    /// Dismisses the guests whose link has expired.
    pub(super) fn overdue_guests(&self, now: Timestamp) -> Vec<Event> {
        let overdue = self.admitted_guests().filter(|guest| guest.until <= now);
        overdue
            .flat_map(|guest| self.dismiss_guest(guest.person.id, DismissReason::Expired, now).unwrap_or_default())
            .collect()
    }

    /// Dismisses every guest if these events move the consultation to a state without guests.
    pub(super) fn dismiss_guests_with(&self, events: &[Event]) -> Vec<Event> {
        let ends = |event: &Event| matches!(event, Event::ConsultationMoved(moved) if !moved.to.admits_guests());
        if !events.iter().any(ends) {
            return Vec::new();
        }
        let is_dismissed =
            |id| events.iter().any(|event| matches!(event, Event::GuestDismissed(dismissed) if dismissed.guest == id));
        self.admitted_guests()
            .map(|guest| guest.person.id)
            .filter(|id| !is_dismissed(*id))
            .map(|guest| Event::GuestDismissed(GuestDismissed { guest, why: DismissReason::Consultation }))
            .collect()
    }
}
