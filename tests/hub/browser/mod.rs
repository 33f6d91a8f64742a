//! The pages in real browsers.

mod call;
pub mod case;
mod guest;
mod notifications;
mod payment;
