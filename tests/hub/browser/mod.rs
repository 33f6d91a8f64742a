//! The pages in real browsers.

mod call;
mod case;
mod guest;
mod notifications;
mod payment;
mod resilience;
mod review;
