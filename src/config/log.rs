//! The settings of the logs.

use serde::Deserialize;

#[derive(Clone, Debug)]
pub struct LogSettings {
    /// A filter as `tracing-subscriber` parses it, e.g. `info,wardroom=debug`.
    pub filter: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}

impl LogSettings {
    pub(super) fn new(filter: Option<String>, format: Option<LogFormat>) -> Self {
        // The WebRTC stack warns about ordinary network conditions, so only its errors are logged.
        let filter = filter.unwrap_or_else(|| "info,rtc=error,webrtc=error".to_owned());
        Self { filter, format: format.unwrap_or(LogFormat::Text) }
    }
}
