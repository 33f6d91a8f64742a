//! Addresses of web pages: an origin, and the public URL of the hub.

use std::fmt;

/// An origin: `scheme://host[:port]` in lower case and without a default port, as browsers send it in `Origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

/// A base URL: an [`Origin`], with its parts available.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    origin: Origin,
    host: String,
}

const ADDRESS_FORMAT: &str = "must be http or https, then :// and a host with an optional port, and nothing after it, e.g. https://hub.example.org";

impl Origin {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        split(text).map(|(scheme, host, port)| Self::from_parts(scheme, &host, port))
    }

    fn from_parts(scheme: &str, host: &str, port: Option<u16>) -> Self {
        match port {
            Some(port) if Some(port) != default_port(scheme) => Self(format!("{scheme}://{host}:{port}")),
            _ => Self(format!("{scheme}://{host}")),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl BaseUrl {
    /// Parses a URL and removes a slash at the end.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, host, port) = split(text.strip_suffix('/').unwrap_or(text))?;
        Ok(Self { origin: Origin::from_parts(scheme, &host, port), host })
    }

    /// Returns the URL without a slash at the end.
    pub fn as_str(&self) -> &str {
        self.origin.as_str()
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns the host without the port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the host with the port, unless that is the scheme's default.
    pub fn authority(&self) -> &str {
        self.as_str().split_once("://").map_or("", |(_, authority)| authority)
    }

    pub fn is_https(&self) -> bool {
        self.as_str().starts_with("https://")
    }

    pub fn is_loopback(&self) -> bool {
        is_loopback_host(&self.host)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Returns `true` if a host without a port denotes this machine by its very name, which nobody can make resolve to
/// another.
pub fn is_loopback_host(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

fn split(text: &str) -> Result<(&'static str, String, Option<u16>), &'static str> {
    let lower = text.to_ascii_lowercase();
    let (scheme, authority) = match (lower.strip_prefix("https://"), lower.strip_prefix("http://")) {
        (Some(rest), _) => ("https", rest),
        (None, Some(rest)) => ("http", rest),
        (None, None) => return Err(ADDRESS_FORMAT),
    };
    let (host, port) = split_port(authority).ok_or(ADDRESS_FORMAT)?;
    let is_v6 = host.starts_with('[') && host.ends_with(']');
    let is_name = |host: &str| host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
    if host.is_empty() || !(is_v6 || is_name(host)) {
        return Err(ADDRESS_FORMAT);
    }
    Ok((scheme, host.to_owned(), port))
}

/// Splits an authority into host and port, or returns `None` for an invalid port.
pub fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| port.parse().ok()).flatten().map(|port| (host, Some(port)))
        }
        _ => Some((authority, None)),
    }
}
