//! The headers of a request that decide how it is treated, found in one pass over its head.

use http::{HeaderName, header};

use super::head::{HeadError, is_host};

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
            header::HOST if !value.is_empty() && !str::from_utf8(value).is_ok_and(is_host) => {
                return Err(HeadError::Host);
            }
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
