//! The client's address. Behind a proxy it is the last one in `X-Forwarded-For`, which the proxy appends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{ConnectInfo, Request};
use axum::http::HeaderMap;

/// The header in which a proxy passes on the client's address.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Finds clients' addresses, and remembers whether the proxy has sent one that the hub does not understand.
#[derive(Debug)]
pub struct ClientAddresses {
    behind_proxy: bool,
    has_unreadable: AtomicBool,
}

impl ClientAddresses {
    pub fn new(behind_proxy: bool) -> Self {
        Self { behind_proxy, has_unreadable: AtomicBool::new(false) }
    }

    /// Returns the address that a request comes from. If the proxy does not name one that the hub understands, this is the
    /// proxy's own address, and all clients share one rate limit: the hub logs that once.
    pub fn of(&self, request: &Request) -> IpAddr {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).to_canonical();
        if !self.behind_proxy {
            return peer;
        }
        match forwarded_for(request.headers()) {
            Forwarded::Address(address) => address,
            Forwarded::Absent => peer,
            Forwarded::Unreadable => {
                if !self.has_unreadable.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        "X-Forwarded-For is not understood: all clients share one rate limit; configure the proxy to append \
                         the client's IP address"
                    );
                }
                peer
            }
        }
    }

    /// Returns whether the proxy has sent an address that the hub does not understand.
    pub fn has_unreadable(&self) -> bool {
        self.has_unreadable.load(Ordering::Relaxed)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Forwarded {
    Address(IpAddr),
    /// The request did not come through the proxy, such as a health check.
    Absent,
    Unreadable,
}

fn forwarded_for(headers: &HeaderMap) -> Forwarded {
    let Some(last) = headers.get_all(FORWARDED_FOR).iter().next_back() else { return Forwarded::Absent };
    let address = last.to_str().ok().and_then(|list| parse_address(list.rsplit(',').next()?.trim()));
    address.map_or(Forwarded::Unreadable, |address| Forwarded::Address(address.to_canonical()))
}

/// Parses an address with or without a port. IPv6 addresses may be in brackets.
fn parse_address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches('"');
    let bare = || text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    bare().or_else(with_port).or_else(bracketed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn last_address(lines: &[&'static str]) -> Forwarded {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(line));
        }
        forwarded_for(&headers)
    }

    #[test]
    fn forwarded_address_may_have_a_port_and_brackets() {
        let address = |text: &str| Forwarded::Address(text.parse().unwrap());
        for (line, expected) in [
            ("203.0.113.7", "203.0.113.7"),
            ("203.0.113.7:443", "203.0.113.7"),
            ("10.0.0.1, 203.0.113.7:443", "203.0.113.7"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("\"[2001:db8::1]:443\"", "2001:db8::1"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
        ] {
            assert_eq!(last_address(&[line]), address(expected), "{line}");
        }
        assert_eq!(last_address(&["198.51.100.1", "203.0.113.7"]), address("203.0.113.7"));
        assert_eq!(last_address(&[]), Forwarded::Absent);
        for line in
            ["", "unknown", "_hidden", "client.example.org", "203.0.113.7:", "203.0.113.7:99999", "2001:db8::1:443x"]
        {
            assert_eq!(last_address(&[line]), Forwarded::Unreadable, "{line}");
        }
    }
}
