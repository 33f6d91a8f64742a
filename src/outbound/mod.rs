//! Everything that leaves the hub, from the committed change to the recorded outcome of a delivery attempt.
//!
//! 1. [`outbox`] receives each committed change, asks `integrations` which deliveries follow, and stores them as rows of
//!    `dispatches`. The appender wrote the outbox entry in the transaction of the change, so no change is lost.
//! 2. [`grace`] delays push notices, so that people who see the event in an open session are not notified.
//! 3. [`dispatcher`] takes the rows that are due, as many as [`lane`] allows for a destination ([`breaker`]), and has
//!    the adapter in `integrations` make one attempt each.
//! 4. The adapter returns an `Outcome`. [`retry`] decides when the next attempt follows, or that none does.
//!
//! Delivery is at least once: every adapter sends the row's id as an idempotency key.

pub mod breaker;
pub mod dispatcher;
mod grace;
pub mod lane;
pub mod outbox;
mod retry;
