//! The case's state machines, one a file. Each says which moves exist, who may make them and what they need; a state
//! carries exactly the data that exists in it.

pub mod call;
pub mod consultation;
pub mod delivery;
pub mod dispensing;
pub mod guest;
pub mod payment;
pub mod prescription;
