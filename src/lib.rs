//! Wardroom: a real-time consultation and status hub for telemedicine.
//!
//! The rules are in the crate `rooms`. This crate is the server around them: it keeps the logs ([`store`]), carries out
//! commands and tells everybody concerned ([`hub`]), lets people in by REST ([`http`]) and socket ([`ws`]), and tells
//! those outside ([`outbound`], [`integrations`]). Imports point down only: app → http, ws, jobs → outbound →
//! integrations → hub → store → `rooms`.

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
pub mod telemetry;
pub mod turn;
pub mod web;
pub mod ws;
