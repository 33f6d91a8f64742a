//! What the hub uses of a caller's offer: a handful of candidates that the address policy allows. ICE sends a packet to
//! each candidate that it knows, so an unrestricted offer would aim the hub's packets at any address.

use std::collections::BTreeSet;

use rooms::sdp::Sdp;

use crate::egress::AddressPolicy;

/// Candidates of an offer that the hub sends packets to. A browser's offer has the addresses of each of its networks.
pub const MAX_CANDIDATES: usize = 8;

/// Returns the offer with at most [`MAX_CANDIDATES`] different addresses, which `policy` allows. A caller without any
/// still reaches the hub: ICE learns the address that their packets come from.
pub fn restrict(offer: &Sdp, policy: AddressPolicy) -> Sdp {
    let mut kept = BTreeSet::new();
    offer.with_udp_candidates(|address| {
        let is_allowed = policy.allows(address.ip()) && address.port() != 0;
        is_allowed && kept.len() < MAX_CANDIDATES && kept.insert(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(candidates: &[String]) -> Sdp {
        let fingerprint = vec!["AB"; 32].join(":");
        let head = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n";
        let ice = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef0123456789\r\n";
        Sdp::parse(&format!("{head}{ice}a=fingerprint:sha-256 {fingerprint}\r\n{}", candidates.concat())).unwrap()
    }

    fn line(transport: &str, address: &str, port: usize) -> String {
        format!("a=candidate:1 1 {transport} 2122260223 {address} {port} typ host\r\n")
    }

    fn count(sdp: &Sdp) -> usize {
        sdp.as_str().matches("a=candidate:").count()
    }

    #[test]
    fn only_a_handful_of_different_candidates_is_kept() {
        let many: Vec<String> = (1..=300).map(|port| line("udp", "192.168.1.7", port)).collect();
        assert_eq!(count(&restrict(&offer(&many), AddressPolicy::PublicAndPrivate)), MAX_CANDIDATES);
        let same = vec![line("udp", "192.168.1.7", 5_000); 20];
        assert_eq!(count(&restrict(&offer(&same), AddressPolicy::PublicAndPrivate)), 1);
    }

    #[test]
    fn forbidden_addresses_names_and_tcp_are_removed() {
        for (transport, address, port) in [
            ("udp", "127.0.0.1", 8_165),
            ("udp", "::ffff:10.0.0.1", 53),
            ("udp", "169.254.169.254", 80),
            ("udp", "6f9b7a.local", 5_000),
            ("udp", "8.8.8.8", 0),
            ("tcp", "8.8.8.8", 9),
        ] {
            let restricted = restrict(&offer(&[line(transport, address, port)]), AddressPolicy::Public);
            assert_eq!(count(&restricted), 0, "{transport} {address}");
            assert!(restricted.as_str().contains("a=ice-ufrag:abcd"), "the rest of the offer stays");
        }
        assert_eq!(count(&restrict(&offer(&[line("UDP", "8.8.8.8", 5_000)]), AddressPolicy::Public)), 1);
    }
}
