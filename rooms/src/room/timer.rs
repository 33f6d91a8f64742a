//! What the clock makes of a room.

use super::{Case, Room};
use crate::case::prescription::PrescriptionState;
use crate::event::Event;
use crate::time::Timestamp;

impl Room {
    /// When the `timer` command has something to do, if nothing else happens before. May lie in the past: then at once.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let case = self.case.as_deref()?;
        let expiries = case.prescriptions.iter().filter_map(|prescription| prescription.deadline());
        let ring = case.call.as_ref().and_then(|call| call.deadline());
        let guests = case.guests().map(|guest| guest.until);
        case.consultation.deadline().into_iter().chain(expiries).chain(ring).chain(guests).min()
    }
}

impl Case {
    /// Everything that is due at `now`.
    pub(super) fn overdue(&self, now: Timestamp) -> Vec<Event> {
        let mut events: Vec<Event> = self.consultation.overdue(now, &self.policy).into_iter().collect();
        events.extend(self.call_overdue(now));
        events.extend(self.guests_overdue(now));
        for prescription in &self.prescriptions {
            if prescription.deadline().is_some_and(|deadline| deadline <= now) {
                events.push(prescription.to(PrescriptionState::Expired, self.holder(prescription), None));
                events.extend(self.stop_work(prescription, None));
            }
        }
        events
    }
}
