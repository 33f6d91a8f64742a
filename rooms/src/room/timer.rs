//! Decisions of the clock: what falls due, and when.

use super::{Case, Room};
use crate::event::Event;
use crate::state::PrescriptionState;
use crate::time::Timestamp;

impl Room {
    /// Returns when the `timer` command next has something to do, if nothing else happens before. A time in the past means
    /// at once.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let case = self.case.as_deref()?;
        let expiries = case.prescriptions.iter().filter_map(super::super::case::prescription::Prescription::deadline);
        let ringing = case.call.as_ref().and_then(|call| call.deadline());
        let links = case.admitted_guests().map(|guest| guest.until);
        case.consultation.deadline().into_iter().chain(expiries).chain(ringing).chain(links).min()
    }
}

impl Case {
    /// Returns every event that is due at `now`.
    pub(super) fn overdue(&self, now: Timestamp) -> Vec<Event> {
        let mut events: Vec<Event> = self.consultation.overdue(now, &self.policy).into_iter().collect();
        events.extend(self.overdue_call(now));
        events.extend(self.overdue_guests(now));
        for prescription in &self.prescriptions {
            if prescription.deadline().is_some_and(|deadline| deadline <= now) {
                let holder = self.holding_pharmacy(prescription);
                events.push(prescription.move_to(PrescriptionState::Expired, holder, None));
                events.extend(self.stop_dispensing(prescription, None));
            }
        }
        events
    }
}
