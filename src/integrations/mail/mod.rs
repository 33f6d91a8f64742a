//! Mail to patients: bookings, reschedulings, reminders, receipts, and refunds.
//!
//! Mail contains nothing clinical and does not name the doctor, because whom somebody consults is a clinical fact.

pub mod adapter;
#[cfg(test)]
mod properties;
mod recipient;
mod template;
pub mod transport;
