//! The tests of the server: one binary, a file per promise or story.

mod support;

mod archive;
mod socket;
mod store;
mod store_slots;
mod timers;
