//! The clinic's policy, for rooms that open from now on.

use rooms::money::Currency;
use rooms::party::Policy;
use rooms::text::{Line, Text};

use super::error::{ConfigError, invalid, within};
use super::raw::RawPolicy;

/// How long before the start a patient may check in, in seconds, unless the clinic says otherwise.
const CHECK_IN_S: u32 = 3_600;

impl RawPolicy {
    /// Returns the default policy with the configured changes.
    pub(super) fn validate(self) -> Result<Policy, ConfigError> {
        let default = Policy::default();
        let line = |setting, given: Option<String>, default: Text<200>| match given {
            Some(text) => Line::parse(&text).map(Into::into).map_err(|why| invalid(setting, why.to_string())),
            None => Ok(default),
        };
        let seconds = |setting, given, default| within(setting, given, default, 1, 365 * 86_400);
        Ok(Policy {
            consent: line("policy.consent", self.consent, default.consent)?,
            hold_s: seconds("policy.hold_s", self.hold_s, default.hold_s)?,
            ring_s: seconds("policy.ring_s", self.ring_s, default.ring_s)?,
            rings: within("policy.rings", self.rings, default.rings, 1, 100)?,
            doctor_grace_s: seconds("policy.doctor_grace_s", self.doctor_grace_s, default.doctor_grace_s)?,
            patient_grace_s: seconds("policy.patient_grace_s", self.patient_grace_s, default.patient_grace_s)?,
            check_in_s: Some(seconds("policy.check_in_s", self.check_in_s, CHECK_IN_S)?),
            interrupted_s: seconds("policy.interrupted_s", self.interrupted_s, default.interrupted_s)?,
            prescription_valid_s: seconds(
                "policy.prescription_valid_s",
                self.prescription_valid_s,
                default.prescription_valid_s,
            )?,
            max_days: within("policy.max_days", self.max_days, default.max_days, 1, 366)?,
            review: self.review.unwrap_or(default.review),
            relay_only: self.relay_only.unwrap_or(default.relay_only),
            price: self.price.unwrap_or(default.price),
            currency: currency(self.currency.as_deref(), default.currency)?,
        })
    }
}

fn currency(given: Option<&str>, default: Text<200>) -> Result<Text<200>, ConfigError> {
    let Some(code) = given else { return Ok(default) };
    let why = || invalid("policy.currency", "must be a currency by ISO 4217, in capitals, e.g. EUR");
    let currency = Currency::parse(code).ok_or_else(why)?;
    Text::stored(currency.code()).map_err(|_| why())
}
