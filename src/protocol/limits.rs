//! Limits on received messages and frames.

use crate::setters::setters;

/// Limits on the size of received messages and frames.
///
/// ```
/// use ws_reactor::MessageLimits;
///
/// // The frame limit follows the message limit unless it is set.
/// let limits = MessageLimits::new().max_message_bytes(64 << 20);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct MessageLimits {
    /// Largest payload of one data frame, in bytes on the wire. Default `usize::MAX`: only the message limit applies,
    /// to each frame as well.
    ///
    /// A longer frame closes the connection with 1009 as soon as its header has arrived. RFC 6455 §10.4. A frame of a
    /// compressed message may exceed the message limit by 1/64 plus 1 KiB, because incompressible data grows when
    /// compressed. Text frames of hixie-75 and hixie-76 announce no length: there the limit applies to the bytes that
    /// arrived. Versions before hybi-06 close without a code.
    pub max_frame_bytes: usize,
    /// Largest message, in bytes, after inflation and over all fragments. Default 10 MiB.
    ///
    /// A longer message closes the connection with 1009: an uncompressed one as soon as the header of the exceeding
    /// fragment has arrived, a compressed one as soon as more bytes are inflated. The reason text, `Frame length too
    /// long`, names the length of the message or frame and the limit. RFC 6455 §10.4.
    pub max_message_bytes: usize,
}

impl MessageLimits {
    /// Makes the default limits: 10 MiB for each message, no separate frame limit.
    pub fn new() -> Self {
        MessageLimits::default()
    }

    setters! {
        max_frame_bytes: usize,
        max_message_bytes: usize,
    }

    /// The effective limit for an uncompressed frame.
    #[inline]
    pub(super) fn frame(self) -> usize {
        self.max_frame_bytes.min(self.max_message_bytes)
    }

    /// The effective limit for a frame of a compressed message. Incompressible data grows a little when compressed.
    pub(super) fn compressed_frame(self) -> usize {
        self.max_frame_bytes.min(self.max_message_bytes.saturating_add(self.max_message_bytes / 64 + 1024))
    }
}

impl Default for MessageLimits {
    fn default() -> Self {
        MessageLimits { max_frame_bytes: usize::MAX, max_message_bytes: 10 * 1024 * 1024 }
    }
}
