//! The settings of the clinic itself.

use chrono_tz::Tz;

use super::error::{ConfigError, invalid};
use super::raw::RawClinic;

/// The clinic.
#[derive(Clone, Copy, Debug)]
pub struct ClinicSettings {
    /// The time zone of times that the hub writes, as in mails.
    pub zone: Tz,
}

impl RawClinic {
    pub(super) fn validate(self) -> Result<ClinicSettings, ConfigError> {
        let zone = self.zone.as_deref().unwrap_or("UTC").trim().parse().map_err(|_| {
            invalid("clinic.zone", "must be the name of a time zone, e.g. Europe/Berlin, Asia/Seoul or UTC")
        })?;
        Ok(ClinicSettings { zone })
    }
}
