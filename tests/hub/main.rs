//! The tests of the server: one binary, a folder per subject.

mod support;

mod archive;
mod auth;
mod browser;
mod calls;
mod cases;
mod cluster;
mod faults;
mod operations;
mod outbound;
mod realtime;
mod rest;
mod store;
mod tidy;
