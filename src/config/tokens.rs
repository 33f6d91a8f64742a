//! The settings of access tokens and sign-ins.

use std::time::Duration;

use super::BaseUrl;
use super::error::{ConfigError, within};
use super::raw::RawTokens;

#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// The claim `iss` of access tokens.
    pub issuer: String,
    /// The claim `aud` of access tokens.
    pub audience: String,
    /// How long an access token is valid.
    pub access_lifetime: Duration,
    /// How long a patient's sign-in lasts, no matter how often it is refreshed.
    pub patient_session_lifetime: Duration,
    /// How long the sign-in of anybody else lasts.
    pub staff_session_lifetime: Duration,
}

impl RawTokens {
    pub(super) fn validate(self, public_url: Option<&BaseUrl>) -> Result<TokenSettings, ConfigError> {
        let issuer = self.issuer.or_else(|| public_url.map(|url| url.as_str().to_owned()));
        let seconds =
            |setting, given, default, min, max| within(setting, given, default, min, max).map(Duration::from_secs);
        let (patient, staff) = (self.patient_session_s, self.staff_session_s);
        Ok(TokenSettings {
            issuer: issuer.unwrap_or_else(|| "wardroom".to_owned()),
            audience: self.audience.unwrap_or_else(|| "wardroom".to_owned()),
            access_lifetime: seconds("tokens.access_s", self.access_s, 900, 60, 3600)?,
            patient_session_lifetime: seconds("tokens.patient_session_s", patient, 30 * 86_400, 300, 365 * 86_400)?,
            staff_session_lifetime: seconds("tokens.staff_session_s", staff, 12 * 3600, 300, 30 * 86_400)?,
        })
    }
}
