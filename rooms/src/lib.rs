//! The room engine of Wardroom.
//!
//! A room is a log. [`Room::decide`](room::Room::decide) turns a command into events or a refusal, and
//! [`Room::apply`](room::Room::apply) folds events into state. Everything that a server, a client and an archive must agree
//! on follows from these two: permissions, visibility of events, detection of gaps, and the frames on the wire.
//!
//! The crate does no I/O, reads no clock, draws no random numbers and never waits: time and fresh ids are arguments. The
//! caller stores the events, sends the frames and runs the timers.
//!
//! The modules form layers, and imports point down only: the vocabulary, then `event` and `command`, then `permission` and
//! `record`, then `case`, then `room`, then `wire`.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make their own times and ids"))]

pub mod cursor;
mod field_path;
pub mod id;
pub mod limits;
pub mod media;
pub mod money;
pub mod party;
pub mod reason;
pub mod refusal;
pub mod role;
pub mod sdp;
pub mod signal;
pub mod state;
pub mod text;
pub mod time;

pub mod command;
pub mod event;

pub mod permission;
pub mod record;

pub mod case;
pub mod room;
pub mod wire;
