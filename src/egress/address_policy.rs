//! Which network addresses the hub sends packets to when somebody else names them, over TCP and UDP alike: a webhook's
//! URL, a peer of the relay, a candidate of an echo call. A server that reaches whatever its host reaches would open a
//! path into the private network behind it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses that somebody else may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPolicy {
    /// Those of the public internet.
    Public,
    /// Also loopback and private networks, for a hub that serves them.
    PublicAndPrivate,
}

impl AddressPolicy {
    /// Returns the policy for media; `private_peers` is the setting.
    pub fn for_media(private_peers: bool) -> Self {
        if private_peers { Self::PublicAndPrivate } else { Self::Public }
    }

    /// Returns `true` if the hub may send to this address. No policy allows multicast, unspecified, link-local (where
    /// clouds keep their metadata), and reserved addresses.
    pub fn allows(self, address: IpAddr) -> bool {
        let private = self == Self::PublicAndPrivate;
        match address.to_canonical() {
            IpAddr::V4(v4) => allows_v4(v4, private),
            IpAddr::V6(v6) => allows_v6(v6, private),
        }
    }
}

fn allows_v4(v4: Ipv4Addr, private: bool) -> bool {
    let [a, b, c, _] = v4.octets();
    let never = a == 0 || a >= 224 || v4.is_link_local();
    let own = v4.is_loopback() || v4.is_private() || (a == 100 && (64..128).contains(&b));
    let special = v4.is_documentation() || (a == 192 && b == 0 && c == 0) || (a == 198 && (18..20).contains(&b))
        // The deprecated 6to4 relay anycast prefix.
        || (a == 192 && b == 88 && c == 99);
    !never && !special && (private || !own)
}

fn allows_v6(v6: Ipv6Addr, private: bool) -> bool {
    let segments = v6.segments();
    if v6.is_loopback() || v6.is_unique_local() {
        return private;
    }
    // Global unicast is 2000::/3. Of it, 6to4 and Teredo embed an IPv4 address, and two prefixes are for documentation.
    let special = segments[0] == 0x2002
        || (segments[0] == 0x2001 && matches!(segments[1], 0 | 0xdb8))
        || (segments[0] == 0x3fff && segments[1] < 0x1000);
    segments[0] & 0xe000 == 0x2000 && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_policy_allows_no_address_near_the_hub() {
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
            "100::1",
            "3fff::1",
            "fec0::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
        ] {
            assert!(!AddressPolicy::Public.allows(address.parse().unwrap()), "{address}");
        }
        for address in ["1.1.1.1", "100.63.0.1", "100.128.0.1", "172.32.0.1", "193.0.0.1", "2606:4700::1111"] {
            assert!(AddressPolicy::Public.allows(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn private_policy_still_rejects_special_addresses() {
        for address in ["127.0.0.1", "10.0.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd12::1", "::ffff:127.0.0.1"] {
            assert!(AddressPolicy::PublicAndPrivate.allows(address.parse().unwrap()), "{address}");
        }
        for address in
            ["0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "fe80::1", "ff02::1", "2002:7f00:1::"]
        {
            assert!(!AddressPolicy::PublicAndPrivate.allows(address.parse().unwrap()), "{address}");
        }
    }
}
