//! Load for a Wardroom hub over real sockets, and a client with the order check built in.
//!
//! Knows `rooms::wire` and nothing of the server, so that it proves the protocol and not the implementation.

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
