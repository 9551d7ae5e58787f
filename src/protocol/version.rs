//! The protocol versions, and the table of how they differ.
//!
//! A version is a row of [`Traits`]. Whatever depends on the version asks the table, so that a new version is a row here,
//! and only if its bytes are new a file in `framing/` or `handshake/`.

use std::fmt;

/// A version of the WebSocket protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Version {
    /// RFC 6455, and drafts hybi-13 to hybi-17: `Sec-WebSocket-Version: 13`.
    Rfc6455,
}

/// Which end of a connection we are. A client masks what it sends, a server must not (RFC 6455 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// The end that asked for the connection.
    Client,
    /// The end that accepted it.
    Server,
}

/// How frames look on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// FIN, RSV, op-code, MASK, length, masking key (RFC 6455 §5.2).
    Hybi,
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Traits {
    pub(crate) name: &'static str,
    /// The value of `Sec-WebSocket-Version`.
    pub(crate) number: u8,
    pub(crate) framing: Framing,
    /// A server fails the connection on an unmasked frame (RFC 6455 §5.1).
    pub(crate) masking_demanded: bool,
    pub(crate) ping: bool,
    pub(crate) close_codes: bool,
}

static RFC_6455: Traits = Traits {
    name: "RFC 6455",
    number: 13,
    framing: Framing::Hybi,
    masking_demanded: true,
    ping: true,
    close_codes: true,
};

impl Version {
    /// Every version this crate speaks, the newest first.
    pub const ALL: &'static [Version] = &[Version::Rfc6455];

    /// The version that announces itself by `number` in `Sec-WebSocket-Version`.
    pub fn from_number(number: u8) -> Option<Version> {
        Version::ALL.iter().copied().find(|version| version.traits().number == number)
    }

    /// What the version says in `Sec-WebSocket-Version`.
    pub fn number(self) -> u8 {
        self.traits().number
    }

    /// Whether the version has ping and pong frames.
    pub fn supports_ping(self) -> bool {
        self.traits().ping
    }

    /// Whether a close frame of the version carries a code and a reason.
    pub fn supports_close_codes(self) -> bool {
        self.traits().close_codes
    }

    pub(crate) fn traits(self) -> &'static Traits {
        match self {
            Version::Rfc6455 => &RFC_6455,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.traits().name)
    }
}
