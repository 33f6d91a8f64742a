//! The load itself, whatever it runs against: who takes part, which commands are due, and what came of them.
//!
//! Nothing here opens a connection. `fleet` drives a hub with it and `competitors` a server that is not one.

pub(crate) mod case_script;
pub(crate) mod connection_faults;
pub mod members;
pub mod plan;
pub mod results;
pub(crate) mod room;
pub mod script;
