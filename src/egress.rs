//! HTTP clients for calls that leave the hub: no redirects, no proxies, and time limits.
//!
//! The hub calls an untrusted URL (a device's push service, an integrator's endpoint) only over TLS, and only if its host
//! name resolves to public addresses alone. The connection itself resolves and checks the name, so DNS rebinding between
//! check and call is impossible.

mod address_policy;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Url};
use rooms::time::Timestamp;

pub use self::address_policy::AddressPolicy;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an unused connection stays in the pool.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The two HTTP clients; cheap to clone.
#[derive(Clone, Debug)]
pub struct Egress {
    public: Client,
    configured: Client,
}

/// Why the hub does not call an untrusted URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    #[error("must be an https URL")]
    NotHttps,
    #[error("must not contain a user name or password")]
    Credentials,
    #[error("must be at a public internet address")]
    NotPublic,
}

impl Egress {
    /// Builds the clients. Fails if the system's certificates cannot be read.
    pub fn new() -> Result<Self, reqwest::Error> {
        // Fails if another part of this process has installed the same provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let public = client_builder().https_only(true).dns_resolver(Arc::new(PublicOnly)).build()?;
        Ok(Self { public, configured: client_builder().build()? })
    }

    /// Returns the client for untrusted URLs that passed [`check`].
    pub fn public(&self) -> &Client {
        &self.public
    }

    /// Returns the client for URLs from the settings, which may be anywhere.
    pub fn configured(&self) -> &Client {
        &self.configured
    }
}

#[allow(clippy::disallowed_methods, reason = "the home of outgoing calls")]
fn client_builder() -> ClientBuilder {
    Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .user_agent(concat!("wardroom/", env!("CARGO_PKG_VERSION")))
}

/// Checks a URL without resolving its host name.
pub fn check(url: &Url) -> Result<(), Forbidden> {
    if url.scheme() != "https" {
        return Err(Forbidden::NotHttps);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Forbidden::Credentials);
    }
    // A literal address never reaches the resolver, so check it here. The parser has normalised every spelling of one.
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) if !is_public(address) => Err(Forbidden::NotPublic),
        _ => Ok(()),
    }
}

/// Checks a URL and the addresses that its name resolves to now. A name that cannot be resolved passes, because the call
/// resolves it again.
pub async fn check_resolved(url: &Url) -> Result<(), Forbidden> {
    check(url)?;
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(443));
    let Ok(mut addresses) = tokio::net::lookup_host((host, port)).await else { return Ok(()) };
    if addresses.all(|address| is_public(address.ip())) { Ok(()) } else { Err(Forbidden::NotPublic) }
}

fn is_public(address: IpAddr) -> bool {
    AddressPolicy::Public.allows(address)
}

/// A resolver that fails unless all addresses of a name are public.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if addresses.iter().any(|address| !is_public(address.ip())) {
                return Err(Forbidden::NotPublic.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Returns whether a call failed because its address is forbidden.
pub fn is_forbidden(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<Forbidden>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Describes why a call failed, without the URL, which may be a secret.
pub fn why(error: &reqwest::Error) -> &'static str {
    if is_forbidden(error) {
        "its address is not public"
    } else if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke off"
    }
}

/// Reads `Retry-After`, which is a number of seconds or a date.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    Some(Timestamp::new(date.to_utc()).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_of_a_private_address_passes() {
        for url in [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f.0.0.1/",
            "https://0177.0.0.1/",
            "https://0/",
            "https://10.0.0.1/",
            "https://172.16.0.1/",
            "https://192.168.1.1/",
            "https://169.254.169.254/latest/meta-data/",
            "https://100.64.0.1/",
            "https://[::1]/",
            "https://[::]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:7f00:1]/",
            "https://[::127.0.0.1]/",
            "https://[fe80::1]/",
            "https://[fd00::1]/",
            "https://[fec0::1]/",
            "https://[2002:7f00:1::]/",
            "https://[64:ff9b::7f00:1]/",
            "https://[2001:db8::1]/",
            "https://[3fff::1]/",
            "https://[100::1]/",
            "https://[ff02::1]/",
        ] {
            assert_eq!(check(&Url::parse(url).unwrap()), Err(Forbidden::NotPublic), "{url}");
        }
        assert_eq!(check(&Url::parse("http://example.org/").unwrap()), Err(Forbidden::NotHttps));
        assert_eq!(check(&Url::parse("https://a:b@example.org/").unwrap()), Err(Forbidden::Credentials));
        for url in ["https://example.org/", "https://8.8.8.8/", "https://[2606:4700::1111]/"] {
            assert_eq!(check(&Url::parse(url).unwrap()), Ok(()), "{url}");
        }
    }

    #[tokio::test]
    async fn name_that_resolves_to_a_private_address_is_not_called() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = Url::parse(&format!("https://localhost:{port}/")).unwrap();
        assert_eq!(check_resolved(&url).await, Err(Forbidden::NotPublic));
        let error = Egress::new().unwrap().public().get(url).send().await.unwrap_err();
        assert!(is_forbidden(&error), "{error:?}");
        let called = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await;
        assert!(called.is_err(), "no connection was made");
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = Timestamp::from_micros(1_790_000_000_000_000);
        let date = now.plus(Duration::from_secs(90)).utc().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        for (text, expected) in [("120", Some(120)), (date.as_str(), Some(90)), ("soon", None), ("-1", None)] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            assert_eq!(retry_after(&headers, now).map(|it| it.as_secs()), expected, "{text}");
        }
    }
}
