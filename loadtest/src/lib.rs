//! Load for a Wardroom hub over real sockets, and a client with the order check built in.
//!
//! Knows `rooms::wire` and nothing of the server, so that it proves the protocol and not the implementation.

pub mod client;
pub mod fixture;
pub mod frame;
pub mod socket;
pub mod tally;
pub mod target;
