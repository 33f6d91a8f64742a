//! What operators rely on: the doctor, documentation, metrics, start and stop.

mod doctor;
mod documentation;
mod lifecycle;
mod metrics;
mod private_files;
