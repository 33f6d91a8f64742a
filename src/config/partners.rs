//! The settings of the partners for payments, couriers, and mail. Each one is a sandbox, a real service, or off.

use rooms::money::Currency;
use rooms::party::Policy;
use rooms::text::Name;
use secrecy::SecretString;

use super::error::{ConfigError, invalid};
use super::raw::{RawCourier, RawMail, RawPayment};
use super::{BaseUrl, MIN_SECRET_BYTES, payment_units};

/// The payment provider.
#[derive(Clone, Debug)]
pub struct PaymentSettings {
    pub provider: PaymentProvider,
    /// The secret that signs the provider's webhooks. Without one, the hub rejects all of them.
    pub webhook_secret: Option<SecretString>,
}

#[derive(Clone, Debug)]
pub enum PaymentProvider {
    /// A fake checkout page; no money moves.
    Sandbox,
    Http {
        url: BaseUrl,
        key: SecretString,
        /// The checkout page, with `{intent}` for the intent's id.
        checkout_url: Option<String>,
    },
}

/// The courier partner, in addition to the clinic's own couriers.
#[derive(Clone, Debug)]
pub struct CourierSettings {
    /// Absent for nobody.
    pub provider: Option<CourierProvider>,
    pub webhook_secret: Option<SecretString>,
    /// The name that pharmacies and patients see.
    pub name: Name,
    /// Whether parcels go to the partner automatically. Otherwise a pharmacy assigns them, as to any courier.
    pub assign: bool,
}

#[derive(Clone, Debug)]
pub enum CourierProvider {
    /// Simulated parcels.
    Sandbox,
    Http {
        url: BaseUrl,
        key: SecretString,
    },
}

/// The mail service.
#[derive(Clone, Debug)]
pub struct MailSettings {
    /// Absent for nobody.
    pub provider: Option<MailProvider>,
    /// The sender, e.g. `Wardroom <no-reply@example.org>`.
    pub from: String,
}

#[derive(Clone, Debug)]
pub enum MailProvider {
    /// Files in the data folder.
    Sandbox,
    /// `smtps://user:password@host` or `smtp://…`. The latter must offer STARTTLS unless it is on this machine.
    Smtp(SecretString),
}

/// What implements a partner.
enum ProviderKind {
    Off,
    Sandbox,
    Real,
}

/// Determines what implements a partner. A sandbox is the default only where nobody else could mistake it for a real
/// service.
fn provider_kind(
    setting: &'static str,
    given: Option<&str>,
    real: &str,
    has_url: bool,
    is_local: bool,
) -> Result<ProviderKind, ConfigError> {
    match given {
        Some("off") => Ok(ProviderKind::Off),
        Some("sandbox") => Ok(ProviderKind::Sandbox),
        Some(name) if name == real => Ok(ProviderKind::Real),
        Some(_) => Err(invalid(setting, format!("must be sandbox, {real} or off"))),
        None if has_url => Ok(ProviderKind::Real),
        None => Ok(if is_local { ProviderKind::Sandbox } else { ProviderKind::Off }),
    }
}

fn api_url(setting: &'static str, text: Option<String>) -> Result<BaseUrl, ConfigError> {
    let text =
        text.ok_or_else(|| invalid(setting, "must be set to the partner's API, e.g. https://api.example.com"))?;
    let url = BaseUrl::parse(&text).map_err(|why| invalid(setting, why))?;
    if url.is_https() || url.is_loopback() { Ok(url) } else { Err(invalid(setting, "must begin with https://")) }
}

fn key(setting: &'static str, text: Option<String>) -> Result<SecretString, ConfigError> {
    text.filter(|text| !text.trim().is_empty())
        .map(SecretString::from)
        .ok_or_else(|| invalid(setting, "must be set to the API key that you have from the partner"))
}

/// Validates the secret of webhooks, which is required for a real partner.
fn webhook_secret(
    setting: &'static str,
    text: Option<String>,
    is_real: bool,
) -> Result<Option<SecretString>, ConfigError> {
    match text {
        Some(text) if text.len() < MIN_SECRET_BYTES => Err(invalid(setting, "is too short; use 16 characters or more")),
        Some(text) => Ok(Some(SecretString::from(text))),
        None if is_real => Err(invalid(setting, "must be set to the secret that signs the partner's webhooks")),
        None => Ok(None),
    }
}

impl RawPayment {
    pub(super) fn validate(self, is_local: bool, policy: &Policy) -> Result<PaymentSettings, ConfigError> {
        let kind = provider_kind("payment.provider", self.provider.as_deref(), "http", self.url.is_some(), is_local)?;
        let provider = match kind {
            ProviderKind::Real => {
                let checkout_url = self.checkout_url;
                if checkout_url
                    .as_ref()
                    .is_some_and(|url| !url.starts_with("https://") && !url.starts_with("http://127.0.0.1"))
                {
                    return Err(invalid("payment.checkout_url", "must begin with https://"));
                }
                let currency = Currency::parse(policy.currency.as_str());
                if policy.price > 0 && currency.and_then(|it| payment_units::to_provider(policy.price, it)).is_none() {
                    let why = "must be a price that the payment provider can charge in policy.currency: see its list of \
                        currencies, e.g. whole ariary, or dinars with a last digit of 0";
                    return Err(invalid("policy.price", why));
                }
                let (url, key) = (api_url("payment.url", self.url)?, key("payment.key", self.key)?);
                PaymentProvider::Http { url, key, checkout_url }
            }
            ProviderKind::Off if policy.price > 0 => {
                return Err(invalid(
                    "payment.provider",
                    "must be http, or sandbox to charge nobody, when policy.price is not 0",
                ));
            }
            ProviderKind::Off | ProviderKind::Sandbox => PaymentProvider::Sandbox,
        };
        let is_real = matches!(provider, PaymentProvider::Http { .. });
        let webhook_secret = webhook_secret("payment.webhook_secret", self.webhook_secret, is_real)?;
        Ok(PaymentSettings { provider, webhook_secret })
    }
}

impl RawCourier {
    pub(super) fn validate(self, is_local: bool) -> Result<CourierSettings, ConfigError> {
        let provider =
            match provider_kind("courier.provider", self.provider.as_deref(), "http", self.url.is_some(), is_local)? {
                ProviderKind::Off => None,
                ProviderKind::Sandbox => Some(CourierProvider::Sandbox),
                ProviderKind::Real => Some(CourierProvider::Http {
                    url: api_url("courier.url", self.url)?,
                    key: key("courier.key", self.key)?,
                }),
            };
        let is_real = matches!(provider, Some(CourierProvider::Http { .. }));
        let assign = self.assign.unwrap_or(false);
        if assign && provider.is_none() {
            return Err(invalid("courier.assign", "requires a courier partner: set courier.provider"));
        }
        let name = self.name.unwrap_or_else(|| "Sandbox courier".to_owned());
        let name = Name::parse(&name).map_err(|why| invalid("courier.name", why.to_string()))?;
        Ok(CourierSettings {
            provider,
            webhook_secret: webhook_secret("courier.webhook_secret", self.webhook_secret, is_real)?,
            name,
            assign,
        })
    }
}

impl RawMail {
    pub(super) fn validate(self, is_local: bool) -> Result<MailSettings, ConfigError> {
        let provider =
            match provider_kind("mail.provider", self.provider.as_deref(), "smtp", self.url.is_some(), is_local)? {
                ProviderKind::Off => None,
                ProviderKind::Sandbox => Some(MailProvider::Sandbox),
                ProviderKind::Real => {
                    let url = self.url.filter(|url| url.starts_with("smtp://") || url.starts_with("smtps://"));
                    let url = url.ok_or_else(|| {
                        invalid(
                            "mail.url",
                            "must begin with smtps:// or smtp://, e.g. smtps://user:password@mail.example.org",
                        )
                    })?;
                    Some(MailProvider::Smtp(SecretString::from(url)))
                }
            };
        let from = self.from.unwrap_or_else(|| "Wardroom <no-reply@wardroom.invalid>".to_owned());
        if from.parse::<lettre::message::Mailbox>().is_err() {
            return Err(invalid("mail.from", "must be a sender's address, e.g. Wardroom <no-reply@example.org>"));
        }
        if matches!(provider, Some(MailProvider::Smtp(_))) && from.ends_with(".invalid>") {
            return Err(invalid("mail.from", "must be set to an address that your mail server may send from"));
        }
        Ok(MailSettings { provider, from })
    }
}
