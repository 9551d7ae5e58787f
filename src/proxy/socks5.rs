//! A tunnel by SOCKS5 (RFC 1928), with user and password (RFC 1929).

use std::net::IpAddr;

use super::ProxyError;
use crate::url::{Credentials, Url};

/// A tunnel under construction.
pub(crate) struct Socks5 {
    step: Step,
    host: String,
    port: u16,
    credentials: Option<Credentials>,
    /// The part of the proxy's next reply that has arrived.
    gathered: Vec<u8>,
}

enum Step {
    /// Waits for the chosen method.
    Method,
    /// Waits for the result of the authentication.
    Authentication,
    /// Waits for the connection to the server.
    Reply,
}

/// Longest user, password or name (RFC 1928 and RFC 1929: one octet of length).
const LONGEST: usize = 255;

impl Socks5 {
    /// Appends the offered methods to `out`.
    pub(super) fn new(url: &Url, credentials: Option<Credentials>, out: &mut Vec<u8>) -> Self {
        // Methods: no authentication, or also user and password.
        let methods: &[u8] = if credentials.is_some() { &[5, 2, 0, 2] } else { &[5, 1, 0] };
        out.extend_from_slice(methods);
        Socks5 { step: Step::Method, host: url.host.clone(), port: url.port, credentials, gathered: Vec::new() }
    }

    /// Reads bytes of the proxy, and appends the answer to `out`. Once the tunnel is established, returns how many
    /// bytes were the proxy's.
    pub(super) fn read(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, ProxyError> {
        for (index, octet) in data.iter().enumerate() {
            self.gathered.push(*octet);
            if self.advance(out)? {
                return Ok(Some(index + 1));
            }
        }
        Ok(None)
    }

    /// Interprets the gathered bytes. Returns `true` once the tunnel is established.
    fn advance(&mut self, out: &mut Vec<u8>) -> Result<bool, ProxyError> {
        match (&self.step, &self.gathered[..]) {
            (Step::Method, [5, 0]) => self.request(out)?,
            (Step::Method, [5, 2]) => {
                let credentials = self.credentials.as_ref().ok_or(ProxyError::Credentials)?;
                out.push(1);
                for word in [&credentials.user, &credentials.password] {
                    out.push(octet_length(word)?);
                    out.extend_from_slice(word);
                }
                self.step = Step::Authentication;
            }
            (Step::Method, [5, _]) => return Err(ProxyError::Credentials),
            (Step::Authentication, [_, 0]) => self.request(out)?,
            (Step::Authentication, [_, _]) => return Err(ProxyError::Credentials),
            (Step::Reply, [5, 0, _, kind, rest @ ..]) => {
                let length = match (kind, rest) {
                    (1, _) => 4,
                    (4, _) => 16,
                    (3, [length, ..]) => 1 + usize::from(*length),
                    (3, []) => return Ok(false),
                    _ => return Err(ProxyError::Malformed),
                };
                return Ok(rest.len() == length + 2);
            }
            (Step::Reply, [5, reply, ..]) if *reply != 0 => return Err(ProxyError::Reply(*reply)),
            (Step::Authentication, [_]) | (_, [5] | [5, 0] | [5, 0, _]) => return Ok(false),
            _ => return Err(ProxyError::Malformed),
        }
        self.gathered.clear();
        Ok(false)
    }

    /// Appends the request to connect.
    fn request(&mut self, out: &mut Vec<u8>) -> Result<(), ProxyError> {
        out.extend_from_slice(&[5, 1, 0]);
        match self.host.parse() {
            Ok(IpAddr::V4(address)) => {
                out.push(1);
                out.extend_from_slice(&address.octets());
            }
            Ok(IpAddr::V6(address)) => {
                out.push(4);
                out.extend_from_slice(&address.octets());
            }
            Err(_) => {
                out.extend_from_slice(&[3, octet_length(self.host.as_bytes())?]);
                out.extend_from_slice(self.host.as_bytes());
            }
        }
        out.extend_from_slice(&self.port.to_be_bytes());
        self.step = Step::Reply;
        Ok(())
    }
}

fn octet_length(word: &[u8]) -> Result<u8, ProxyError> {
    if word.len() > LONGEST { Err(ProxyError::TooLong) } else { Ok(word.len() as u8) }
}

/// Meaning of a SOCKS reply code (RFC 1928 §6).
pub(super) fn meaning(reply: u8) -> &'static str {
    match reply {
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "time to live expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "unknown reply code",
    }
}
