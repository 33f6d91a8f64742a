//! The origin check: which page a request comes from.

use axum::http::{HeaderMap, header};

use crate::config::{Config, Origin, is_loopback_host, split_port};

/// The result of the origin check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request has no `Origin`: no page sent it, or one of the hub's own pages sent a read.
    Absent,
    /// One of the hub's own pages.
    Own,
    /// A page of an origin in `allowed_origins`.
    Allowed(Origin),
    Foreign,
}

/// Compares `Origin` by exact scheme, host and port.
pub fn judge(config: &Config, headers: &HeaderMap) -> Verdict {
    let Some(value) = headers.get(header::ORIGIN) else { return Verdict::Absent };
    let Some(origin) = value.to_str().ok().and_then(|text| {
        // Browsers send the canonical form only, so any other form does not come from a browser.
        Origin::parse(text).ok().filter(|origin| origin.as_str() == text)
    }) else {
        return Verdict::Foreign;
    };
    let is_own = match &config.public_url {
        Some(url) => url.origin() == &origin,
        None => false,
    };
    if is_own || is_this_machine(config, headers, &origin) {
        return Verdict::Own;
    }
    match config.allowed_origins.contains(&origin) {
        true => Verdict::Allowed(origin),
        false => Verdict::Foreign,
    }
}

/// Returns whether the origin is this machine's, for a hub that listens on loopback. The host must be a loopback name:
/// with any other name a foreign page could use DNS rebinding to pass as the hub's own.
fn is_this_machine(config: &Config, headers: &HeaderMap, origin: &Origin) -> bool {
    let host = headers.get(header::HOST).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let is_loopback = split_port(host).is_some_and(|(name, _)| is_loopback_host(name));
    config.listen.ip().is_loopback()
        && !config.behind_proxy
        && is_loopback
        && Origin::parse(&format!("http://{host}")).is_ok_and(|own| own == *origin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn verdict(config: &Config, host: &'static str, origin: &'static str) -> Verdict {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        judge(config, &headers)
    }

    #[test]
    fn hostile_origins_are_foreign() {
        let file = "listen = \"0.0.0.0:80\"\nbehind_proxy = true\npublic_url = \"https://hub.example.org\"\n\
            allowed_origins = [\"https://portal.example.org\"]";
        let config = Config::from_parts(file, [], false).unwrap();
        let host = "hub.example.org";
        assert_eq!(verdict(&config, host, "https://hub.example.org"), Verdict::Own);
        assert!(matches!(verdict(&config, host, "https://portal.example.org"), Verdict::Allowed(_)));
        assert_eq!(judge(&config, &HeaderMap::new()), Verdict::Absent);
        for hostile in [
            "null",
            "",
            "http://hub.example.org",
            "https://hub.example.org:8443",
            "https://hub.example.org.evil.example",
            "https://evil-hub.example.org",
            "https://evil.example/hub.example.org",
            "https://hub.example.org@evil.example",
            "https://HUB.example.org",
            "https://hub.example.org/",
            "https://sub.hub.example.org",
            "https://example.org",
            "http://127.0.0.1",
            "http://localhost:80",
        ] {
            assert_eq!(verdict(&config, host, hostile), Verdict::Foreign, "{hostile}");
        }
    }

    #[test]
    fn on_loopback_only_names_of_this_machine_are_its_own() {
        let config = Config::from_parts("", [], false).unwrap();
        assert_eq!(verdict(&config, "127.0.0.1:8080", "http://127.0.0.1:8080"), Verdict::Own);
        assert_eq!(verdict(&config, "localhost:8080", "http://localhost:8080"), Verdict::Own);
        assert_eq!(verdict(&config, "[::1]:8080", "http://[::1]:8080"), Verdict::Own);
        assert_eq!(verdict(&config, "localhost:8080", "http://localhost:3000"), Verdict::Foreign);
        assert_eq!(verdict(&config, "evil.example:8080", "http://evil.example:8080"), Verdict::Foreign, "rebinding");
        assert_eq!(verdict(&config, "localhost.evil.example", "http://localhost.evil.example"), Verdict::Foreign);
    }
}
