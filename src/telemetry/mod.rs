//! Logs, to standard error, as lines for people or as JSON for machines; and [`metrics`] for Prometheus.
//!
//! A message can be read alone, and what varies is in its fields. Nothing a patient said, no name, token or password is
//! ever a field: the types that carry such things print only that they are there.

pub mod metrics;

use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Where the way of each command is logged, on every node that it reaches, at `debug`: by the command's own id and its
/// room's, and nothing of what it says or who sent it.
pub const COMMAND_TRACE: &str = "wardroom::trail";

/// Starts logging as configured. A second start, as tests make, changes nothing.
pub fn start(config: &Config) {
    let filter = EnvFilter::try_new(&config.log.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    // It has a line for each packet that is not to its liking, and anybody can send those; the relay's figures count them.
    let filter = filter.add_directive("turn=off".parse().expect("a directive"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}
