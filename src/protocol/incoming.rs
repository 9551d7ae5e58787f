//! Decoded input: messages, and the control frames between them (RFC 6455 §5.5, §5.6).

use std::{fmt, str};

use super::{
    close_code::CloseCode,
    error::ProtocolError,
    framing::OpCode,
    message::{Excerpt, Message, Summary},
    version::Closing,
};

/// A decoded message or control frame. RFC 6455 §5.5, §5.6.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'m> {
    /// A whole message.
    Message(Message<'m>),
    /// A ping, with at most 125 bytes of data. The answer is a pong with the same data. RFC 6455 §5.5.2.
    Ping(&'m [u8]),
    /// A pong, with at most 125 bytes of data. RFC 6455 §5.5.3.
    Pong(&'m [u8]),
    /// The close frame. Input after the close frame is ignored. RFC 6455 §5.5.1.
    Close(CloseFrame<'m>),
}

impl<'m> Incoming<'m> {
    /// Interprets a control frame.
    pub(super) fn control(closing: Closing, op_code: OpCode, payload: &'m [u8]) -> Result<Self, ProtocolError> {
        match op_code {
            OpCode::Ping => Ok(Incoming::Ping(payload)),
            OpCode::Pong => Ok(Incoming::Pong(payload)),
            _ => Ok(Incoming::Close(CloseFrame::read(closing, payload)?)),
        }
    }
}

impl fmt::Display for Incoming<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Incoming::Message(message) => Summary(*message).fmt(formatter),
            Incoming::Ping(data) => write!(formatter, "ping {}", Excerpt(data)),
            Incoming::Pong(data) => write!(formatter, "pong {}", Excerpt(data)),
            Incoming::Close(CloseFrame { body, .. }) => write!(formatter, "close {}", Excerpt(body)),
        }
    }
}

/// The contents of a close frame. RFC 6455 §5.5.1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CloseFrame<'m> {
    /// The raw body. Versions before hybi-06 repeat the whole body in the answer.
    pub(crate) body: &'m [u8],
    /// The body has a valid code and reason.
    reasoned: bool,
}

impl<'m> CloseFrame<'m> {
    /// Reads the body of a close frame (RFC 6455 §5.5.1).
    fn read(closing: Closing, body: &'m [u8]) -> Result<Self, ProtocolError> {
        let Closing::Code { checked } = closing else { return Ok(CloseFrame { body, reasoned: false }) };
        if body.is_empty() {
            return Ok(CloseFrame { body, reasoned: false });
        }
        let (code, reason) = body.split_first_chunk::<2>().ok_or(ProtocolError::ClosePayloadTooShort)?;
        let number = u16::from_be_bytes(*code);
        if checked && !CloseCode::from(number).is_receivable() {
            return Err(ProtocolError::InvalidCloseCode(number));
        }
        str::from_utf8(reason).map_err(|_| ProtocolError::InvalidUtf8)?;
        Ok(CloseFrame { body, reasoned: true })
    }

    /// The close code. `None` if the frame has none, as always before hybi-06.
    pub fn code(&self) -> Option<CloseCode> {
        let (code, _) = self.body.split_first_chunk::<2>().filter(|_| self.reasoned)?;
        Some(u16::from_be_bytes(*code).into())
    }

    /// The reason text. Empty if the frame has none.
    pub fn reason(&self) -> &'m str {
        let reason = self.body.get(2..).filter(|_| self.reasoned).unwrap_or_default();
        str::from_utf8(reason).unwrap_or_default()
    }
}
