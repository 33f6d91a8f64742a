//! The engine's promises. One file per kind of promise; `support` is a small clinic to play in.

mod allowed;
mod calls;
mod canonical;
mod commands;
mod delivery;
mod docs;
mod guests;
mod hostile;
mod medicine;
mod payment;
mod random;
mod reader;
mod sdp;
mod support;
mod talk;
mod wire;
