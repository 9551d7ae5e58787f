//! The headers of a request that decide how it is treated, found in one pass over its head.

use std::net::Ipv6Addr;

use http::{HeaderName, header, uri::Authority};

use super::HeadError;

/// A set of headers. Looking up a header that is not in it needs no hash of its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct KnownHeaders {
    pub(crate) host: bool,
    pub(crate) connection: bool,
    pub(crate) upgrade: bool,
    pub(crate) expect: bool,
    pub(crate) content_length: bool,
    pub(crate) transfer_encoding: bool,
}

impl KnownHeaders {
    /// Any of them may occur: for requests whose head was not read here.
    pub(crate) const ANY: KnownHeaders = KnownHeaders {
        host: true,
        connection: true,
        upgrade: true,
        expect: true,
        content_length: true,
        transfer_encoding: true,
    };

    /// Notes a header. Refuses a second length, and a second or malformed host: two parsers could interpret the request
    /// differently.
    pub(super) fn note(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), HeadError> {
        match *name {
            header::HOST if self.host => return Err(HeadError::Host),
            // Empty for a target without an authority.
            header::HOST if !value.is_empty() && !is_host(value) => return Err(HeadError::Host),
            header::CONTENT_LENGTH if self.content_length => return Err(HeadError::BodyLength),
            header::HOST => self.host = true,
            header::CONTENT_LENGTH => self.content_length = true,
            header::TRANSFER_ENCODING => self.transfer_encoding = true,
            header::CONNECTION => self.connection = true,
            header::UPGRADE => self.upgrade = true,
            header::EXPECT => self.expect = true,
            _ => {}
        }
        Ok(())
    }

    /// Refuses a length beside a coding.
    pub(super) fn check(self) -> Result<(), HeadError> {
        if self.content_length && self.transfer_encoding { Err(HeadError::BodyLength) } else { Ok(()) }
    }

    /// Returns `true` if the request may have a body.
    pub(crate) fn announce_body(self) -> bool {
        self.content_length || self.transfer_encoding
    }
}

/// Returns `true` for a host with an optional port (RFC 9110 §7.2, RFC 3986 §3.2): no user, no path, nothing that
/// divides a URL. A comma, which the grammar allows in names, is refused: a proxy may have joined two lines by it.
pub(super) fn is_host(value: &[u8]) -> bool {
    let is_plain = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-');
    if value.iter().all(is_plain) {
        return true;
    }
    let Ok(value) = str::from_utf8(value) else { return false };
    let (is_host, port) = match value.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((address, port))) => (address.parse::<Ipv6Addr>().is_ok(), port),
        Some(None) => return false,
        None => {
            let (name, port) = value.split_at(value.find(':').unwrap_or(value.len()));
            (!name.contains(['@', ',', '[', ']']) && Authority::try_from(name).is_ok(), port)
        }
    };
    let is_port = |digits: &str| digits.bytes().all(|octet| octet.is_ascii_digit());
    is_host && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}
