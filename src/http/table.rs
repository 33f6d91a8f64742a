//! The table of all operations.

use super::operation::Operation;
use super::{
    bookings, consultations, deliveries, dispensings, doctors, live, pharmacies, prescriptions, records, service,
    sign_in, slots, users,
};

/// Every operation, resource by resource.
pub fn operations() -> Vec<Operation> {
    [
        sign_in::operations(),
        doctors::operations(),
        slots::operations(),
        bookings::operations(),
        consultations::operations(),
        prescriptions::operations(),
        dispensings::operations(),
        deliveries::operations(),
        pharmacies::operations(),
        records::operations(),
        live::operations(),
        users::operations(),
        service::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
