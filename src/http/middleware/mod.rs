//! Layers around the handlers: every request passes the outer layer, then its operation's guard, then idempotency.

pub mod drain;
pub mod guard;
pub mod idempotency;
pub mod outer_layer;
