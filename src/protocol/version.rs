//! The protocol versions, and the table of their differences.
//!
//! A version is a row of [`Traits`]. Code that depends on the version asks the table. A new version is a new row, and a
//! file in `framing/` or `handshake/` only if its bytes are new.

use std::fmt;

use super::close_code::CloseCode;

/// A version of the WebSocket protocol. Later versions compare greater.
///
/// hybi-09 to hybi-12 announce version 8, and hybi-13 to hybi-17 announce version 13, so the variants cover every hybi
/// draft except hybi-04. hybi-04 derives its masking keys from a nonce of the server, and no browser shipped it.
///
/// ```
/// use ws_reactor::Version;
///
/// assert!(Version::Rfc6455 > Version::Hixie76);
/// assert_eq!(Version::from_number(13), Some(Version::Rfc6455));
/// assert!(!Version::Hixie76.supports_binary());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Version {
    /// draft-hixie-thewebsocketprotocol-75: text only, no closing handshake. Safari 5.0.0, Chrome 4 and 5.
    Hixie75,
    /// draft-hixie-thewebsocketprotocol-76, also known as hybi-00: adds a challenge to the opening handshake. Safari
    /// 5.0.1 to 5.1, Chrome 6 to 13, Firefox 4, Opera 11.
    Hixie76,
    /// draft-ietf-hybi-thewebsocketprotocol-01: adds binary messages, pings and close frames.
    Hybi01,
    /// draft-ietf-hybi-thewebsocketprotocol-02.
    Hybi02,
    /// draft-ietf-hybi-thewebsocketprotocol-03.
    Hybi03,
    /// draft-ietf-hybi-thewebsocketprotocol-05: a client masks whole frames, header included.
    Hybi05,
    /// draft-ietf-hybi-thewebsocketprotocol-06: adds close codes. Prototype of Internet Explorer.
    Hybi06,
    /// draft-ietf-hybi-thewebsocketprotocol-07: the frame format of RFC 6455. Firefox 6.
    Hybi07,
    /// draft-ietf-hybi-thewebsocketprotocol-08 to -12. Chrome 14 and 15, Firefox 7 to 10.
    Hybi08,
    /// RFC 6455, and the drafts hybi-13 to hybi-17. Every current browser.
    Rfc6455,
}

/// The role of an endpoint. A client masks its frames; a server must not (RFC 6455 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// The end that requested the connection.
    Client,
    /// The end that accepted the connection.
    Server,
}

impl Side {
    /// The opposite role.
    #[cfg(any(feature = "deflate", measuring))]
    pub(crate) fn other(self) -> Self {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }
}

/// How a request announces its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announced {
    /// No header.
    ByNothing,
    /// `Sec-WebSocket-Key1` and `-Key2`.
    ByKeys,
    /// `Sec-WebSocket-Draft`.
    AsDraft,
    /// `Sec-WebSocket-Version`.
    AsVersion,
}

/// The form of the opening handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// No proof (hixie-75 §3.1).
    Hixie75,
    /// Two keys in the head, a third key after the head (hixie-76 §1.3).
    Hixie76,
    /// One key, hashed (RFC 6455 §4.2). Drafts before hybi-13 require less of the request.
    Hybi { strict: bool },
}

/// The frame format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// 00, text, FF (hixie-76 §4.2).
    Hixie,
    /// A MORE bit, no masking (hybi-03 §4).
    MoreBit,
    /// A FIN bit; a client masks the whole frame, header included (hybi-05 §4).
    MaskedFrame,
    /// FIN, RSV, op-code, MASK, length, masking key (RFC 6455 §5.2).
    Hybi,
}

/// The form of the closing handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// None: the stream ends.
    Stream,
    /// FF 00 from both ends, without a code (hixie-76 §5.3).
    Octets,
    /// A close frame without a code: a fixed body for each side, and an answer that repeats the received body (hybi-05
    /// §4.5.1).
    Body { server: &'static [u8], client: &'static [u8] },
    /// A close frame with a code and a reason (RFC 6455 §5.5.1). `checked` refuses illegal codes (§7.4).
    Code { checked: bool },
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Traits {
    pub(crate) name: &'static str,
    pub(crate) number: u8,
    pub(crate) announced: Announced,
    pub(crate) opening: Opening,
    pub(crate) framing: Framing,
    /// A server fails the connection on an unmasked frame (RFC 6455 §5.1). Used by [`Framing::Hybi`] only; in the other
    /// framings the masking is fixed.
    pub(crate) masking_demanded: bool,
    /// The version has pings, pongs and binary messages.
    pub(crate) typed: bool,
    pub(crate) closing: Closing,
    /// Messages may be compressed (RFC 7692).
    pub(crate) compressible: bool,
    /// Close code for a panic of a handler. 1011 is newer than some drafts; em-websocket sends 3000 there.
    pub(crate) internal_error: CloseCode,
}

/// Shared by most rows.
const HYBI: Traits = Traits {
    name: "",
    number: 0,
    announced: Announced::AsVersion,
    opening: Opening::Hybi { strict: false },
    framing: Framing::Hybi,
    masking_demanded: false,
    typed: true,
    closing: Closing::Code { checked: false },
    compressible: false,
    internal_error: CloseCode::new(3000),
};

/// Shared by the rows of hybi-01 to hybi-03.
const HYBI_WITH_KEYS: Traits = Traits {
    announced: Announced::AsDraft,
    opening: Opening::Hixie76,
    framing: Framing::MoreBit,
    closing: Closing::Body { server: b"", client: b"" },
    ..HYBI
};

/// The rows, in the order of [`Version`].
static TABLE: [Traits; 10] = [
    Traits {
        name: "hixie-75",
        number: 75,
        announced: Announced::ByNothing,
        opening: Opening::Hixie75,
        framing: Framing::Hixie,
        typed: false,
        closing: Closing::Stream,
        ..HYBI
    },
    Traits {
        name: "hixie-76",
        number: 76,
        announced: Announced::ByKeys,
        opening: Opening::Hixie76,
        framing: Framing::Hixie,
        typed: false,
        closing: Closing::Octets,
        ..HYBI
    },
    Traits { name: "hybi-01", number: 1, ..HYBI_WITH_KEYS },
    Traits { name: "hybi-02", number: 2, ..HYBI_WITH_KEYS },
    Traits { name: "hybi-03", number: 3, ..HYBI_WITH_KEYS },
    Traits {
        name: "hybi-05",
        number: 5,
        framing: Framing::MaskedFrame,
        closing: Closing::Body { server: b"S", client: b"C" },
        ..HYBI
    },
    Traits { name: "hybi-06", number: 6, framing: Framing::MaskedFrame, ..HYBI },
    Traits { name: "hybi-07", number: 7, ..HYBI },
    Traits { name: "hybi-08", number: 8, ..HYBI },
    Traits {
        name: "RFC 6455",
        number: 13,
        opening: Opening::Hybi { strict: true },
        masking_demanded: true,
        closing: Closing::Code { checked: true },
        compressible: true,
        internal_error: CloseCode::INTERNAL_ERROR,
        ..HYBI
    },
];

impl Version {
    /// Every supported version, newest first.
    pub const ALL: &'static [Version] = &[
        Version::Rfc6455,
        Version::Hybi08,
        Version::Hybi07,
        Version::Hybi06,
        Version::Hybi05,
        Version::Hybi03,
        Version::Hybi02,
        Version::Hybi01,
        Version::Hixie76,
        Version::Hixie75,
    ];

    /// The version with this [`number`](Self::number), or `None` if there is none.
    pub fn from_number(number: u8) -> Option<Version> {
        Version::ALL.iter().copied().find(|version| version.traits().number == number)
    }

    /// The version's number: its value in `Sec-WebSocket-Version` (5 to 8, 13) or `Sec-WebSocket-Draft` (1 to 3), or
    /// the number of its draft (75, 76).
    pub fn number(self) -> u8 {
        self.traits().number
    }

    /// Returns `true` if the version has binary messages: all but hixie-75 and hixie-76.
    pub fn supports_binary(self) -> bool {
        self.traits().typed
    }

    /// Returns `true` if the version has ping and pong frames: all but hixie-75 and hixie-76.
    pub fn supports_ping(self) -> bool {
        self.traits().typed
    }

    /// Returns `true` if close frames of the version have a code and a reason: hybi-06 and later.
    pub fn supports_close_codes(self) -> bool {
        matches!(self.traits().closing, Closing::Code { .. })
    }

    /// Returns `true` if the version closes by more than the end of the stream.
    pub(crate) fn has_closing_handshake(self) -> bool {
        self.traits().closing != Closing::Stream
    }

    /// Returns `true` if a received close frame proves a clean close. FF 00 of hixie-76 does not, as in em-websocket.
    pub(crate) fn closes_cleanly(self) -> bool {
        matches!(self.traits().closing, Closing::Body { .. } | Closing::Code { .. })
    }

    /// Close code for a panic of a handler.
    pub(crate) fn internal_error(self) -> CloseCode {
        self.traits().internal_error
    }

    pub(crate) fn traits(self) -> &'static Traits {
        &TABLE[self as usize]
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.traits().name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_its_own_name_and_number() {
        let rows: Vec<String> = Version::ALL.iter().map(Version::to_string).collect();
        let expected = [
            "RFC 6455", "hybi-08", "hybi-07", "hybi-06", "hybi-05", "hybi-03", "hybi-02", "hybi-01", "hixie-76",
            "hixie-75",
        ];
        assert_eq!(rows, expected);
        for version in Version::ALL {
            assert_eq!(Version::from_number(version.number()), Some(*version));
        }
        let numbers: Vec<u8> = Version::ALL.iter().map(|version| version.number()).collect();
        assert_eq!(numbers, [13, 8, 7, 6, 5, 3, 2, 1, 76, 75]);
        assert_eq!([0, 4, 9, 12, 14].map(Version::from_number), [None; 5]);
        assert!(Version::ALL.is_sorted_by(|newer, older| newer > older));
    }

    #[test]
    fn each_version_has_the_features_of_its_draft() {
        for version in Version::ALL.iter().copied() {
            let (number, Traits { framing, .. }) = (version.number(), version.traits());
            let hybi = number <= 13;
            let expected = match number {
                75 | 76 => Framing::Hixie,
                1..=3 => Framing::MoreBit,
                5 | 6 => Framing::MaskedFrame,
                _ => Framing::Hybi,
            };
            assert_eq!(*framing, expected, "{version}");
            assert_eq!((version.supports_binary(), version.supports_ping()), (hybi, hybi), "{version}");
            assert_eq!(version.supports_close_codes(), (6..=13).contains(&number), "{version}");
            assert_eq!(version.has_closing_handshake(), number != 75, "{version}");
            assert_eq!(version.closes_cleanly(), hybi, "{version}");
            let internal_error = if number == 13 { CloseCode::INTERNAL_ERROR } else { CloseCode::new(3000) };
            assert_eq!(version.internal_error(), internal_error, "{version}");
        }
    }
}
