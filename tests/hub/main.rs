//! The tests of the server: one binary, a file per promise or story.
#[macro_use]
mod store;
mod archive;
