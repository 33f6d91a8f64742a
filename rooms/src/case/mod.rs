//! The state machines of a case, one per file.
//!
//! Each machine defines its moves: who may make them, in which state, and with which data. A state carries exactly the
//! data that exists in it. The machines do not know each other; [`crate::room`] connects them.

pub mod call;
pub mod consultation;
pub mod delivery;
pub mod dispensing;
pub mod guest;
pub mod payment;
pub mod prescription;
pub mod usage;
