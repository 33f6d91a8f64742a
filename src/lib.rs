//! Wardroom: a real-time consultation and status hub for telemedicine.

pub mod archive;
pub mod auth;
pub mod clock;
pub mod config;
pub mod demo;
pub mod http;
pub mod hub;
pub mod store;
pub mod telemetry;
