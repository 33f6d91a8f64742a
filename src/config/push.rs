//! The settings of push notifications: the signing key, and the push services that the hub may call.

use std::path::{Path, PathBuf};

use reqwest::Url;
use secrecy::SecretString;

use super::BaseUrl;
use super::error::{ConfigError, invalid};
use super::raw::RawPush;

/// The push services of current browsers.
const DEFAULT_SERVICES: [&str; 4] =
    ["fcm.googleapis.com", "updates.push.services.mozilla.com", "*.push.apple.com", "*.notify.windows.com"];

#[derive(Clone, Debug)]
pub struct PushSettings {
    /// How a push service can contact the operator: `mailto:` or `https:`.
    pub subject: String,
    pub key: PushKeySource,
    /// Never empty.
    pub services: Vec<PushService>,
}

/// Where the key that signs notifications comes from.
#[derive(Clone, Debug)]
pub enum PushKeySource {
    Given(SecretString),
    /// A file, created at the first start.
    File(PathBuf),
}

/// A push service that the hub may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushService {
    /// This host, over TLS and at public addresses only.
    Host(String),
    /// Every subdomain of this name, likewise.
    Below(String),
    /// This origin at any address: the operator's own service.
    Origin(String),
}

impl PushService {
    fn parse(text: &str) -> Option<Self> {
        if text.contains("://") {
            let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
            return (url.path() == "/" && url.query().is_none())
                .then(|| Self::Origin(url.origin().ascii_serialization()));
        }
        let (name, below) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let fits = name.contains('.') && name.chars().all(|it| it.is_ascii_alphanumeric() || matches!(it, '.' | '-'));
        let name = name.to_ascii_lowercase();
        fits.then_some(if below { Self::Below(name) } else { Self::Host(name) })
    }

    /// Returns the service's name, which identifies its delivery destination.
    pub fn name(&self) -> &str {
        match self {
            PushService::Host(name) | PushService::Below(name) | PushService::Origin(name) => name,
        }
    }

    /// Returns `true` if an endpoint belongs to this service.
    pub fn has(&self, endpoint: &Url) -> bool {
        let host = endpoint.host_str().unwrap_or_default();
        match self {
            PushService::Host(name) => host == name,
            PushService::Below(name) => host.strip_suffix(name.as_str()).is_some_and(|front| front.ends_with('.')),
            PushService::Origin(origin) => endpoint.origin().ascii_serialization() == *origin,
        }
    }
}

impl RawPush {
    pub(super) fn validate(self, public_url: Option<&BaseUrl>, data_dir: &Path) -> Result<PushSettings, ConfigError> {
        let own = public_url.filter(|url| url.is_https()).map(|url| url.as_str().to_owned());
        let subject = match self.subject {
            Some(subject) if is_subject(&subject) => subject,
            Some(_) => {
                return Err(invalid(
                    "push.subject",
                    "must be an address where push services can contact you, e.g. mailto:admin@example.org or https://example.org",
                ));
            }
            // Sufficient for a hub on one machine, where no device is remote.
            None => own.unwrap_or_else(|| "https://localhost".to_owned()),
        };
        let key = match self.key {
            Some(key) => PushKeySource::Given(SecretString::from(key)),
            None => PushKeySource::File(data_dir.join("keys").join("push-key")),
        };
        let services = self.services.unwrap_or_else(|| DEFAULT_SERVICES.map(str::to_owned).to_vec());
        let services = services
            .iter()
            .map(|text| {
                PushService::parse(text).ok_or_else(|| {
                    invalid(
                        "push.services",
                        "must be host names, *.names, or whole origins, e.g. fcm.googleapis.com, *.push.apple.com",
                    )
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(PushSettings { subject, key, services })
    }
}

/// Returns `true` for a subject that conforms to RFC 8292; some services reject others.
fn is_subject(text: &str) -> bool {
    match text.strip_prefix("mailto:") {
        Some(address) => address.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.')),
        None => text.starts_with("https://") && Url::parse(text).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(service: &str, endpoint: &str) -> bool {
        PushService::parse(service).unwrap().has(&Url::parse(endpoint).unwrap())
    }

    #[test]
    fn push_service_matches_only_its_own_endpoints() {
        assert!(has("fcm.googleapis.com", "https://fcm.googleapis.com/fcm/send/x"));
        assert!(has("fcm.googleapis.com", "https://FCM.googleapis.com/x"));
        assert!(!has("fcm.googleapis.com", "https://fcm.googleapis.com./x"), "a final dot is another name");
        assert!(!has("fcm.googleapis.com", "https://fcm.googleapis.com.evil.example/x"));
        assert!(!has("fcm.googleapis.com", "https://evil-fcm.googleapis.com/x"));
        assert!(has("*.push.apple.com", "https://web.push.apple.com/x"));
        assert!(!has("*.push.apple.com", "https://push.apple.com/x"));
        assert!(!has("*.push.apple.com", "https://evilpush.apple.com/x"));
        assert!(has("http://127.0.0.1:9000", "http://127.0.0.1:9000/x"));
        assert!(!has("http://127.0.0.1:9000", "http://127.0.0.1:9001/x"));
        assert!(!has("http://127.0.0.1:9000", "https://127.0.0.1:9000/x"));
        for text in ["", "localhost", "*", "*.", "a b.c", "ftp://a.b", "https://a.b/path", "127.0.0.1:80"] {
            assert_eq!(PushService::parse(text), None, "{text}");
        }
    }

    #[test]
    fn subject_is_a_contact_address() {
        for (text, fits) in [
            ("mailto:admin@example.org", true),
            ("https://example.org", true),
            ("mailto:", false),
            ("mailto:admin@localhost", false),
            ("admin@example.org", false),
            ("http://example.org", false),
        ] {
            assert_eq!(is_subject(text), fits, "{text}");
        }
    }
}
