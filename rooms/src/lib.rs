//! The room engine of Wardroom.
//!
//! A room is a log. [`Room::decide`](room::Room::decide) turns a command into events or a refusal,
//! [`Room::apply`](room::Room::apply) turns events into state, and everything a server, a client or an archive needs
//! to agree on follows from those two: who may ask what, who sees which event, how a reader proves that it
//! missed nothing, and how the frames on the wire look.
//!
//! The crate never does I/O, never reads a clock, never draws a random number and never waits: time and fresh ids are
//! arguments. Whoever calls it stores the events, sends the frames and keeps the time.

pub mod case;
pub mod command;
pub mod event;
pub mod feed;
pub mod id;
pub mod permission;
pub mod record;
pub mod refusal;
pub mod role;
pub mod room;
pub mod sdp;
pub mod signal;
pub mod text;
pub mod time;
pub mod wire;
