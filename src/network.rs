//! Sets of addresses: single ones, and networks in CIDR notation (RFC 4632 §3.1, RFC 4291 §2.3).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A network: an address and the length of its prefix. A single address has the longest prefix.
///
/// ```
/// use ws_reactor::Network;
///
/// let network: Network = "10.0.0.0/8".parse()?;
/// assert!(network.contains("10.1.2.3".parse().unwrap()));
/// assert!("::1".parse::<Network>()?.contains("::1".parse().unwrap()));
/// # Ok::<(), ws_reactor::NetworkError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Error of a [`Network`] in text form. The value is the text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkError {
    /// The text is no address with an optional prefix length, such as `192.0.2.0/24`.
    Malformed(String),
    /// The prefix is longer than the address.
    Prefix(String),
    /// Bits behind the prefix are set, as in `192.0.2.7/24`: the text may not mean what it says.
    HostBits(String),
}

impl fmt::Display for NetworkError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetworkError::Malformed(text) => write!(formatter, "{text:?} is no address or network"),
            NetworkError::Prefix(text) => write!(formatter, "the prefix of {text:?} is longer than its address"),
            NetworkError::HostBits(text) => write!(formatter, "{text:?} has bits behind its prefix"),
        }
    }
}

impl std::error::Error for NetworkError {}

impl Network {
    /// The address, if the network is a single one.
    pub(crate) fn single(self) -> Option<IpAddr> {
        let longest = if self.address.is_ipv4() { 32 } else { 128 };
        (self.prefix == longest).then_some(self.address)
    }

    /// Returns `true` if the address is in the network. An IPv4 address mapped to IPv6 counts as the IPv4 address.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                masked_v4(network, self.prefix) == masked_v4(address, self.prefix)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                masked_v6(network, self.prefix) == masked_v6(address, self.prefix)
            }
            _ => false,
        }
    }
}

fn masked_v4(address: Ipv4Addr, prefix: u8) -> u32 {
    u32::from(address) & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn masked_v6(address: Ipv6Addr, prefix: u8) -> u128 {
    u128::from(address) & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Network { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let malformed = || NetworkError::Malformed(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            None => return Ok(Network::from(text.parse::<IpAddr>().map_err(|_| malformed())?)),
            Some((address, prefix)) => (address.parse::<IpAddr>().map_err(|_| malformed())?, prefix),
        };
        if prefix.is_empty() || prefix.len() > 3 || !prefix.bytes().all(|octet| octet.is_ascii_digit()) {
            return Err(malformed());
        }
        let prefix: u16 = prefix.parse().map_err(|_| malformed())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = u8::try_from(prefix).ok().filter(|prefix| *prefix <= longest);
        let prefix = prefix.ok_or_else(|| NetworkError::Prefix(text.to_owned()))?;
        let has_host_bits = match address {
            IpAddr::V4(address) => masked_v4(address, prefix) != u32::from(address),
            IpAddr::V6(address) => masked_v6(address, prefix) != u128::from(address),
        };
        // An IPv4 network mapped to IPv6 is the IPv4 network: addresses are compared without the mapping.
        if let (IpAddr::V6(mapped), Some(short)) = (address, prefix.checked_sub(96))
            && let Some(v4) = mapped.to_ipv4_mapped()
            && !has_host_bits
        {
            return Ok(Network { address: v4.into(), prefix: short });
        }
        if has_host_bits { Err(NetworkError::HostBits(text.to_owned())) } else { Ok(Network { address, prefix }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = if self.address.is_ipv4() { 32 } else { 128 };
        match self.prefix == longest {
            true => write!(formatter, "{}", self.address),
            false => write!(formatter, "{}/{}", self.address, self.prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_contains_the_addresses_with_its_prefix() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.128/25", "192.0.2.128", "192.0.2.127"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.7/32", "::ffff:192.0.2.7", "::192.0.2.7"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::1", "::1", "127.0.0.1"),
            ("fe80::/10", "febf::1", "fec0::1"),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert_eq!(parsed.to_string(), network.trim_end_matches("/32").replace("2001:db8::", "2001:db8::/32"));
            assert!(parsed.contains(inside.parse().unwrap()), "{inside} in {network}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{outside} in {network}");
        }
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("255.1.2.3".parse().unwrap()) && !all.contains("::1".parse().unwrap()));
        assert!("::/0".parse::<Network>().unwrap().contains("ff02::1".parse().unwrap()));
        for text in ["::ffff:192.0.2.0/120", "::ffff:192.0.2.7/128"] {
            assert!(text.parse::<Network>().unwrap().contains("192.0.2.7".parse().unwrap()), "{text}");
        }
        let mapped = Network::from("::ffff:192.0.2.7".parse::<IpAddr>().unwrap());
        assert!(mapped.contains("192.0.2.7".parse().unwrap()));
    }

    #[test]
    fn text_that_is_no_network_is_refused_with_its_fault() {
        for text in ["", "x", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/8/8", "10.0.0.0/ 8", "/8", "[::1]"] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::Malformed(text.to_owned())), "{text}");
        }
        for text in ["10.0.0.0/33", "::/129", "::/300"] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::Prefix(text.to_owned())), "{text}");
        }
        for text in ["10.0.0.1/8", "2001:db8::1/32", "1.0.0.0/0"] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::HostBits(text.to_owned())), "{text}");
        }
    }
}
