//! Load generator for a Wardroom hub over real sockets, with a client that checks event order.
//!
//! Depends on the wire protocol (`rooms::wire`) and on nothing of the server, so a passing run proves the protocol, not
//! the implementation.

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "a client has its own clock and ids")]

pub mod arrivals;
pub mod calls;
pub mod client;
pub mod competitors;
pub mod delivery_check;
pub mod fault;
pub mod fixture;
pub mod fleet;
pub mod frame;
pub mod html;
pub mod latency;
pub mod load;
pub mod meter;
pub mod report;
pub mod run;
pub mod search;
pub mod send_time;
pub mod socket;
pub mod target;
pub mod watch;
pub mod webrtc;
