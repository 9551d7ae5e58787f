//! Decoded input: messages, and the control frames between them (RFC 6455 §5.5, §5.6).

use std::{fmt, str};

use super::{
    close::CloseCode,
    error::ProtocolError,
    framing::OpCode,
    message::{Excerpt, Message, Summary},
    version::Closing,
};

/// A decoded message or control frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming<'m> {
    /// A whole message.
    Message(Message<'m>),
    Ping(&'m [u8]),
    Pong(&'m [u8]),
    /// The close frame. Input after the close frame is ignored.
    Close(Farewell<'m>),
}

impl<'m> Incoming<'m> {
    /// Interprets a control frame.
    pub(super) fn control(closing: Closing, op_code: OpCode, payload: &'m [u8]) -> Result<Self, ProtocolError> {
        match op_code {
            OpCode::Ping => Ok(Incoming::Ping(payload)),
            OpCode::Pong => Ok(Incoming::Pong(payload)),
            _ => Ok(Incoming::Close(Farewell::read(closing, payload)?)),
        }
    }
}

impl fmt::Display for Incoming<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Incoming::Message(message) => Summary(*message).fmt(formatter),
            Incoming::Ping(data) => write!(formatter, "ping {}", Excerpt(data)),
            Incoming::Pong(data) => write!(formatter, "pong {}", Excerpt(data)),
            Incoming::Close(Farewell { body, .. }) => write!(formatter, "close {}", Excerpt(body)),
        }
    }
}

/// The contents of a close frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Farewell<'m> {
    /// The raw body. Versions before hybi-06 repeat the whole body in the answer.
    pub(crate) body: &'m [u8],
    /// The body has a valid code and reason.
    reasoned: bool,
}

impl<'m> Farewell<'m> {
    /// Reads the body of a close frame (RFC 6455 §5.5.1).
    fn read(closing: Closing, body: &'m [u8]) -> Result<Self, ProtocolError> {
        let Closing::Code { checked } = closing else { return Ok(Farewell { body, reasoned: false }) };
        if body.is_empty() {
            return Ok(Farewell { body, reasoned: false });
        }
        let (code, reason) = body.split_first_chunk::<2>().ok_or(ProtocolError::ClosePayloadTooShort)?;
        let number = u16::from_be_bytes(*code);
        if checked && !CloseCode::from(number).is_receivable() {
            return Err(ProtocolError::InvalidCloseCode(number));
        }
        str::from_utf8(reason).map_err(|_| ProtocolError::InvalidUtf8)?;
        Ok(Farewell { body, reasoned: true })
    }

    /// The code and the reason, if present.
    pub(crate) fn why(self) -> Option<(CloseCode, &'m str)> {
        let (code, reason) = self.body.split_first_chunk::<2>().filter(|_| self.reasoned)?;
        Some((u16::from_be_bytes(*code).into(), str::from_utf8(reason).ok()?))
    }
}
