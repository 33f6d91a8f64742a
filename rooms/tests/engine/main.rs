//! Tests of the engine, one file per subject. `support` simulates a small clinic.

mod allowed;
mod call;
mod commands;
mod consultation;
mod cursor;
mod delivery;
mod docs;
mod guest;
mod hostile;
mod limits;
mod payment;
mod prescription;
mod random;
mod record;
mod sdp;
mod support;
mod text;
mod wire;
