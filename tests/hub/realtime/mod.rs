//! The socket protocol and the resumption of broken connections.

mod pacing;
mod resume;
mod socket;
