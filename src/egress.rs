//! Calls from the hub to the outside. reqwest is at home here: no redirects, no proxies, bounds on time.
//!
//! An address that somebody from outside gave (a device's push service, an integrator's endpoint) is called only over
//! TLS and only if every address that its name resolves to is public. The check is part of the connection itself, so
//! that a name cannot mean one thing when it is checked and another when it is called.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Url};
use rooms::time::Timestamp;

use crate::turn::peers;

/// How long it may take to be connected.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an unused connection stays open.
const IDLE: Duration = Duration::from_secs(60);

/// The two ways out; cheap to clone.
#[derive(Clone, Debug)]
pub struct Egress {
    public: Client,
    configured: Client,
}

/// Why an address from outside is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    #[error("is not an https address")]
    NotHttps,
    #[error("holds a user name or a password")]
    Credentials,
    #[error("is not at a public address of the internet")]
    NotPublic,
}

impl Egress {
    /// Makes the clients. An error says that the system's certificates cannot be read.
    pub fn new() -> Result<Self, reqwest::Error> {
        // Somebody else in this process may have been first, with the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let public = bounded().https_only(true).dns_resolver(Arc::new(PublicOnly)).build()?;
        Ok(Self { public, configured: bounded().build()? })
    }

    /// For addresses that somebody from outside gave, once they passed [`check`].
    pub fn public(&self) -> &Client {
        &self.public
    }

    /// For addresses that the operator chose: they may be anywhere.
    pub fn configured(&self) -> &Client {
        &self.configured
    }
}

fn bounded() -> ClientBuilder {
    Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .user_agent(concat!("wardroom/", env!("CARGO_PKG_VERSION")))
}

/// What can be told of an address without asking for its name.
pub fn check(url: &Url) -> Result<(), Forbidden> {
    if url.scheme() != "https" {
        return Err(Forbidden::NotHttps);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Forbidden::Credentials);
    }
    // A literal address is called as it is, without asking for a name. The parser has brought every way to write one
    // into its usual form.
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) if !is_public(address) => Err(Forbidden::NotPublic),
        _ => Ok(()),
    }
}

/// [`check`], and that the name means public addresses now. A name that cannot be resolved passes: it is asked for again
/// when it is called.
pub async fn check_resolved(url: &Url) -> Result<(), Forbidden> {
    check(url)?;
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(443));
    let Ok(mut addresses) = tokio::net::lookup_host((host, port)).await else { return Ok(()) };
    if addresses.all(|address| is_public(address.ip())) { Ok(()) } else { Err(Forbidden::NotPublic) }
}

/// Whether an address is one of the public internet.
fn is_public(address: IpAddr) -> bool {
    let global = match address {
        IpAddr::V4(_) => true,
        // What is assigned for use between networks is 2000::/3; of it, 3fff::/20 is for documentation.
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(_) => true,
            None => v6.segments()[0] & 0xe000 == 0x2000 && !(v6.segments()[0] == 0x3fff && v6.segments()[1] < 0x1000),
        },
    };
    global && peers::is_allowed(address, false)
}

/// Resolves names to public addresses, all of them, or not at all.
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

/// Whether a call failed because its address is not to be called.
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

/// Why a call got no answer, without the address, which may be a secret.
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

/// How long a receiver wants to be left alone, from its `Retry-After`: seconds or a date.
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
    fn no_spelling_of_an_inner_address_passes() {
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
    async fn a_name_that_means_an_inner_address_is_not_called() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = Url::parse(&format!("https://localhost:{port}/")).unwrap();
        assert_eq!(check_resolved(&url).await, Err(Forbidden::NotPublic));
        let error = Egress::new().unwrap().public().get(url).send().await.unwrap_err();
        assert!(is_forbidden(&error), "{error:?}");
        let called = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await;
        assert!(called.is_err(), "nobody came");
    }

    #[test]
    fn retry_after_is_read_in_both_its_forms() {
        let now = Timestamp::from_micros(1_790_000_000_000_000);
        let date = now.plus(Duration::from_secs(90)).utc().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        for (text, expected) in [("120", Some(120)), (date.as_str(), Some(90)), ("soon", None), ("-1", None)] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            assert_eq!(retry_after(&headers, now).map(|it| it.as_secs()), expected, "{text}");
        }
    }
}
