//! Realtime connections: WebSockets, and server-sent events with posts for networks that break WebSockets.
//!
//! Both carry the same frames and run the same [`session`]. They differ only in their [`transport`].

pub mod fallback;
mod handshake;
mod hello;
mod joined_rooms;
mod read_allowance;
mod session;
mod socket;
mod transport;
mod upgrade;

pub use upgrade::upgrade;
