//! Frames: what every framing has in common. A frame header that exists is a legal one.

pub(super) mod hybi;

use super::{error::ProtocolError, mask::MaskingKey};

/// What a frame is for (RFC 6455 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpCode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl OpCode {
    pub(crate) fn is_control(self) -> bool {
        matches!(self, OpCode::Close | OpCode::Ping | OpCode::Pong)
    }
}

/// The start of a frame, legal by itself; whether it may come now is the decoder's to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) fin: bool,
    pub(crate) op_code: OpCode,
    pub(crate) masking_key: Option<MaskingKey>,
    pub(crate) length: u64,
}

/// A header and how many bytes it took, or `None` while it is unfinished.
pub(crate) type ParsedHeader = Result<Option<(FrameHeader, usize)>, ProtocolError>;
