//! Which peers the relay may reach. A relay that reaches whatever its host reaches would open a path into the private
//! network behind it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Returns `true` if the relay may exchange packets with this address. `private` also allows loopback and private
/// networks, for a relay that serves them. Multicast, unspecified, link-local (where clouds keep their metadata), and
/// reserved addresses are never allowed.
pub fn is_allowed_peer(address: IpAddr, private: bool) -> bool {
    match address {
        IpAddr::V4(v4) => is_allowed_v4(v4, private),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_allowed_v4(v4, private),
            None => is_allowed_v6(v6, private),
        },
    }
}

fn is_allowed_v4(v4: Ipv4Addr, private: bool) -> bool {
    let [a, b, c, _] = v4.octets();
    let never = a == 0 || a >= 224 || v4.is_link_local();
    let own = v4.is_loopback() || v4.is_private() || (a == 100 && (64..128).contains(&b));
    let special = v4.is_documentation() || (a == 192 && b == 0 && c == 0) || (a == 198 && (18..20).contains(&b))
        // The deprecated 6to4 relay anycast prefix.
        || (a == 192 && b == 88 && c == 99);
    !never && !special && (private || !own)
}

fn is_allowed_v6(v6: Ipv6Addr, private: bool) -> bool {
    let segments = v6.segments();
    let never = v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local();
    let own = v6.is_loopback() || v6.is_unique_local();
    // Prefixes that embed an IPv4 address (NAT64, 6to4, Teredo, IPv4-compatible), documentation, and deprecated
    // site-local addresses.
    let special = (segments[0] & 0xffc0 == 0xfec0)
        || (segments[0] == 0x64 && segments[1] == 0xff9b)
        || segments[0] == 0x2002
        || (segments[0] == 0x2001 && matches!(segments[1], 0 | 0xdb8))
        || (segments[..6] == [0; 6] && !v6.is_loopback());
    !never && !special && (private || !own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relay_reaches_no_address_near_itself() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.1.1.1",
            "::127.0.0.1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
        ] {
            assert!(!is_allowed_peer(address.parse().unwrap(), false), "{address}");
        }
        for address in ["1.1.1.1", "100.63.0.1", "100.128.0.1", "172.32.0.1", "193.0.0.1", "2606:4700::1111"] {
            assert!(is_allowed_peer(address.parse().unwrap(), false), "{address}");
        }
    }

    #[test]
    fn relay_for_a_private_network_still_rejects_special_addresses() {
        for address in ["127.0.0.1", "10.0.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd12::1", "::ffff:127.0.0.1"] {
            assert!(is_allowed_peer(address.parse().unwrap(), true), "{address}");
        }
        for address in
            ["0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "fe80::1", "ff02::1", "2002:7f00:1::"]
        {
            assert!(!is_allowed_peer(address.parse().unwrap(), true), "{address}");
        }
    }
}
