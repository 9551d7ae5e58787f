//! A tunnel by HTTP CONNECT (RFC 9110 §9.3.6).

use http::HeaderMap;

use super::ProxyError;
use crate::{
    http::{
        credentials::basic,
        head::{HeadLimits, HeadReader, MOST_INFORMATIONAL},
        response,
    },
    url::{Credentials, Url},
};

/// Waits for the response to CONNECT.
#[derive(Default)]
pub(crate) struct Connect {
    reader: HeadReader,
    /// Interim responses (1xx) so far.
    informational: usize,
}

impl Connect {
    /// Appends the request to `out`.
    pub(super) fn new(url: &Url, credentials: Option<&Credentials>, headers: &HeaderMap, out: &mut Vec<u8>) -> Self {
        let bracket = if url.host.contains(':') { ("[", "]") } else { ("", "") };
        let authority = format!("{}{}{}:{}", bracket.0, url.host, bracket.1, url.port);
        out.extend_from_slice(format!("CONNECT {authority} HTTP/1.1\r\n").as_bytes());
        response::write_line("Host", authority.as_bytes(), out);
        if let Some(credentials) = credentials {
            response::write_line("Proxy-Authorization", basic(credentials).as_bytes(), out);
        }
        response::write_headers(headers, out);
        out.extend_from_slice(b"\r\n");
        Connect::default()
    }

    /// Reads bytes of the proxy. Once the tunnel is established, returns how many bytes were the proxy's.
    pub(super) fn read(&mut self, data: &[u8]) -> Result<Option<usize>, ProxyError> {
        let mut at = 0;
        loop {
            let read = self.reader.read_response(&data[at..], &HeadLimits::default());
            let Some((response, used)) = read.map_err(|_| ProxyError::Malformed)? else { return Ok(None) };
            at += used;
            match response.status() {
                status if status.is_success() => return Ok(Some(at)),
                status if status.is_informational() && self.informational < MOST_INFORMATIONAL => {
                    self.reader = HeadReader::default();
                    self.informational += 1;
                }
                status => return Err(ProxyError::Refused(status)),
            }
        }
    }
}
