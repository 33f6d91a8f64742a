//! The settings of the partners: payments, couriers, mail. Each is a sandbox, somebody real, or nobody.

use secrecy::SecretString;

use super::sources::{Courier, Mail, Payment};
use super::{BaseUrl, ConfigError, value, within};

/// Who takes payments.
#[derive(Clone, Debug)]
pub struct PaymentSettings {
    pub provider: PaymentProvider,
    /// What the provider signs its webhooks with. Without one none is taken from outside.
    pub webhook_secret: Option<SecretString>,
}

#[derive(Clone, Debug)]
pub enum PaymentProvider {
    /// A fake checkout page; no money moves.
    Sandbox,
    Http {
        url: BaseUrl,
        key: SecretString,
        /// Where people pay, with `{intent}` for the intent's id.
        checkout_url: Option<String>,
    },
}

/// Who carries parcels beside the clinic's own couriers.
#[derive(Clone, Debug)]
pub struct CourierSettings {
    /// Absent for nobody.
    pub provider: Option<CourierProvider>,
    pub webhook_secret: Option<SecretString>,
    /// What pharmacies and patients read.
    pub name: String,
    /// Whether parcels go to the partner by themselves; else a pharmacy gives them to it, as to any courier.
    pub assign: bool,
}

#[derive(Clone, Debug)]
pub enum CourierProvider {
    /// Parcels that move along by themselves.
    Sandbox,
    Http {
        url: BaseUrl,
        key: SecretString,
    },
}

/// Who carries mail.
#[derive(Clone, Debug)]
pub struct MailSettings {
    /// Absent for nobody.
    pub provider: Option<MailProvider>,
    /// The sender, e.g. `Wardroom <no-reply@example.org>`.
    pub from: String,
    /// How far the clinic's clock is ahead of UTC: times are written by it.
    pub offset_minutes: i32,
}

#[derive(Clone, Debug)]
pub enum MailProvider {
    /// Files in the data folder.
    Sandbox,
    /// `smtps://user:password@host` or `smtp://…`, which must offer STARTTLS unless it is on this machine.
    Smtp(SecretString),
}

/// Who stands behind a partner.
enum Kind {
    Off,
    Sandbox,
    Real,
}

/// A sandbox is the default only where nobody else can take it for real.
fn kind(
    setting: &'static str,
    given: Option<&str>,
    real: &str,
    has_url: bool,
    local: bool,
) -> Result<Kind, ConfigError> {
    match given {
        Some("off") => Ok(Kind::Off),
        Some("sandbox") => Ok(Kind::Sandbox),
        Some(name) if name == real => Ok(Kind::Real),
        Some(_) => Err(value(setting, format!("must be sandbox, {real} or off"))),
        None if has_url => Ok(Kind::Real),
        None => Ok(if local { Kind::Sandbox } else { Kind::Off }),
    }
}

fn base(setting: &'static str, text: Option<String>) -> Result<BaseUrl, ConfigError> {
    let text =
        text.ok_or_else(|| value(setting, "must be set, to where the partner's API is, e.g. https://api.example.com"))?;
    let url = BaseUrl::parse(&text).map_err(|why| value(setting, why))?;
    if url.is_https() || url.is_loopback() { Ok(url) } else { Err(value(setting, "must begin with https://")) }
}

fn key(setting: &'static str, text: Option<String>) -> Result<SecretString, ConfigError> {
    text.filter(|text| !text.trim().is_empty())
        .map(SecretString::from)
        .ok_or_else(|| value(setting, "must be set, to the key that the partner gave you"))
}

/// The secret of webhooks, which a real partner must have.
fn secret(setting: &'static str, text: Option<String>, is_real: bool) -> Result<Option<SecretString>, ConfigError> {
    match text {
        Some(text) if text.len() < 16 => Err(value(setting, "is too short; use 16 characters or more")),
        Some(text) => Ok(Some(SecretString::from(text))),
        None if is_real => Err(value(setting, "must be set, to the secret that the partner signs its webhooks with")),
        None => Ok(None),
    }
}

impl Payment {
    /// `local`: only this machine reaches the hub.
    pub(super) fn check(self, price: u64, local: bool) -> Result<PaymentSettings, ConfigError> {
        let kind = kind("payment.provider", self.provider.as_deref(), "http", self.url.is_some(), local)?;
        let provider = match kind {
            Kind::Real => {
                let checkout_url = self.checkout_url;
                if checkout_url
                    .as_ref()
                    .is_some_and(|url| !url.starts_with("https://") && !url.starts_with("http://127.0.0.1"))
                {
                    return Err(value("payment.checkout_url", "must begin with https://"));
                }
                let (url, key) = (base("payment.url", self.url)?, key("payment.key", self.key)?);
                PaymentProvider::Http { url, key, checkout_url }
            }
            Kind::Off if price > 0 => {
                return Err(value(
                    "payment.provider",
                    "must be set when policy.price is not 0: to http, or to sandbox, which takes no money",
                ));
            }
            Kind::Off | Kind::Sandbox => PaymentProvider::Sandbox,
        };
        let is_real = matches!(provider, PaymentProvider::Http { .. });
        let webhook_secret = secret("payment.webhook_secret", self.webhook_secret, is_real)?;
        Ok(PaymentSettings { provider, webhook_secret })
    }
}

impl Courier {
    pub(super) fn check(self, local: bool) -> Result<CourierSettings, ConfigError> {
        let provider = match kind("courier.provider", self.provider.as_deref(), "http", self.url.is_some(), local)? {
            Kind::Off => None,
            Kind::Sandbox => Some(CourierProvider::Sandbox),
            Kind::Real => {
                Some(CourierProvider::Http { url: base("courier.url", self.url)?, key: key("courier.key", self.key)? })
            }
        };
        let is_real = matches!(provider, Some(CourierProvider::Http { .. }));
        let assign = self.assign.unwrap_or(false);
        if assign && provider.is_none() {
            return Err(value("courier.assign", "needs a courier: set courier.provider"));
        }
        let name = self.name.unwrap_or_else(|| "Sandbox courier".to_owned());
        if rooms::text::Line::parse(&name).is_err() {
            return Err(value("courier.name", "must be a line of 1 to 200 bytes"));
        }
        Ok(CourierSettings {
            provider,
            webhook_secret: secret("courier.webhook_secret", self.webhook_secret, is_real)?,
            name,
            assign,
        })
    }
}

impl Mail {
    pub(super) fn check(self, local: bool) -> Result<MailSettings, ConfigError> {
        let provider = match kind("mail.provider", self.provider.as_deref(), "smtp", self.url.is_some(), local)? {
            Kind::Off => None,
            Kind::Sandbox => Some(MailProvider::Sandbox),
            Kind::Real => {
                let url = self.url.filter(|url| url.starts_with("smtp://") || url.starts_with("smtps://"));
                let url = url.ok_or_else(|| {
                    value(
                        "mail.url",
                        "must begin with smtps:// or smtp://, e.g. smtps://user:password@mail.example.org",
                    )
                })?;
                Some(MailProvider::Smtp(SecretString::from(url)))
            }
        };
        let from = self.from.unwrap_or_else(|| "Wardroom <no-reply@wardroom.invalid>".to_owned());
        if from.parse::<lettre::message::Mailbox>().is_err() {
            return Err(value("mail.from", "is not a sender; write for example Wardroom <no-reply@example.org>"));
        }
        if matches!(provider, Some(MailProvider::Smtp(_))) && from.ends_with(".invalid>") {
            return Err(value("mail.from", "must be set, to an address that your mail server sends for"));
        }
        let offset_minutes = within("mail.offset_minutes", self.offset_minutes, 0, -840, 840)?;
        Ok(MailSettings { provider, from, offset_minutes })
    }
}
