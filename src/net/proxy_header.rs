//! The PROXY protocol, versions 1 and 2: the header by which a proxy announces the address of each client. Pure.
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use std::net::SocketAddr;

use ppp::{v1, v2};

use crate::peer_addr::PeerAddr;

/// Longest header of version 1, with the line end (§2.1).
const MAX_V1_BYTES: usize = 107;

/// Longest header of version 2 that is accepted. Proxies send a few hundred bytes: addresses, and the names of a
/// certificate.
const MAX_V2_BYTES: usize = 1024;

/// Header of version 2 before the length that it states.
const V2_FIXED_BYTES: usize = 16;

const V1_PREFIX: &[u8] = b"PROXY ";

/// The use of the PROXY protocol on a listener. See [`Bind::proxy_protocol`](crate::Bind::proxy_protocol).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyProtocol {
    /// Each connection begins with the header; others are closed.
    Required,
    /// The header may be missing. Any client can send one, and thereby claim any address: for listeners that only
    /// proxies reach. The first bytes of the client decide, so it must not wait for the server to begin.
    Optional,
}

/// The contents of a header: the client behind the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProxiedClient {
    /// `None`: the connection is the proxy's own, or the proxy does not know the address.
    pub(crate) address: Option<PeerAddr>,
    /// The client has used TLS to the proxy.
    pub(crate) is_secure: bool,
}

/// The start of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProxyHeader {
    /// More bytes decide.
    Partial,
    /// No header.
    Absent,
    Malformed,
    /// A header of so many bytes.
    Complete(usize, ProxiedClient),
}

impl ProxyHeader {
    /// Reads the start of a connection.
    pub(crate) fn read(input: &[u8]) -> Self {
        if input.starts_with(v2::PROTOCOL_PREFIX) {
            return ProxyHeader::read_v2(input);
        }
        if input.starts_with(V1_PREFIX) {
            return ProxyHeader::read_v1(input);
        }
        let is_start = |prefix: &[u8]| prefix.starts_with(input);
        if is_start(v2::PROTOCOL_PREFIX) || is_start(V1_PREFIX) { ProxyHeader::Partial } else { ProxyHeader::Absent }
    }

    fn read_v1(input: &[u8]) -> Self {
        let line = &input[..input.len().min(MAX_V1_BYTES)];
        let Some(end) = line.iter().position(|octet| *octet == b'\n') else {
            return if line.len() < MAX_V1_BYTES { ProxyHeader::Partial } else { ProxyHeader::Malformed };
        };
        let Ok(header) = v1::Header::try_from(&line[..=end]) else { return ProxyHeader::Malformed };
        let address: Option<SocketAddr> = match header.addresses {
            v1::Addresses::Unknown => None,
            v1::Addresses::Tcp4(tcp) => Some((tcp.source_address, tcp.source_port).into()),
            v1::Addresses::Tcp6(tcp) => Some((tcp.source_address, tcp.source_port).into()),
        };
        let address = address.map(PeerAddr::canonical);
        ProxyHeader::Complete(end + 1, ProxiedClient { address, is_secure: false })
    }

    fn read_v2(input: &[u8]) -> Self {
        let Some([.., first, second]) = input.get(..V2_FIXED_BYTES) else { return ProxyHeader::Partial };
        let length = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([*first, *second]));
        if length > MAX_V2_BYTES {
            return ProxyHeader::Malformed;
        }
        let Some(bytes) = input.get(..length) else { return ProxyHeader::Partial };
        // LOCAL: the rest is ignored, whatever it is (§2.2).
        if bytes[v2::PROTOCOL_PREFIX.len()] == 0x20 {
            return ProxyHeader::Complete(length, ProxiedClient { address: None, is_secure: false });
        }
        let Ok(header) = v2::Header::try_from(bytes) else { return ProxyHeader::Malformed };
        let address = match header.addresses {
            v2::Addresses::Unspecified => None,
            v2::Addresses::IPv4(ip) => Some(PeerAddr::canonical((ip.source_address, ip.source_port).into())),
            v2::Addresses::IPv6(ip) => Some(PeerAddr::canonical((ip.source_address, ip.source_port).into())),
            v2::Addresses::Unix(_) => Some(PeerAddr::Unix),
        };
        let tls = header.tlvs().filter_map(Result::ok).find(|tlv| tlv.kind == v2::Type::SSL as u8);
        // PP2_CLIENT_SSL (§2.2.6).
        let is_secure = tls.is_some_and(|tlv| tlv.value.first().is_some_and(|client| client & 1 == 1));
        ProxyHeader::Complete(length, ProxiedClient { address, is_secure })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    /// A header of version 2: command, family and protocol, then the rest behind its length.
    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        [SIGNATURE, &[command, family], &(rest.len() as u16).to_be_bytes(), rest].concat()
    }

    fn client(address: &str, is_secure: bool) -> ProxiedClient {
        ProxiedClient { address: address.parse().ok().map(PeerAddr::Ip), is_secure }
    }

    /// Reads a header that is followed by `GET`, and checks that each of its starts is partial.
    fn read(header: &[u8]) -> ProxiedClient {
        for cut in 0..header.len() {
            assert_eq!(ProxyHeader::read(&header[..cut]), ProxyHeader::Partial, "{cut} of {}", header.escape_ascii());
        }
        match ProxyHeader::read(&[header, b"GET"].concat()) {
            ProxyHeader::Complete(length, client) if length == header.len() => client,
            other => panic!("{other:?}: {}", header.escape_ascii()),
        }
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x9c, 0x40, 0, 80];

    #[test]
    fn header_of_version_1_names_the_client() {
        for (line, address) in [
            ("PROXY TCP4 192.0.2.7 10.0.0.1 40000 80\r\n", "192.0.2.7:40000"),
            ("PROXY TCP6 2001:db8::7 ::1 40000 80\r\n", "[2001:db8::7]:40000"),
            ("PROXY TCP6 ::ffff:192.0.2.7 ::1 40000 80\r\n", "192.0.2.7:40000"),
            ("PROXY UNKNOWN\r\n", "none"),
            ("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", "none"),
        ] {
            assert_eq!(read(line.as_bytes()), client(address, false), "{line}");
        }
    }

    #[test]
    fn header_of_version_2_names_the_client_and_its_tls() {
        let tls = |client: u8| [&V4[..], &[0x04, 0, 2, 1, 2, 0x20, 0, 5, client, 0, 0, 0, 0]].concat();
        assert_eq!(read(&v2(0x21, 0x11, &V4)), client("192.0.2.7:40000", false));
        assert_eq!(read(&v2(0x21, 0x11, &tls(1))), client("192.0.2.7:40000", true));
        assert_eq!(read(&v2(0x21, 0x11, &tls(0))), client("192.0.2.7:40000", false));
        let v6 = [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[7], &[0; 16], &[0x9c, 0x40, 0, 80]].concat();
        assert_eq!(read(&v2(0x21, 0x21, &v6)), client("[2001:db8::7]:40000", false));
        let unix = ProxiedClient { address: Some(PeerAddr::Unix), is_secure: false };
        assert_eq!(read(&v2(0x21, 0x31, &[0; 216])), unix);
        for (command, family, rest) in
            [(0x20, 0x00, &[][..]), (0x20, 0x11, &V4[..]), (0x20, 0xff, b"anything"), (0x21, 0x00, b"")]
        {
            assert_eq!(read(&v2(command, family, rest)), client("none", false), "{command:x} {family:x}");
        }
    }

    #[test]
    fn other_starts_are_no_header_and_faulty_ones_are_malformed() {
        for start in ["GET / HTTP/1.1\r\n", "\x16\x03\x01", "PROXX", "P ", "\r\n\r\nG", "PROX\r\n"] {
            assert_eq!(ProxyHeader::read(start.as_bytes()), ProxyHeader::Absent, "{start:?}");
        }
        for line in [
            "PROXY TCP4 192.0.2.7 10.0.0.1 40000 80\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 40000\r\n",
            "PROXY TCP4 2001:db8::7 ::1 40000 80\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 70000 80\r\n",
            "PROXY UDP4 192.0.2.7 10.0.0.1 40000 80\r\n",
            "PROXY \r\n",
        ] {
            assert_eq!(ProxyHeader::read(line.as_bytes()), ProxyHeader::Malformed, "{line:?}");
        }
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
        assert_eq!(ProxyHeader::read(endless.as_bytes()), ProxyHeader::Malformed);
        for header in [v2(0x31, 0x11, &V4), v2(0x22, 0x11, &V4), v2(0x21, 0x41, &V4), v2(0x21, 0x11, &V4[..8])] {
            assert_eq!(ProxyHeader::read(&header), ProxyHeader::Malformed, "{}", header.escape_ascii());
        }
        assert!(matches!(ProxyHeader::read(&v2(0x20, 0, &[0; 1008])), ProxyHeader::Complete(1024, _)));
        assert_eq!(ProxyHeader::read(&v2(0x20, 0, &[0; 1009])[..16]), ProxyHeader::Malformed, "before it arrives");
    }
}
