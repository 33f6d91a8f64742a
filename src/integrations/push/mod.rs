//! Web Push notifications on people's devices: who is notified of which event, and how a notification is sent.
//!
//! [`recipients`] is pure: it derives notices from a committed change. [`adapter`] turns the notices that are still
//! needed after the grace period into one delivery per device, and sends each of them.

pub mod adapter;
mod message;
mod notice_kind;
pub mod recipients;
mod vapid;

pub use self::vapid::{Vapid, VapidError};
