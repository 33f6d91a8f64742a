//! The socket protocol and the resumption of broken connections.

mod resume;
mod socket;
