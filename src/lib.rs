//! Wardroom: a real-time consultation and status hub for telemedicine.
//!
//! The crate `rooms` holds the rules. This crate is the server around them. It stores the logs ([`store`]), executes
//! commands and publishes their events ([`hub`]), and serves clients by REST ([`http`]) and by WebSocket ([`ws`]). It
//! delivers notifications to people and partners ([`outbound`], [`integrations`]). Imports point down only: app → http,
//! ws, jobs → outbound → integrations → hub → store → `rooms`.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make their own times and ids"))]

pub mod app;
pub mod archive;
pub mod auth;
pub mod bus;
pub mod clock;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod echo;
pub mod egress;
pub mod http;
pub mod hub;
pub mod integrations;
pub mod jobs;
pub mod keyfile;
pub mod lifecycle;
pub mod outbound;
pub mod seed;
pub mod store;
pub mod subject_limiter;
pub mod telemetry;
pub mod turn;
pub mod web;
pub mod ws;
