//! The table of all REST operations, one file per resource.

mod bookings;
mod consultations;
mod deliveries;
mod dispatches;
mod dispensings;
mod doctors;
mod guests;
mod meta;
mod partners;
mod pharmacies;
mod prescriptions;
mod push;
mod realtime;
mod records;
mod sandbox;
mod sign_in;
mod slots;
mod users;
mod webhooks;

use super::operation::Operation;

/// Returns every operation, grouped by resource.
pub fn operations() -> Vec<Operation> {
    [
        sign_in::operations(),
        doctors::operations(),
        slots::operations(),
        bookings::operations(),
        consultations::operations(),
        guests::operations(),
        prescriptions::operations(),
        dispensings::operations(),
        deliveries::operations(),
        pharmacies::operations(),
        records::operations(),
        realtime::operations(),
        push::operations(),
        users::operations(),
        dispatches::operations(),
        webhooks::operations(),
        partners::operations(),
        sandbox::operations(),
        meta::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use rooms::permission::may;
    use rooms::role::Role;
    use rooms::state::DeliveryState;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::http::operation::Audience;

    fn allows(id: &str, role: Role) -> bool {
        let operation =
            operations().into_iter().find(|operation| operation.id == id).expect("the table has the operation");
        match operation.access {
            Audience::Anyone => true,
            Audience::Partners => false,
            Audience::SignedIn => Role::PEOPLE.contains(&role),
            Audience::WithGuests => role != Role::System,
            Audience::Roles(roles) => roles.contains(&role),
        }
    }

    /// Both the table and the engine restrict commands by role, and the engine decides. A stricter operation would lock
    /// callers out; a looser one would document access that the engine refuses.
    #[test]
    fn operations_admit_exactly_the_roles_that_the_engine_permits() {
        let id = Uuid::nil();
        let items = json!([]);
        let of = |kind: &str, data: Value| serde_json::from_value(json!({"kind": kind, "data": data})).expect(kind);
        let cases = [
            ("book", of("consultation.request", json!({}))),
            ("confirmBooking", of("consultation.confirm", json!({}))),
            ("rescheduleBooking", of("consultation.reschedule", json!({"slot": id}))),
            ("cancelBooking", of("consultation.cancel", json!({"reason": "x"}))),
            ("draftPrescription", of("prescription.draft", json!({"items": items}))),
            ("amendPrescription", of("prescription.amend", json!({"prescription": id, "items": items}))),
            ("signPrescription", of("prescription.sign", json!({"prescription": id}))),
            ("cancelPrescription", of("prescription.cancel", json!({"prescription": id, "reason": "x"}))),
            (
                "sendPrescription",
                of("prescription.send", json!({"prescription": id, "pharmacy": id, "hand_over": "pickup"})),
            ),
            ("claimDispensing", of("dispensing.move", json!({"dispensing": id, "to": "accepted"}))),
            ("moveDispensing", of("dispensing.move", json!({"dispensing": id, "to": "checked"}))),
            ("assignDelivery", of("delivery.assign", json!({"delivery": id, "courier": id}))),
            ("exportRecord", of("record.export", json!({}))),
        ];
        for (operation, command) in &cases {
            for role in Role::PEOPLE {
                assert_eq!(allows(operation, role), may(role, command), "{operation} by {role:?}");
            }
        }
        for role in Role::PEOPLE {
            let in_any_state =
                DeliveryState::ALL.iter().any(|to| may(role, &of("delivery.move", json!({"delivery": id, "to": to}))));
            assert_eq!(allows("moveDelivery", role), in_any_state, "moveDelivery by {role:?}");
        }
    }
}
