//! The log of all rooms: appending to it and reading it back.
//!
//! [`append`] is the ladder of an append: a batch together, then its conflicts, then one by one. [`fast_append`] is the
//! one statement for chat, [`conflict`] explains why an append did not fit, [`read`] and [`heads`] serve readers.

mod append;
mod conflict;
pub(super) mod fast_append;
mod heads;
mod read;
