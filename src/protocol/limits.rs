//! Limits of what a peer may send.

/// Largest messages and frames that are accepted.
///
/// ```
/// use ws_reactor::MessageLimits;
///
/// // Frames of a message may be as long as the message, unless a limit of their own is set.
/// let limits = MessageLimits::new().max_message_bytes(64 << 20);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageLimits {
    /// Largest payload of one frame, in bytes on the wire. Default `usize::MAX`: the message limit alone holds, which holds for every frame too.
    ///
    /// A longer frame closes the connection with 1009 as soon as its header has arrived. RFC 6455 §10.4. Frames of hixie-75 and hixie-76 have no length; there so many bytes have to
    /// arrive, and the close has no code.
    pub max_frame_bytes: usize,
    /// Largest message, in bytes, all its fragments together and after inflation. Default 10 MiB.
    ///
    /// A longer message closes the connection with 1009: as soon as the header of the fragment that exceeds the limit has arrived, or, if it is compressed, as soon as more has been inflated.
    /// The reason names the length and the limit. RFC 6455 §10.4.
    pub max_message_bytes: usize,
}

impl MessageLimits {
    /// The defaults.
    pub fn new() -> Self {
        MessageLimits::default()
    }

    /// Sets [`max_frame_bytes`](field@Self::max_frame_bytes).
    pub fn max_frame_bytes(mut self, bytes: usize) -> Self {
        self.max_frame_bytes = bytes;
        self
    }

    /// Sets [`max_message_bytes`](field@Self::max_message_bytes).
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// What holds for one frame.
    #[inline]
    pub(super) fn frame(self) -> usize {
        self.max_frame_bytes.min(self.max_message_bytes)
    }

    /// What holds for one frame of a compressed message. What cannot be made smaller is a little longer when it is compressed.
    pub(super) fn compressed_frame(self) -> usize {
        self.max_frame_bytes.min(self.max_message_bytes.saturating_add(self.max_message_bytes / 64 + 1024))
    }
}

impl Default for MessageLimits {
    fn default() -> Self {
        MessageLimits { max_frame_bytes: usize::MAX, max_message_bytes: 10 * 1024 * 1024 }
    }
}
