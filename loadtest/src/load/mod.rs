//! The load, independent of the server it runs against: its members, the commands that are due, and the results.
//!
//! Nothing here opens a connection. `fleet` runs it against a hub, and `competitors` against other servers.

pub(crate) mod case_script;
pub(crate) mod connection_faults;
pub mod members;
pub mod plan;
pub mod results;
pub(crate) mod room;
pub mod script;
