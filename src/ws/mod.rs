//! The live connections: a WebSocket, or where networks break those, a stream of server-sent events with posts beside it.
//!
//! Both carry the same frames and run the same [`session`]; they differ in their [`transport`] only.

pub mod fallback;
mod greeting;
mod handshake;
mod reader;
mod session;
mod socket;
mod transport;
mod upgrade;

pub use upgrade::upgrade;
