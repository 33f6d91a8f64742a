//! The tests of the server: one binary, a folder per subject.

#![allow(clippy::disallowed_methods, reason = "tests make their own times and ids")]

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
