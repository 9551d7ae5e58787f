//! The negotiation (RFC 7692 §5.1 and §7.1): reads `Sec-WebSocket-Extensions` in one pass and takes the first
//! acceptable offer.

use std::borrow::Cow;

use super::{DeflateConfig, DeflateParameters, MAX_WINDOW_BITS, MIN_WINDOW_BITS, NAME};
use crate::http::token::is_token_octet;

/// The header violates its grammar (RFC 6455 §9.1).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The parameters that a server with `config` accepts from the offers in `lines`, which are in the client's order of
/// preference.
pub(crate) fn agree<'h>(
    lines: impl Iterator<Item = &'h [u8]>,
    config: &DeflateConfig,
) -> Result<Option<DeflateParameters>, Malformed> {
    let mut agreed = None;
    for line in lines {
        let mut cursor = Cursor(line);
        loop {
            cursor.skip_spaces();
            // Empty list members are ignored (RFC 9110 §5.6.1).
            if !matches!(cursor.peek(), None | Some(b',')) {
                let offer = cursor.extension().map_err(|_| Malformed)?;
                agreed = agreed.or_else(|| offer.ok()?.accepted(config));
            }
            match cursor.next() {
                None => break,
                Some(b',') => {}
                Some(_) => return Err(Malformed),
            }
        }
    }
    Ok(agreed)
}

/// The offer of a client with `config`.
pub(crate) fn offer(config: &DeflateConfig) -> String {
    let wanted = DeflateParameters {
        server_max_window_bits: config.server_max_window_bits,
        client_max_window_bits: config.client_max_window_bits,
        server_context_takeover: config.server_context_takeover,
        client_context_takeover: config.client_context_takeover,
        names_server_window: config.server_max_window_bits < MAX_WINDOW_BITS,
    };
    // The client has to declare support for a window even if it requests none (§7.1.2.2).
    let hint = if wanted.client_max_window_bits == MAX_WINDOW_BITS { "; client_max_window_bits" } else { "" };
    // The bare offer is a fallback for servers that do not know every parameter (§7.1.3).
    format!("{wanted}{hint}, {NAME}")
}

/// Checks the server's answer to that offer. An impossible answer is an error (§7.1), with the parameter at fault if
/// there is one.
pub(crate) fn take_answer<'h>(
    lines: impl Iterator<Item = &'h [u8]>,
    config: &DeflateConfig,
) -> Result<Option<DeflateParameters>, BadExtension> {
    let mut answered = None;
    for line in lines {
        let mut cursor = Cursor(line);
        cursor.skip_spaces();
        let kept = cursor.extension()??.kept(config)?;
        if cursor.peek().is_some() || answered.replace(kept).is_some() {
            return Err(BadExtension::Extension);
        }
    }
    Ok(answered)
}

/// Why an extension is not an acceptable permessage-deflate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadExtension {
    /// Another extension, a repeated one, or a malformed list.
    Extension,
    /// A parameter of permessage-deflate that is unknown, repeated, or has an illegal or malformed value.
    Parameter(&'static str),
}

impl BadExtension {
    /// The parameter that is wrong, if it is one.
    pub(crate) fn parameter(&self) -> Option<&'static str> {
        match self {
            BadExtension::Extension => None,
            BadExtension::Parameter(name) => Some(name),
        }
    }
}

/// Name of a parameter, for an error.
fn parameter_name(name: &[u8]) -> &'static str {
    let known = [
        "server_no_context_takeover",
        "client_no_context_takeover",
        "server_max_window_bits",
        "client_max_window_bits",
    ];
    known.into_iter().find(|known| known.as_bytes() == name).unwrap_or("unknown")
}

/// The parameters of an offer (RFC 7692 §7.1). Absent ones are `None`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Offer {
    server_no_context_takeover: Option<()>,
    client_no_context_takeover: Option<()>,
    server_max_window_bits: Option<u8>,
    /// Without a value the client only declares that the server may set the window.
    client_max_window_bits: Option<Option<u8>>,
}

impl Offer {
    /// Adds a parameter. `None` if the parameter makes the offer unacceptable: unknown, repeated, or with an illegal
    /// value (§7.1).
    fn set(&mut self, name: &[u8], value: Option<&[u8]>) -> Option<()> {
        let repeated = match (name, value) {
            (b"server_no_context_takeover", None) => self.server_no_context_takeover.replace(()).is_some(),
            (b"client_no_context_takeover", None) => self.client_no_context_takeover.replace(()).is_some(),
            (b"server_max_window_bits", Some(value)) => {
                self.server_max_window_bits.replace(window_bits(value)?).is_some()
            }
            (b"client_max_window_bits", None) => self.client_max_window_bits.replace(None).is_some(),
            (b"client_max_window_bits", Some(value)) => {
                self.client_max_window_bits.replace(Some(window_bits(value)?)).is_some()
            }
            _ => return None,
        };
        (!repeated).then_some(())
    }

    /// The agreed parameters, if the offer is acceptable: all that the offer requests, and what `config` adds. Only
    /// `client_max_window_bits` must not be answered unless the client offered it (§7.1.2.2).
    fn accepted(&self, config: &DeflateConfig) -> Option<DeflateParameters> {
        let asked = self.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS);
        let ours = config.server_max_window_bits;
        // 8 bits are answered only to a client that named 8 itself: others may not support 8.
        let wanted = config.client_max_window_bits;
        let parameters = DeflateParameters {
            server_max_window_bits: ours.min(asked),
            client_max_window_bits: match self.client_max_window_bits {
                Some(hint) => wanted.min(hint.unwrap_or(MAX_WINDOW_BITS)),
                None => MAX_WINDOW_BITS,
            },
            server_context_takeover: config.server_context_takeover && self.server_no_context_takeover.is_none(),
            client_context_takeover: config.client_context_takeover && self.client_no_context_takeover.is_none(),
            names_server_window: self.server_max_window_bits.is_some(),
        };
        (asked >= MIN_WINDOW_BITS).then_some(parameters)
    }
}

impl Offer {
    /// The agreed parameters if this is the server's answer to the offer of `config`. The server may have taken the
    /// bare offer, so a missing parameter only costs memory.
    fn kept(&self, config: &DeflateConfig) -> Result<DeflateParameters, BadExtension> {
        let client = match self.client_max_window_bits {
            None => MAX_WINDOW_BITS,
            Some(bits) => bits.ok_or(BadExtension::Parameter("client_max_window_bits"))?,
        };
        Ok(DeflateParameters {
            server_max_window_bits: self.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS),
            client_max_window_bits: client.min(config.client_max_window_bits),
            server_context_takeover: self.server_no_context_takeover.is_none(),
            client_context_takeover: config.client_context_takeover && self.client_no_context_takeover.is_none(),
            names_server_window: self.server_max_window_bits.is_some(),
        })
    }
}

/// A window from 8 to 15, in decimal digits without a leading zero (§7.1.2).
fn window_bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// The unread rest of a line.
struct Cursor<'l>(&'l [u8]);

impl<'l> Cursor<'l> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn skip_spaces(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    /// Skips `octet` and the spaces around, if `octet` is next.
    fn passes(&mut self, octet: u8) -> bool {
        self.skip_spaces();
        let here = self.peek() == Some(octet);
        if here {
            self.next();
        }
        self.skip_spaces();
        here
    }

    /// Reads an extension with its parameters (RFC 6455 §9.1). The inner error is another extension, or an unacceptable
    /// offer; the outer error is a malformed line.
    fn extension(&mut self) -> Result<Result<Offer, BadExtension>, BadExtension> {
        let malformed = |Malformed| BadExtension::Extension;
        let ours = self.token().map_err(malformed)? == NAME.as_bytes();
        let mut offer = if ours { Ok(Offer::default()) } else { Err(BadExtension::Extension) };
        while self.passes(b';') {
            let name = self.token().map_err(malformed)?;
            let parameter =
                || if ours { BadExtension::Parameter(parameter_name(name)) } else { BadExtension::Extension };
            let value = match self.passes(b'=') {
                true => Some(self.value().map_err(|Malformed| parameter())?),
                false => None,
            };
            offer = offer.and_then(|mut offer| offer.set(name, value.as_deref()).map(|()| offer).ok_or_else(parameter));
        }
        Ok(offer)
    }

    fn token(&mut self) -> Result<&'l [u8], Malformed> {
        let end = self.0.iter().position(|octet| !is_token_octet(*octet)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        if token.is_empty() { Err(Malformed) } else { Ok(token) }
    }

    /// Reads a token, or a quoted string that is a token without the quotes.
    fn value(&mut self) -> Result<Cow<'l, [u8]>, Malformed> {
        if self.peek() != Some(b'"') {
            return self.token().map(Cow::Borrowed);
        }
        self.next();
        let mut value = Vec::new();
        loop {
            match self.next().ok_or(Malformed)? {
                b'"' => break,
                b'\\' => value.push(self.next().ok_or(Malformed)?),
                octet => value.push(octet),
            }
        }
        let is_token = !value.is_empty() && value.iter().all(|octet| is_token_octet(*octet));
        if is_token { Ok(Cow::Owned(value)) } else { Err(Malformed) }
    }
}

#[cfg(test)]
#[path = "negotiation_tests.rs"]
mod tests;
