//! Logs to standard error, as text or JSON, and [`metrics`] for Prometheus.
//!
//! Messages are constant; what varies is in fields. No field holds a patient's words, a name, a token or a password:
//! the types of such values do not print them.

pub mod metrics;
pub mod panics;
pub mod security;

use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// The log target that traces each command at `debug`, on every node that its events reach. The lines have the ids of
/// command and room, and nothing of the content or the sender.
pub const COMMAND_TRACE: &str = "wardroom::trail";

/// Starts logging. Further calls, as in tests, change nothing.
pub fn start(config: &Config) {
    let filter = EnvFilter::try_new(&config.log.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging already started");
    }
}
